"""The algorithm: each function is one equation of the notes, in matrix form over the columns of a mini-batch.

The notes are Nielsen's and deeplizard's, see `docs/equations.md`. The same code runs on every backend, and the backend
provides the operations `ops`. For NumPy, Numba compiles these functions; for other array libraries, Python interprets
them. The functions allocate no memory. Each function writes into the workspace `ws`, and only `descend` changes the
parameters `p`. Lists of layers start at the first layer with weights: `ws.activations[l]` is the input of layer l, and
`ws.activations[l + 1]` its output.
"""

from typing import Any

from fastbp.operations import Dropout, Examples, Operations, OptimizerState, Parameters, StepConfig, Workspace

Array = Any


def feedforward(ops: Operations, p: Parameters, ws: Workspace) -> None:
    """Compute equations (1) and (2), from the first layer to the last: zˡ = Wˡ aˡ⁻¹ + bˡ 1ᵀ, aˡ = σ(zˡ).

    Here 1ᵀ is a row of ones.
    """
    for l in range(len(p.weights)):
        ops.layers[l].matmul(p.weights[l], ws.activations[l], ws.zs[l])
        ops.layers[l].activate(ws.zs[l], ws.activations[l + 1], p.biases[l])


def output_error(ops: Operations, ws: Workspace) -> None:
    """Compute (BP1): δᴸ = ∇ₐC ⊙ σ′(zᴸ), with each column multiplied by the weight of its example.

    (BP3) needs the sum of the columns of δᴸ. This sum is computed in the same pass over the data.
    """
    ops.output_error(ws.zs[-1], ws.activations[-1], ws.y, ws.s, ws.deltas[-1], ws.sums[-1])


def backpropagate(ops: Operations, p: Parameters, ws: Workspace) -> None:
    """Compute (BP2), from layer L − 1 back to the first: δˡ = ((Wˡ⁺¹)ᵀ δˡ⁺¹) ⊙ σ′(zˡ).

    (BP3) needs the sum of the columns of δˡ. This sum is computed in the same pass over the data.
    """
    for l in range(len(p.weights) - 2, -1, -1):
        ops.matmul_transposed(p.weights[l + 1], ws.deltas[l + 1], ws.deltas[l])
        ops.layers[l].hadamard(ws.zs[l], ws.activations[l + 1], ws.deltas[l], ws.sums[l])


def add_gradient(ops: Operations, ws: Workspace, alpha: float, beta_w: float, beta_b: float, p: Parameters) -> None:
    """Compute (BP3) and (BP4), and add them to `p`: bˡ ← β_b bˡ + α δˡ 1 and Wˡ ← β_w Wˡ + α δˡ (aˡ⁻¹)ᵀ.

    Here 1 is a column of ones, so δˡ 1 is the sum of the columns of δˡ. With α = β_w = β_b = 1, the gradient, summed
    over the columns, is added to `p`. With α = −η/m, this is a step of gradient descent.
    """
    for l in range(len(p.weights)):
        ops.add_column_sums(alpha, ws.sums[l], beta_b, p.biases[l])
        ops.layers[l].add_outer(alpha, ws.deltas[l], ws.activations[l], beta_w, p.weights[l])


def backprop(ops: Operations, p: Parameters, ws: Workspace, nabla: Parameters) -> None:
    """Run the five steps of backpropagation on x and y in `ws`; add the gradient, summed over columns, to `nabla`."""
    feedforward(ops, p, ws)
    output_error(ops, ws)
    backpropagate(ops, p, ws)
    add_gradient(ops, ws, 1.0, 1.0, 1.0, nabla)


def activation_gradients(ops: Operations, p: Parameters, ws: Workspace, gradients: tuple[Array, ...]) -> None:
    """Compute ∂C₀/∂aˡ⁻¹ = (Wˡ)ᵀ δˡ for each layer, down to ∂C₀/∂x.

    In deeplizard's notation this is Σ_j ∂C₀/∂a_j g′(z_j) w_jk.
    """
    for l in range(len(p.weights)):
        ops.matmul_transposed(p.weights[l], ws.deltas[l], gradients[l])


def descend(
    ops: Operations, p: Parameters, state: OptimizerState, ws: Workspace, steps: StepConfig, k: int, m: int
) -> None:
    """Take one step of the optimizer. `k` is the position of this step in `steps`, counted from 0.

    `m` is the number of examples in the mini-batch. If several ranks train, it counts the examples of all ranks.

    For gradient descent, the step is W ← (1 − ηλ/n) W − (η/m) Σ δ aᵀ and b ← b − (η/m) Σ δ. Every other optimizer
    applies its own formula twice: to W with the gradient (1/m) Σ δ aᵀ and the decay λ/n, and to b with the gradient
    (1/m) Σ δ and the decay 0.

    With several ranks, gradient descent needs no gradient either. The first rank computes (1 − ηλ/n) W − (η/m) Σ δ aᵀ
    over its own examples, and the others compute −(η/m) Σ δ aᵀ. The sum over the ranks is the step.
    """
    eta, decay = float(steps.etas[k]), float(steps.decays[k])
    if steps.plain_sgd:
        add_gradient(ops, ws, -eta / m, steps.carry * (1.0 - eta * decay), steps.carry, p)
        ops.sum_over_ranks(steps.ranks, p.weights[0])
    else:
        nabla, first, second, third = state.nabla, state.first, state.second, state.third
        add_gradient(ops, ws, 1.0 / m, 0.0, 0.0, nabla)
        ops.sum_over_ranks(steps.ranks, nabla.weights[0])
        t, constants = float(steps.t + k), steps.constants[k]
        for l in range(len(p.weights)):
            ops.optimizer_step(
                eta, decay, t, constants,
                nabla.weights[l], first.weights[l], second.weights[l], third.weights[l], p.weights[l],
            )  # fmt: skip
            ops.optimizer_step(
                eta, 0.0, t, constants,
                nabla.biases[l], first.biases[l], second.biases[l], third.biases[l], p.biases[l],
            )  # fmt: skip


def update_mini_batch(
    ops: Operations, p: Parameters, state: OptimizerState, ws: Workspace, steps: StepConfig, k: int, m: int
) -> None:
    """Take step `k` of the optimizer on the mini-batch of m examples in `ws`."""
    feedforward(ops, p, ws)
    output_error(ops, ws)
    backpropagate(ops, p, ws)
    descend(ops, p, state, ws, steps, k, m)


def train_mini_batches(
    ops: Operations,
    p: Parameters,
    state: OptimizerState,
    ws: Workspace,
    examples: Examples,
    order: Array,
    steps: StepConfig,
    m: int,
    total: Array,
) -> None:
    """Update the parameters once for each η in `steps`.

    `order` has the indices of all mini-batches, one after the other. A mini-batch has m examples, or fewer if other
    ranks have the rest. The costs of each mini-batch are added to `total`. They are the costs before the update.
    """
    columns = order.shape[0] // steps.etas.shape[0]
    for k in range(steps.etas.shape[0]):
        mini_batch = order[k * columns : (k + 1) * columns]
        ops.gather_x(examples.x, mini_batch, examples.scale, ws.activations[0])
        ops.gather(examples.y, mini_batch, 1.0, ws.y)
        ops.gather(examples.s, mini_batch, 1.0, ws.s)
        add_l2_costs(ops, p, steps, k, m, total)
        update_mini_batch(ops, p, state, ws, steps, k, m)
        add_costs(ops, ws, total)


def add_cost_and_gradient(
    ops: Operations, p: Parameters, ws: Workspace, alpha: float, nabla: Parameters, total: Array
) -> None:
    """Run backpropagation on x and y in `ws`. Add the cost Σ s_x C_x to `total`, and α times its gradient to `nabla`.

    The sum is over the examples x in `ws`, and s_x is the weight of example x.
    """
    feedforward(ops, p, ws)
    output_error(ops, ws)
    backpropagate(ops, p, ws)
    add_gradient(ops, ws, alpha, 1.0, 1.0, nabla)
    add_costs(ops, ws, total)


def gather_and_add_cost_and_gradient(
    ops: Operations,
    p: Parameters,
    ws: Workspace,
    examples: Examples,
    indices: Array,
    alpha: float,
    nabla: Parameters,
    total: Array,
) -> None:
    """Do the same as `add_cost_and_gradient` for the examples with these indices."""
    ops.gather_x(examples.x, indices, examples.scale, ws.activations[0])
    ops.gather(examples.y, indices, 1.0, ws.y)
    ops.gather(examples.s, indices, 1.0, ws.s)
    add_cost_and_gradient(ops, p, ws, alpha, nabla, total)


def feedforward_with_dropout(
    ops: Operations, p: Parameters, ws: Workspace, dropout: Dropout, mini_batch: Array
) -> None:
    """Compute zˡ = Wˡ ãˡ⁻¹ + bˡ 1ᵀ and aˡ = σ(zˡ). Here ãˡ is the activation aˡ after dropout."""
    for l in range(len(p.weights)):
        drop(dropout, p, l, mini_batch, ws.activations[l], dropout.inputs.activations[l])
        ops.layers[l].matmul(p.weights[l], dropout.inputs.activations[l], ws.zs[l])
        ops.layers[l].activate(ws.zs[l], ws.activations[l + 1], p.biases[l])


def drop(dropout: Dropout, p: Parameters, l: int, mini_batch: Array, a: Array, out: Array) -> None:
    """Apply the dropout of layer l's inputs to `a`, and write the result to `out`. Do nothing if the rate is 0."""
    if dropout.thresholds[l] > 0:
        threshold, scale, n = int(dropout.thresholds[l]), float(dropout.scales[l]), p.weights[l].shape[1]
        key_0, key_1 = int(dropout.keys[l, 0]), int(dropout.keys[l, 1])
        if l == 0:
            dropout.drop_x(threshold, scale, key_0, key_1, n, mini_batch, a, out)
        else:
            dropout.drop(threshold, scale, key_0, key_1, n, mini_batch, a, out)


def backpropagate_with_dropout(
    ops: Operations, p: Parameters, ws: Workspace, dropout: Dropout, mini_batch: Array
) -> None:
    """Compute (BP2) with dropout: δˡ = drop((Wˡ⁺¹)ᵀ δˡ⁺¹) ⊙ σ′(zˡ). Here drop uses the mask and the scale of ãˡ."""
    for l in range(len(p.weights) - 2, -1, -1):
        ops.matmul_transposed(p.weights[l + 1], ws.deltas[l + 1], ws.deltas[l])
        drop(dropout, p, l + 1, mini_batch, ws.deltas[l], ws.deltas[l])
        ops.layers[l].hadamard(ws.zs[l], ws.activations[l + 1], ws.deltas[l], ws.sums[l])


def backprop_with_dropout(
    ops: Operations, p: Parameters, ws: Workspace, nabla: Parameters, dropout: Dropout, mini_batch: Array
) -> None:
    """Do the same as `backprop`, with dropout. The columns of x in `ws` have the numbers in `mini_batch`."""
    feedforward_with_dropout(ops, p, ws, dropout, mini_batch)
    output_error(ops, ws)
    backpropagate_with_dropout(ops, p, ws, dropout, mini_batch)
    add_gradient(ops, dropout.inputs, 1.0, 1.0, 1.0, nabla)


def train_mini_batches_with_dropout(
    ops: Operations,
    p: Parameters,
    state: OptimizerState,
    ws: Workspace,
    examples: Examples,
    order: Array,
    steps: StepConfig,
    m: int,
    total: Array,
    dropout: Dropout,
) -> None:
    """Do the same as `train_mini_batches`, with dropout. The costs are computed from outputs with dropout."""
    columns = order.shape[0] // steps.etas.shape[0]
    for k in range(steps.etas.shape[0]):
        mini_batch = order[k * columns : (k + 1) * columns]
        ops.gather_x(examples.x, mini_batch, examples.scale, ws.activations[0])
        ops.gather(examples.y, mini_batch, 1.0, ws.y)
        ops.gather(examples.s, mini_batch, 1.0, ws.s)
        add_l2_costs(ops, p, steps, k, m, total)
        feedforward_with_dropout(ops, p, ws, dropout, mini_batch)
        output_error(ops, ws)
        backpropagate_with_dropout(ops, p, ws, dropout, mini_batch)
        descend(ops, p, state, dropout.inputs, steps, k, m)
        add_costs(ops, ws, total)


def add_costs(ops: Operations, ws: Workspace, total: Array) -> None:
    """Compute equations (3) and (4) for a mini-batch: total ← total + Σ_x s_x C_x.

    The sum is over the examples x of the mini-batch, and s_x is the weight of example x. Call `feedforward` first.
    """
    ops.add_cost(ws.zs[-1], ws.activations[-1], ws.y, ws.s, total)


def add_l2_costs(ops: Operations, p: Parameters, steps: StepConfig, k: int, m: int, total: Array) -> None:
    """Add the L2 term of the cost, (λ/2n) Σ ‖W‖², to the total for each of m examples. Do nothing unless it is counted.

    `k` is the position of the mini-batch in `steps`. In `total`, the L2 term is multiplied by `steps.l2_scale`.
    """
    if steps.l2_scale > 0.0:
        for l in range(len(p.weights)):
            ops.add_squares(0.5 * steps.l2_scale * m * float(steps.decays[k]), p.weights[l], total)
