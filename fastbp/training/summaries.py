"""What a network consists of, as a table in text or HTML."""

import html
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fastbp.operations import Plan

_HEAD = ("layer", "neurons", "activation", "weights", "biases", "parameters", "bytes")


class Described:
    """The short text of a network, and its table in notebooks."""

    _plan: "Plan"

    def __repr__(self) -> str:
        plan = self._plan
        names = ", ".join(activation.name for activation in plan.formulas.activations)
        sizes, bias = "-".join(map(str, plan.sizes)), "" if plan.formulas.bias else ", no biases"
        cost = plan.formulas.output.cost_function.name
        return f"<Network {sizes}: {names}; {cost} cost{bias}; {plan.dtype} on {plan.backend.name}>"

    def _repr_html_(self) -> str:
        return summary_html(self._plan)


def summary(plan: "Plan") -> str:
    """Return a table of the layers; see `Network.summary`."""
    rows = _rows(plan)
    widths = [max(len(row[i]) for row in [_HEAD, *rows]) for i in range(len(_HEAD))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in [_HEAD, *rows]]
    return "\n".join([*(line.rstrip() for line in lines), _last_line(plan)])


def summary_html(plan: "Plan") -> str:
    """Return the same table as HTML, for notebooks."""
    head, *rows = (
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        for tag, row in [("th", _HEAD), *(("td", row) for row in _rows(plan))]
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(_last_line(plan))}</p>"


def _rows(plan: "Plan") -> list[tuple[str, ...]]:
    bias, item = plan.formulas.bias, np.dtype(plan.dtype).itemsize
    rows: list[tuple[str, ...]] = [("1", f"{plan.sizes[0]:,}", "", "", "", "", "")]
    for l, ((k, n), activation) in enumerate(zip(pairwise(plan.sizes), plan.formulas.activations, strict=True), 2):
        count = n * k + n * bias
        biases = f"{n} × 1" if bias else "none"
        rows.append((f"{l}", f"{n:,}", activation.name, f"{n} × {k}", biases, f"{count:,}", f"{item * count:,}"))
    return rows


def _last_line(plan: "Plan") -> str:
    count = sum(n * k + n * plan.formulas.bias for k, n in pairwise(plan.sizes))
    size = count * np.dtype(plan.dtype).itemsize
    cost = plan.formulas.output.cost_function.name
    return f"{count:,} parameters, {size:,} bytes; {cost} cost; {plan.dtype} on {plan.backend.name}"
