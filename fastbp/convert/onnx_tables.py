"""The preparation of a table, and the names of classes, as nodes of an ONNX graph."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.convert.onnx_graphs import ML, Graph, Node
from fastbp.datasets.preparation import CATEGORIES, Feature, Preparation
from fastbp.datasets.targets import REGRESSION, Target

Array = npt.NDArray[Any]
FLOAT, INT64, STRING, DOUBLE = 1, 7, 8, 11
"""Numbers of ONNX's types."""


class Value(NamedTuple):
    """An input or an output of a model: its name, the number of its type, and its shape."""

    name: str
    kind: int
    shape: tuple[str | int, ...]


def table_inputs(preparation: Preparation) -> list[Value]:
    """Return the inputs of a model for a table: one per column, with its name.

    If all columns have numbers or booleans, and they are pixels or have no names, there is one input x for all columns.
    """
    features = preparation.features
    plain = all(f.kind != CATEGORIES for f in features)
    if plain and (preparation.input_scale != 1.0 or not preparation.header):
        return [Value("x", DOUBLE, ("n", len(features)))]
    return [Value(f.name, STRING if f.kind == CATEGORIES else DOUBLE, ("n", 1)) for f in features]


def add_preparation(graph: Graph, preparation: Preparation, inputs: Sequence[str], dtype: Any, x: str) -> None:
    """Add nodes that compute the inputs `x` of a network in a dtype from the named inputs of a model.

    Numbers are scaled in float64 and then rounded to float32, as in `Preparation.transform`.
    """
    parts, start = list[str](), 0
    for text, group in groupby(preparation.features, lambda feature: feature.kind == CATEGORIES):
        features = list(group)
        names = list(inputs) if len(inputs) == 1 else list(inputs[start : start + len(features)])
        if text:
            parts += [
                _add_categories(graph, f, name, start + j)
                for j, (f, name) in enumerate(zip(features, names, strict=True))
            ]
        else:
            parts.append(_add_numbers(graph, features, names, start))
        start += len(features)
    kind = DOUBLE if dtype == np.float64 else FLOAT
    graph.nodes.append(Node("Cast", (_joined(graph, parts, "prepared"),), x, {"to": kind}))


def add_answers(
    graph: Graph, target: Target | None, classes: Sequence[str], outputs: int, a: str, dtype: Any
) -> list[Value]:
    """Add nodes for the predictions from the outputs `a` of a network; return the outputs of the model.

    `target` is the label column if the network has a preparation. `classes` has the names of the classes, if there are
    any.
    """
    kind = DOUBLE if dtype == np.float64 else FLOAT
    if target is not None and target.task == REGRESSION:
        return [_add_numbers_of_target(graph, target, a)]
    values = [Value(a, kind, ("n", outputs))]
    if outputs == 1 and not classes:
        return values
    index = "class" if not classes else "index"
    if outputs > 1:
        graph.nodes.append(Node("ArgMax", (a,), index, {"axis": 1, "keepdims": 0}))
    else:
        graph.constants.update({"half": np.asarray(0.5, dtype), "vector": np.array([-1])})
        graph.nodes.append(Node("Less", (a, "half"), "below"))
        graph.nodes.append(Node("Not", ("below",), "above"))
        graph.nodes.append(Node("Cast", ("above",), "number", {"to": INT64}))
        graph.nodes.append(Node("Reshape", ("number", "vector"), index))
    if not classes:
        return [*values, Value("class", INT64, ("n",))]
    names = np.array(classes, object) if target is None else target.answers_by_class()
    graph.constants["classes"] = names
    graph.nodes.append(Node("Gather", ("classes", index), "class"))
    return [*values, Value("class", INT64 if names.dtype.kind == "i" else STRING, ("n",))]


def _add_numbers(graph: Graph, features: Sequence[Feature], names: Sequence[str], start: int) -> str:
    """Add nodes that replace missing numbers and scale columns; return the name of the result."""
    last = _joined(graph, names, f"numbers_{start}")
    if any(f.fill is not None for f in features):
        fills = [np.nan if f.fill is None else float(f.fill) for f in features]
        graph.constants[f"fills_{start}"] = np.array(fills)
        graph.nodes.append(Node("IsNaN", (last,), f"missing_{start}"))
        graph.nodes.append(Node("Where", (f"missing_{start}", f"fills_{start}", last), last := f"filled_{start}"))
    for operator, name, values in (
        ("Sub", "offsets", [f.offset for f in features]),
        ("Mul", "factors", [f.factor for f in features]),
    ):
        if set(values) != {0.0 if operator == "Sub" else 1.0}:
            graph.constants[f"{name}_{start}"] = np.array(values)
            graph.nodes.append(Node(operator, (last, f"{name}_{start}"), last := f"without_{name}_{start}"))
    graph.nodes.append(Node("Cast", (last,), f"scaled_{start}", {"to": FLOAT}))
    return f"scaled_{start}"


def _add_categories(graph: Graph, feature: Feature, name: str, number: int) -> str:
    """Add nodes that give one input per category; return the name of the result. "" stands for a missing text."""
    count, last = len(feature.categories), f"inputs_{number}"
    fills = feature.fill is not None and "" not in feature.categories
    categories = [category.encode() for category in (*feature.categories, *[""] * fills)]
    graph.constants[f"shape_{number}"] = np.array([0, len(categories)])
    encoded, options = f"encoded_{number}", {"cats_strings": categories, "zeros": 1}
    graph.nodes.append(Node("OneHotEncoder", (name,), encoded, options, ML))
    graph.nodes.append(Node("Reshape", (encoded, f"shape_{number}"), last))
    if fills:  # a missing text is the category that replaces it
        replaced = np.vstack([np.eye(count), np.array(feature.categories) == feature.fill])
        graph.constants[f"replaced_{number}"] = replaced.astype(np.float32)
        graph.nodes.append(Node("MatMul", (last, f"replaced_{number}"), last := f"filled_{number}"))
    return last


def _add_numbers_of_target(graph: Graph, target: Target, a: str) -> Value:
    """Add nodes that convert the output to the unit of the label column."""
    graph.constants.update({"target_factor": np.asarray(target.factor), "target_offset": np.asarray(target.offset)})
    graph.nodes.append(Node("Cast", (a,), "output", {"to": DOUBLE}))
    graph.nodes.append(Node("Div", ("output", "target_factor"), "output_in_unit"))
    graph.nodes.append(Node("Add", ("output_in_unit", "target_offset"), "prediction"))
    return Value("prediction", DOUBLE, ("n", 1))


def _joined(graph: Graph, names: Sequence[str], name: str) -> str:
    """Add a node that joins columns, unless there is one part; return the name of the result."""
    if len(names) == 1:
        return names[0]
    graph.nodes.append(Node("Concat", tuple(names), name, {"axis": 1}))
    return name
