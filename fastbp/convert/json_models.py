"""Convert networks to and from JSON, for programs that read the parameters of a network themselves."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp import backends
from fastbp.activations import Activation
from fastbp.backends import BackendLike
from fastbp.convert.weights_and_biases import host_parameters, network_from_arrays
from fastbp.costs import Cost
from fastbp.errors import InputError, brief, whole_number
from fastbp.files.models import classes_in, describe, plan_from
from fastbp.files.reading import StrPath, field, json_object, open_regular, read_bounded, reading
from fastbp.network import Network

FORMAT, VERSION = "fastbp-network", 1
_LARGEST = 2**30  # bytes of the largest file that is accepted


def to_json(net: Network) -> str:
    """Return a network as JSON text.

    Parameters
    ----------
    net : Network
        Any network. The text contains only the names of the activations and the cost, not their formulas.

    Returns
    -------
    str
        A JSON object with these fields:

        * "format": "fastbp-network", and "version": 1;
        * "sizes": the number of neurons of each layer, input layer first;
        * "activations": the name of the activation of each layer with weights;
        * "cost": the name of the cost;
        * "bias": whether the layers have biases;
        * "dtype": "float32" or "float64";
        * "input_scale": the factor that every input is multiplied by before the first layer;
        * "classes": the names of the classes, if they are known;
        * "weights": for each layer, a list of rows, one row per neuron: Wˡ of shape (n_l, n_{l−1});
        * "biases": for each layer, a list of numbers: bˡ of shape (n_l,); an empty list for a network without biases.

        The numbers are written with as many digits as are needed to read them back exactly in the network's dtype.

    Raises
    ------
    InputError
        If a parameter is not finite, because JSON has no such numbers.

    Examples
    --------
    >>> net = Network([2, 1], "tanh")
    >>> net.weights, net.biases = [[[0.1, 2.0]]], [[[-1.0]]]
    >>> json.loads(to_json(net))["weights"]
    [[[0.1, 2.0]]]
    """
    weights, biases = host_parameters(net, scaled=False, finite=True)
    description = {"format": FORMAT, "version": VERSION, **describe(net._plan)}
    if net.classes:
        description["classes"] = list(net.classes)
    arrays = {"weights": [_numbers(w) for w in weights], "biases": [_numbers(b) for b in biases]}
    return json.dumps({**description, **arrays}, ensure_ascii=False)


def from_json(
    path: StrPath,
    *,
    activations: Iterable[Activation] = (),
    cost: Cost | None = None,
    backend: BackendLike | None = None,
    rng: int | np.random.Generator | None = None,
) -> Network:
    """Return the network in a JSON file that was written with `to_json` or `fastbp export`.

    Parameters
    ----------
    path : path-like
        The file.
    activations, cost
        Your own formulas, if the network has any, as in `fastbp.load`.
    backend, rng
        As in `fastbp.Network`.

    Returns
    -------
    Network
        The network. Its parameters are equal bit for bit to those of the network that was written.

    Raises
    ------
    InputError
        If the file cannot be read, or does not contain a network in this format.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "net.json")
    ...     _ = path.write_text(to_json(Network([2, 3, 1], ["relu", "identity"], rng=0)))
    ...     from_json(path)
    <Network 2-3-1: relu, identity; quadratic cost; float32 on numpy>
    """
    with reading(path):
        with open_regular(path) as file:
            data = json_object("JSON", read_bounded(file, _LARGEST))
        if data.get("format") != FORMAT:
            raise InputError(f"its format must be '{FORMAT}', got {brief(data.get('format'))}")
        whole_number("its version", field(data, "version", int), most=VERSION)
        own = {activation.name: activation for activation in activations}
        plan = plan_from(data, backends.get("numpy-plain"), own, cost)
        weights, biases = (_arrays(name, data, len(plan.sizes) - 1, plan.dtype) for name in ("weights", "biases"))
        if (plan.formulas.bias and len(biases) != len(weights)) or (biases and not plan.formulas.bias):
            raise InputError(f"its field 'bias' must agree with its biases, got {plan.formulas.bias}")
        formulas = plan.formulas.activations, plan.formulas.output.cost_function
        net = network_from_arrays(weights, biases, *formulas, backend, rng, input_scale=plan.input_scale)
        if net.sizes != plan.sizes:
            raise InputError(f"its sizes must be those of its weights, {list(net.sizes)}, got {list(plan.sizes)}")
        net.classes = classes_in(data, plan) or None
        return net


def _numbers(array: npt.NDArray[Any]) -> list[Any]:
    """Return an array as nested lists of floats with the fewest digits that identify them in their dtype."""
    shortest: list[Any] = array.astype(str).astype(np.float64).tolist()
    return shortest


def _arrays(name: str, data: dict[str, Any], layers: int, dtype: str) -> dict[str, npt.NDArray[Any]]:
    listed = field(data, name, list)
    if len(listed) not in (layers, 0):
        raise InputError(f"its {name} must be one array per layer (here {layers}), got {len(listed)}")
    try:
        with np.errstate(over="ignore"):  # infinity is refused later
            return {f"{name}[{l}]": np.asarray(array, dtype) for l, array in enumerate(listed)}
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"its {name} must be lists of numbers: {brief(str(error))}") from error
