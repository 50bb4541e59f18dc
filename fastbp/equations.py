"""The algorithm, once: every function is one equation of the notes, in matrix form over the columns of a mini-batch.

Nothing here knows where it runs. The operations `ops` come from a backend: NumPy has these very functions compiled by
Numba, any other array namespace has them interpreted. They allocate nothing; each writes into the workspace `ws`, and
the parameters `p` change in descent alone. Lists of layers start at the first that has weights: `ws.activations[l]`
goes into layer l and `ws.activations[l + 1]` comes out.
"""

from typing import Any

from fastbp.backends.operations import Operations, Parameters, Workspace

Array = Any


def feedforward(ops: Operations, p: Parameters, ws: Workspace) -> None:
    """(1), (2): zˡ = Wˡ aˡ⁻¹ + bˡ 1ᵀ, aˡ = σ(zˡ), from the first layer to the last."""
    for l in range(len(p.weights)):
        ops.affine(p.weights[l], ws.activations[l], ws.zs[l])
        ops.layers[l].activate(ws.zs[l], ws.activations[l + 1], p.biases[l])


def output_error(ops: Operations, ws: Workspace) -> None:
    """(BP1): δᴸ = ∇ₐC ⊙ σ′(zᴸ)."""
    L = len(ws.deltas) - 1
    ops.output_error(ws.zs[L], ws.activations[L + 1], ws.y, ws.deltas[L])


def backpropagate(ops: Operations, p: Parameters, ws: Workspace) -> None:
    """(BP2): δˡ = ((Wˡ⁺¹)ᵀ δˡ⁺¹) ⊙ σ′(zˡ), from the last layer but one to the first."""
    for l in range(len(p.weights) - 2, -1, -1):
        ops.backproject(p.weights[l + 1], ws.deltas[l + 1], ws.deltas[l])
        ops.layers[l].hadamard(ws.zs[l], ws.activations[l + 1], ws.deltas[l])


def add_gradient(ops: Operations, ws: Workspace, alpha: float, decay: float, p: Parameters) -> None:
    """(BP3), (BP4): bˡ ← bˡ + α δˡ 1 and Wˡ ← decay Wˡ + α δˡ (aˡ⁻¹)ᵀ, each one operation.

    α = decay = 1 adds the gradient, summed over the columns, to what is in `p`; α = −η/m is a step of descent.
    """
    for l in range(len(p.weights)):
        ops.add_columns(alpha, ws.deltas[l], p.biases[l])
        ops.add_outer(alpha, ws.deltas[l], ws.activations[l], decay, p.weights[l])


def backprop(ops: Operations, p: Parameters, ws: Workspace, nabla: Parameters) -> None:
    """Carry out the five steps from a¹ = x and y in `ws`; add ∂C/∂b and ∂C/∂W, summed over the columns, to `nabla`."""
    feedforward(ops, p, ws)
    output_error(ops, ws)
    backpropagate(ops, p, ws)
    add_gradient(ops, ws, 1.0, 1.0, nabla)


def activation_gradients(ops: Operations, p: Parameters, ws: Workspace, gradients: tuple[Array, ...]) -> None:
    """∂C₀/∂aˡ⁻¹ = (Wˡ)ᵀ δˡ, deeplizard's Σ_j ∂C₀/∂a_j g′(z_j) w_jk, down to ∂C₀/∂x."""
    for l in range(len(p.weights)):
        ops.backproject(p.weights[l], ws.deltas[l], gradients[l])


def update_mini_batch(ops: Operations, p: Parameters, ws: Workspace, eta_over_m: float, decay: float) -> None:
    """Gradient descent on one mini-batch: W ← decay W − (η/m) Σ δ aᵀ, b ← b − (η/m) Σ δ; decay is 1 − ηλ/n."""
    feedforward(ops, p, ws)
    output_error(ops, ws)
    backpropagate(ops, p, ws)
    add_gradient(ops, ws, -eta_over_m, decay, p)


def train_mini_batches(
    ops: Operations,
    p: Parameters,
    ws: Workspace,
    x: Array,
    y: Array,
    order: Array,
    eta: float,
    decay: float,
    m: int,
    total: Array,
) -> None:
    """Loop over mini-batches: for each m indices of `order` one update, its cost before that added to `total`."""
    for start in range(0, order.shape[0], m):
        mini_batch = order[start : start + m]
        ops.gather_x(x, mini_batch, ws.activations[0])
        ops.gather_y(y, mini_batch, ws.y)
        update_mini_batch(ops, p, ws, eta / m, decay)
        ops.add_cost(ws.zs[-1], ws.activations[-1], ws.y, total)


def add_costs(ops: Operations, ws: Workspace, total: Array) -> None:
    """(3), (4): total ← total + Σ_x C_x, over the columns of a mini-batch that has been fed forward."""
    ops.add_cost(ws.zs[-1], ws.activations[-1], ws.y, total)
