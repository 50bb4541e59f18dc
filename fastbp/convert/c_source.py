"""Convert networks to C: one file without dependencies, for small machines."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastbp import __version__
from fastbp.activations import softmax
from fastbp.convert.activation_table import row_of
from fastbp.convert.weights_and_biases import host_parameters
from fastbp.errors import choose
from fastbp.network import Network

Array = npt.NDArray[Any]
_FUNCTIONS = ("exp", "expm1", "log1p", "tanh", "fabs", "erfc")  # in <math.h>; in upper case in `activation_table`
_LINE = 100  # largest number of characters in a line of numbers


def to_c(net: Network, *, dtype: Literal["float32", "float64"] | None = None) -> str:
    """Return a network as the source of one C file with a function `predict`.

    Parameters
    ----------
    net : Network
        A network whose activations are part of fastbp.
    dtype : "float32" or "float64", optional
        The dtype of the parameters, inputs and outputs: float or double in C. By default that of the network.

    Returns
    -------
    str
        The source code, in C99. It contains the weights as constant arrays, and one function:
        `int predict(const REAL *x, REAL *a)`. REAL is float or double. `predict` reads the INPUTS inputs of one example
        from `x`, writes the OUTPUTS outputs to `a`, and returns the index of the largest output. It multiplies the
        inputs by the network's input scale. The file needs only the header <math.h>. `predict` allocates no memory, has
        no state, and keeps the activations of at most two hidden layers on the stack.

    Raises
    ------
    InputError
        If an activation is not part of fastbp, or a parameter is not finite.

    Examples
    --------
    >>> source = to_c(Network([2, 3, 1], ["relu", "sigmoid"], rng=0))
    >>> "int predict(const REAL *x, REAL *a)" in source
    True
    """
    weights, biases = host_parameters(net, scaled=False, finite=True)
    chosen = choose("dtype", net.dtype if dtype is None else dtype, {"float32": np.float32, "float64": np.float64})
    names = [activation.name for activation in net.activations]
    expressions = {activation.name: row_of(activation, "C").c for activation in net.activations}
    lines = list(_head(net, chosen))
    for name, expression in expressions.items():
        if expression is not None:
            lines += [f"static REAL {_identifier(name)}(REAL z) {{ return {expression}; }}", ""]
    if softmax.name in names:
        lines += [_SOFTMAX]
    for l, (w, name) in enumerate(zip(weights, names, strict=True), start=1):
        lines += _array(f"weights_{l}", w.astype(chosen))
        if biases:
            lines += _array(f"biases_{l}", biases[l - 1].astype(chosen))
        lines += _layer(l, w.shape, "" if name == softmax.name else _identifier(name), bias=bool(biases))
    lines += _predict(net, names[-1] == softmax.name, chosen)
    return "\n".join(lines) + "\n"


_SOFTMAX = """\
static void softmax(REAL *a, int n) {
    REAL largest = a[0], sum = 0;
    for (int i = 1; i < n; i++) largest = a[i] > largest ? a[i] : largest;
    for (int i = 0; i < n; i++) sum += a[i] = EXP(a[i] - largest);
    for (int i = 0; i < n; i++) a[i] /= sum;
}
"""


def _head(net: Network, dtype: Any) -> Iterator[str]:
    suffix = "f" if dtype == np.float32 else ""
    activations = ", ".join(activation.name for activation in net.activations)
    yield f"/* {'-'.join(map(str, net.sizes))}: {activations}. Written by fastbp {__version__}."
    yield ""
    yield "   predict(x, a) reads INPUTS inputs from x, writes OUTPUTS outputs to a, and returns the index of the"
    yield "   largest output. Compile with  cc -std=c99 -O2 -c FILE  and link with  -lm."
    yield "*/"
    yield "#include <math.h>"
    yield ""
    yield f"typedef {'float' if suffix else 'double'} REAL;"
    yield f"enum {{ INPUTS = {net.sizes[0]}, OUTPUTS = {net.sizes[-1]} }};"
    used = [row_of(activation, "C").c or "EXP(" for activation in net.activations]
    for name in _FUNCTIONS:
        if any(f"{name.upper()}(" in expression for expression in used):
            yield f"#define {name.upper()} {name}{suffix}"
    yield ""


def _layer(l: int, shape: tuple[int, ...], activation: str, *, bias: bool) -> Iterator[str]:
    yield f"static void layer_{l}(const REAL *x, REAL *a) {{"
    yield f"    for (int i = 0; i < {shape[0]}; i++) {{"
    yield f"        const REAL *w = weights_{l} + (long)i * {shape[1]};"
    yield "        REAL z = 0;"
    yield f"        for (int j = 0; j < {shape[1]}; j++) z += w[j] * x[j];"
    z = f"z + biases_{l}[i]" if bias else "z"
    yield f"        a[i] = {f'{activation}({z})' if activation else z};"
    yield "    }"
    yield "}"
    yield ""


def _predict(net: Network, ends_with_softmax: bool, dtype: Any) -> Iterator[str]:
    layers, hidden = len(net.sizes) - 1, net.sizes[1:-1]
    yield "int predict(const REAL *x, REAL *a) {"
    if net.input_scale != 1.0:
        yield "    REAL scaled[INPUTS];"
    for start in range(min(2, len(hidden))):
        yield f"    REAL hidden_{start}[{max(hidden[start::2])}];"
    yield "    int largest = 0;"
    source = "x"
    if net.input_scale != 1.0:
        yield f"    for (int j = 0; j < INPUTS; j++) scaled[j] = x[j] * {_literal(dtype(net.input_scale))};"
        source = "scaled"
    for l in range(1, layers + 1):
        target = "a" if l == layers else f"hidden_{(l - 1) % 2}"
        yield f"    layer_{l}({source}, {target});"
        source = target
    if ends_with_softmax:
        yield "    softmax(a, OUTPUTS);"
    yield "    for (int i = 1; i < OUTPUTS; i++) largest = a[i] > a[largest] ? i : largest;"
    yield "    return largest;"
    yield "}"


def _array(name: str, values: Array) -> Iterator[str]:
    """Yield the definition of an array, in lines of bounded length."""
    yield f"static const REAL {name}[{values.size}] = {{"
    line = ""
    for value in values.ravel():
        text = f"{_literal(value)}, "
        if len(line) + len(text) > _LINE:
            yield f"    {line.rstrip()}"
            line = ""
        line += text
    yield f"    {line.rstrip()}"
    yield "};"
    yield ""


def _literal(value: np.floating[Any]) -> str:
    """Return a number in C with the fewest digits that identify it.

    >>> _literal(np.float32(0.1)), _literal(np.float64(1e-7))
    ('0.1f', '1e-07')
    """
    return f"{value!s}f" if value.dtype == np.float32 else str(value)


def _identifier(name: str) -> str:
    return "act_" + name.replace("-", "_")
