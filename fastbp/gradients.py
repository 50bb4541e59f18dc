"""Compute gradients by backpropagation, return all values on the way, and check gradients by finite differences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp import backends, equations
from fastbp.activations import Activation, ActivationName
from fastbp.costs import Cost, CostName
from fastbp.datasets.inputs import as_columns, as_targets, copy_into
from fastbp.datasets.sparse_columns import SparseColumns
from fastbp.errors import GradientError, InputError, explain_keywords, plural
from fastbp.files.reading import StrPath
from fastbp.operations import Operations, Parameters, Plan, Workspace, WorkspacePool, step_config
from fastbp.optimizers import SGD
from fastbp.parameters import as_parameters, checked_parameters, new_optimizer_state, plan_of, zeros
from fastbp.training.dropout import Masks, add_gradient_with_masks, masks_of, mean_cost_with_masks
from fastbp.training.inference import batches
from fastbp.training.small_batches import small_batches_of
from fastbp_kernels.words import namespace

if TYPE_CHECKING:
    from fastbp.network import Network

Array = Any
_STEP = 1e-5  # near the cube root of float64's precision: rounding and truncation errors are both about 1e-10


@dataclass(frozen=True)
class TracedNetwork:
    """The network and the targets of a trace: the plan, copies of the parameters, and y, one column per example."""

    plan: Plan
    weights: list[Array]
    biases: list[Array]
    y: Array


class _Values(NamedTuple):
    zs: list[Array]
    activations: list[Array]
    deltas: list[Array]
    activation_gradients: list[Array]
    nabla_b: list[Array]
    nabla_w: list[Array]


class Trace(_Values):
    """All values computed by backpropagation. Lists have one entry per layer, and arrays have one column per example.

    `Network.trace` returns a trace. It is a tuple of the six attributes, in this order.

    Attributes
    ----------
    zs, deltas : list of array, shape (n_l, m)
        zˡ and δˡ of each layer with weights.
    activations, activation_gradients : list of array, shape (n_l, m)
        aˡ and ∂C_x/∂aˡ of each layer. Index 0 is the input layer.
    nabla_b, nabla_w : list of array
        ∂C/∂b, shapes (n_l, 1), and ∂C/∂W, shapes (n_l, n_{l−1}), summed over the columns.
    network : object or None
        The parameters, formulas and targets at the time of the trace, for `to_html`. It is not part of the tuple. None
        for a trace that was not made by `Network.trace`.
    """

    network: TracedNetwork | None = None

    def to_html(
        self, path: StrPath, *, example: int = 0, inputs: Sequence[str] = (), outputs: Sequence[str] = ()
    ) -> None:
        """Write a page that explains backpropagation with the numbers of one example.

        The page is one HTML file. It needs neither a server nor a connection. It shows z, a, σ′(z), ∂C_x/∂a and δ of
        each layer. For the neuron or the weight that the reader points at, it shows equations (1), (2) and (BP1) to
        (BP4) with their numbers.

        Parameters
        ----------
        path : str or path
            The file.
        example : int
            The column of the trace, counted from 0.
        inputs, outputs : sequence of str
            Names of the inputs and of the outputs, such as the names of the classes, to be shown with their numbers.

        Raises
        ------
        InputError
            If the column does not exist, the file cannot be written, or the network has more than 4,000,000 weights.

        Examples
        --------
        >>> import tempfile
        >>> from fastbp import Network
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Network([2, 3, 1], rng=0).trace([0.0, 1.0], [1.0]).to_html(folder + "/page.html")
        """
        from fastbp.plots.explain.pages import write_page

        write_page(self, path, example, inputs=inputs, outputs=outputs)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per example and neuron.

        Returns
        -------
        pandas.DataFrame
            The columns example, layer and neuron, counted from 0 as in the lists and arrays of the trace with the input
            layer as layer 0, and z, a, delta and dC_da. z and delta of the input layer are NaN.

        Examples
        --------
        >>> from fastbp import Network
        >>> Network([2, 3, 1], rng=0).trace([0.0, 1.0], [1.0]).to_frame().shape
        (6, 7)
        """
        from fastbp.plots.frames import trace_frame

        return trace_frame(self)

    def plot(self, *, example: int = 0, ax: Any = None) -> Any:
        """Draw z, a, δ and ∂C_x/∂a of each layer for one example; see `fastbp.plots.trace`."""
        from fastbp.plots.traces import trace

        return trace(self, example=example, ax=ax)

    def __repr__(self) -> str:
        sizes = "-".join(str(a.shape[0]) for a in self.activations)
        return f"<Trace of {plural(self.activations[0].shape[1], 'example')}: {sizes}>"


@explain_keywords
def backprop(
    weights: Sequence[Array],
    biases: Sequence[Array],
    x: Array,
    y: Array,
    *,
    activations: ActivationName | Activation | Sequence[ActivationName | Activation] = "sigmoid",
    cost: CostName | Cost = "quadratic",
    dropout: float | Sequence[float] | None = None,
    dropout_key: int | None = None,
) -> tuple[list[Array], list[Array]]:
    """Return the gradient of the cost, summed over the columns of x, for the given weights and biases.

    The gradient is computed by equations (BP1) to (BP4). The array library and the dtype of `weights[0]` decide where
    the gradient is computed and what kind of arrays is returned. For libraries whose arrays cannot be written to, such
    as JAX, NumPy arrays are returned. The other arguments may be arrays of any library, but all arrays must be on the
    host, or all on the same GPU.

    Parameters
    ----------
    weights : sequence of array, shapes (n_l, n_{l−1})
        Wˡ of each layer, float32 or float64.
    biases : sequence of array, shapes (n_l, 1)
        bˡ of each layer; empty for a network without biases.
    x : array or sparse matrix, shape (n_0, m) or (n_0,)
        One example per column.
    y : array, shape (n_L, m) or (m,)
        Targets, one column per example, or integer labels.
    activations : name, Activation, or a sequence with one per layer
        One activation for all layers, or one for each layer.
    cost : name or Cost
        The cost.
    dropout : float or sequence of float, optional
        Rates of dropout, as in `Network.train`. By default no unit is dropped.
    dropout_key : int, optional
        The key of the masks of dropout, from 0 to 2⁶⁴ − 1. The same key gives the same masks.

    Returns
    -------
    nabla_b, nabla_w : list of array
        ∂C/∂b and ∂C/∂W, with the shapes of `biases` and `weights`.

    Raises
    ------
    InputError
        If the arguments do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> nabla_b, nabla_w = backprop([np.array([[2.0]])], [], np.array([3.0]), np.array([5.0]), activations="identity")
    >>> nabla_w[0].tolist()  # (2·3 − 5)·3
    [[3.0]]
    """
    if dropout is dropout_key is None:
        found = _small_gradient(weights, biases, x, y, activations, cost)
        if found is not None:
            return found
    try:
        weights, biases = list(weights), list(biases)
    except TypeError:
        raise InputError("weights and biases must be lists of arrays; biases may be empty") from None
    weights, biases = [backends.detach(w) for w in weights], [backends.detach(b) for b in biases]
    if not weights or any(getattr(w, "ndim", 0) != 2 or not hasattr(w, "dtype") for w in weights):
        raise InputError("weights must be a list of one or more arrays of shape (n_l, n_{l-1})")
    named = {f"weights[{l}]": w for l, w in enumerate(weights)} | {f"biases[{l}]": b for l, b in enumerate(biases)}
    backend = backends.infer(**named, x=x, y=y)
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights)]
    dtype = str(weights[0].dtype).rpartition(".")[2]
    plan = plan_of(sizes, activations, cost, bias=bool(biases), dtype=dtype, backend=backend)
    with backend.device_context():
        weights, biases = checked_parameters("weights", weights, plan), checked_parameters("biases", biases, plan)
        inputs, masks = as_columns("x", x, plan.sizes[0], plan), masks_of(dropout, dropout_key, plan)
        targets = as_targets(y, inputs.shape[1], plan)
        return gradient(plan, as_parameters(weights, biases, plan), inputs, targets, masks)


def _small_gradient(
    weights: Any, biases: Any, x: Any, y: Any, activations: Any, cost: Any
) -> tuple[list[Array], list[Array]] | None:
    """Return the gradient for a small batch of NumPy arrays.

    Return None if an argument has to be converted or checked, or is invalid, or if there are too many columns.
    """
    chosen = activations if isinstance(activations, (str, Activation)) else tuple(activations)
    current = backends.get()
    backend = current if current.name.startswith("numpy") else backends.get("numpy")
    batches = small_batches_of(weights, biases, chosen, cost, backend)
    if batches is None:
        return None
    batch = batches.with_examples(x, y)
    if batch is None:
        return None
    gradient = batch.gradient(weights, biases)
    batches.put_back(batch)
    return gradient


def check_gradients(
    net: "Network",
    x: Array,
    y: Array,
    *,
    tolerance: float = 1e-6,
    dropout: float | Sequence[float] | None = None,
    dropout_key: int | None = None,
) -> float:
    """Compare the gradient of a network with finite differences of its cost; return the largest relative error.

    The check works on a copy of the network in float64. For each array θ of weights or biases, it draws one random
    direction v of length 1. It compares ⟨∇C, v⟩ with the central difference (C(θ + hv) − C(θ − hv)) / 2h.

    Parameters
    ----------
    net : Network
        The network; it is not changed.
    x : array, shape (n_0, m)
        One example per column.
    y : array, shape (n_L, m) or (m,)
        Targets or integer labels.
    tolerance : float
        The largest relative error that is accepted.
    dropout : float or sequence of float, optional
        Rates of dropout, as in `Network.train`, to check the gradient with dropout. By default no unit is dropped.
    dropout_key : int, optional
        The key of the masks of dropout, from 0 to 2⁶⁴ − 1. All costs are computed with the same masks.

    Returns
    -------
    float
        The largest relative error. A relative error is a difference divided by the largest of four numbers: the two
        values that are compared, |∇C|/√N, and the smallest value that can be distinguished from the rounding error of
        C. For a gradient with N entries, |∇C|/√N is the size of one random component.

    Raises
    ------
    GradientError
        If the error exceeds the tolerance. This also happens if the step from θ − hv to θ + hv crosses a kink of an
        activation, such as the kink of relu at 0. In this case, use other data.

    Examples
    --------
    >>> from fastbp import Network
    >>> check_gradients(Network([4, 3, 2], rng=0), [[0.1], [0.2], [0.3], [0.4]], [1]) < 1e-7
    True
    >>> check_gradients(Network([2, 9, 2], rng=0), [[0.1], [0.2]], [1], dropout=[0.2, 0.5], dropout_key=7) < 1e-7
    True
    """
    net = net.to(dtype="float64")
    nabla_b, nabla_w = net.backprop(x, y, dropout=dropout, dropout_key=dropout_key)
    cost = _cost_of(net, x, y, masks_of(dropout, dropout_key, net._plan))
    outputs = net.feedforward(x)
    examples = 1 if outputs.ndim == 1 else outputs.shape[1]
    rng = np.random.default_rng(0)
    worst = 0.0
    for kind, parameters, nablas in (("weights", net.weights, nabla_w), ("biases", net.biases, nabla_b)):
        for l, (theta, nabla) in enumerate(zip(parameters, nablas, strict=True)):
            with net._plan.backend.device_context():
                expected, measured, scale, rounding = _along_a_direction(cost, theta, nabla / examples, rng)
            # The smallest gradient that can be distinguished from rounding errors.
            least = max(rounding / tolerance, np.finfo(float).tiny)
            error = abs(expected - measured) / max(abs(expected), abs(measured), scale, least)
            if not error <= tolerance:
                raise GradientError(
                    f"the gradient with respect to {kind}[{l}] is {expected:.10g} along a random direction, but finite "
                    f"differences of the cost give {measured:.10g}: relative error {error:.1e}, tolerance "
                    f"{tolerance:.1e}"
                )
            worst = max(worst, error)
    return worst


def _cost_of(net: "Network", x: Array, y: Array, masks: Masks | None) -> Callable[[], float]:
    """Return a function that computes the cost of a network, with the parameters that it has at the time."""
    if masks is None:
        return lambda: net.cost(x, y)
    inputs, targets = net._examples(x, y)
    return lambda: mean_cost_with_masks(net._plan, net._parameters(), inputs, targets, masks)


def gradient(
    plan: Plan, p: Parameters, x: Array, y: Array, masks: Masks | None = None
) -> tuple[list[Array], list[Array]]:
    """Return the gradient (nabla_b, nabla_w), summed over the columns of x. If there are masks, they are applied.

    x and y must have been checked. They are processed in batches of bounded memory.
    """
    operations = plan.operations("sparse" if isinstance(x, SparseColumns) else None)
    nabla = zeros(plan)
    if masks is None:
        for ws, _ in batches(plan, operations, x, y):
            plan.backend.run(equations.backprop, operations, p, ws, nabla)
    else:
        add_gradient_with_masks(plan, operations, p, x, y, masks, nabla)
    return _public(nabla.biases, plan) if plan.formulas.bias else [], list(nabla.weights)


def descend(plan: Plan, p: Parameters, x: Array, y: Array, eta: float) -> None:
    """Update the parameters in place by one step of gradient descent on the columns of x.

    x and y must have been checked.
    """
    m = int(x.shape[1])
    operations = plan.operations("sparse" if isinstance(x, SparseColumns) else None)
    ((ws, _),) = batches(plan, operations, x, y, size=m)
    steps = step_config(SGD(), eta, steps=0, count=1, lmbda=0.0, n=m)
    plan.backend.run(equations.update_mini_batch, operations, p, new_optimizer_state(plan), ws, steps, 0, m)


def trace(plan: Plan, p: Parameters, x: Array, y: Array) -> Trace:
    """Return all values that backpropagation computes for x and y, which must have been checked."""
    run = plan.backend.run
    operations = plan.operations(keep_z=True)
    x = x.toarray() if isinstance(x, SparseColumns) else x
    ws = _workspace(plan, operations, x, y)
    nabla = zeros(plan)
    run(equations.backprop, operations, p, ws, nabla)
    gradients = tuple(plan.backend.columns(plan.block(n, x.shape[1])) for n in plan.sizes[:-1])
    run(equations.activation_gradients, operations, p, ws, gradients)
    activations = _public(ws.activations, plan)
    with np.errstate(all="ignore"):  # ∂C/∂a is infinite where a logarithm in the cost is infinite
        output_gradient = plan.formulas.output.cost_function.prime(activations[-1], *_public((ws.y,), plan))
    found = Trace(
        zs=_public(ws.zs, plan),
        activations=activations,
        deltas=_public(ws.deltas, plan),
        activation_gradients=[*_public(gradients, plan), output_gradient],
        nabla_b=_public(nabla.biases, plan) if plan.formulas.bias else [],
        nabla_w=list(nabla.weights),
    )
    xp, biases = namespace(p.weights[0]), _public(p.biases, plan) if plan.formulas.bias else []
    weights, biases = ([xp.asarray(a, copy=True) for a in arrays] for arrays in (p.weights, biases))
    found.network = TracedNetwork(plan, weights, biases, *_public((ws.y,), plan))
    return found


def _workspace(plan: Plan, operations: Operations, x: Array, y: Array) -> Workspace:
    """Return a workspace, the memory for all values of one batch, that contains all columns of x and y."""
    ws = WorkspacePool(plan, operations, x.shape[1]).workspace(x.shape[1])
    copy_into(x, ws.activations[0], plan, plan.input_scale)
    copy_into(y, ws.y, plan)
    return ws


def _public(blocks: Sequence[Array], plan: Plan) -> list[Array]:
    """Convert the arrays of a workspace, called blocks, to arrays of shape (n, m) with one example per column."""
    return [plan.backend.columns(block).T for block in blocks]


def _along_a_direction(
    cost: Callable[[], float], theta: Array, nabla: Array, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Compare the gradient with the central difference of the cost along one random direction v.

    Returns ⟨∇C, v⟩, the central difference, |∇C|/√N, and the rounding error of the central difference.
    """
    xp = namespace(theta)
    direction = rng.standard_normal(tuple(theta.shape))
    v = xp.asarray(direction / np.linalg.norm(direction), device=theta.device)
    start = xp.asarray(theta, copy=True)
    costs = []
    for step in (_STEP, -_STEP):
        theta[...] = start + step * v
        costs.append(cost())
    theta[...] = start
    scale = float(xp.sum(nabla * nabla)) ** 0.5 / direction.size**0.5
    rounding = 4 * np.finfo(float).eps * max(map(abs, costs)) / _STEP
    return float(xp.sum(nabla * v)), (costs[0] - costs[1]) / (2 * _STEP), scale, rounding
