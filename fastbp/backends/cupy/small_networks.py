"""Training of small networks on a GPU by one kernel, which takes many steps in one launch.

A replayed step of a small network takes the GPU as long as its launches, about 2 µs each (`docs/cuda.md`). The kernel
`fastbp_kernels.cuda.one_block` needs no launches within a step. It has one block, which uses only one multiprocessor of
the GPU. So it is used only for networks with so little work that this is faster.
"""

from collections.abc import Callable, Iterator
from typing import Any

from fastbp import equations
from fastbp.activations import softmax
from fastbp.backends.cupy.memory import translate_out_of_memory
from fastbp.backends.cupy.replay import Replay, most
from fastbp.operations import Plan, StepConfig

_MOST_WORK = 420_000
"""A bound of (m + 4) times the number of weights.

784-30-10 with m = 13 is just below it. On an H100, the kernel took 19.7 µs for a step of it, and a CUDA graph 32.7 µs
for a step with m = 10 (`docs/cuda.md`)."""


def suits(plan: Plan, m: int, *, tf32: bool) -> bool:
    """Return whether the kernel can train a network in mini-batches of m, and is faster than replayed steps.

    It can train float32 networks with one hidden layer and without softmax, by plain gradient descent.
    """
    if len(plan.sizes) != 3 or plan.dtype != "float32" or plan.formulas.rule is not None or tf32:
        return False
    from fastbp_kernels.cuda.one_block import fits

    n_0, n_1, n_2 = plan.sizes
    small = (m + 4) * (n_0 + n_2) * n_1 <= _MOST_WORK
    return small and softmax not in plan.formulas.activations and fits(m, n_1, n_2)


class OneBlock:
    """A function like `Backend.run` for the equations of a training. It takes all steps of a call in one launch.

    A launch has one η and one λ/n. If they change within a call, there are several launches. What the kernel cannot do
    is left to replayed steps: a mini-batch of another size, dropout, and a cost with an L2 term. `mode` is "block", or
    the mode of the replayed steps, which `replay` takes.
    """

    def __init__(self, backend: Any, plan: Plan, source: str, m: int, replay: Replay) -> None:
        from fastbp_kernels.cuda.one_block import input_numbers, train_in_one_block

        self.mode: str = "eager"
        self._backend, self._sizes, self._m, self.replay = backend, plan.sizes, m, replay
        formulas, (hidden, output) = plan.formulas, plan.formulas.activations
        self._kernel = train_in_one_block(
            hidden.f, plan.dtype, prime=hidden.prime, f_output=output.f, error=formulas.output.error,
            cost=formulas.output.cost, source=source, weighted=formulas.weighted, bias=formulas.bias,
        )  # fmt: skip
        self._inputs = backend.empty((input_numbers(m, *plan.sizes[:2]),), plan.dtype)

    def __call__(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Run the equation `train_mini_batches`, or `train_mini_batches_with_dropout`, with these arguments."""
        steps, m = arguments[6:8]
        plain = equation is equations.train_mini_batches and m == self._m and steps.l2_scale == 0.0
        if plain and most.get() is None:
            with self._backend.device_context(), translate_out_of_memory():
                self._launch(*arguments)
            self.mode = "block"
        else:
            self.replay(equation, *arguments)
            self.mode = self.replay.mode

    def _launch(
        self, ops: Any, p: Any, state: Any, ws: Any, examples: Any, order: Any, steps: StepConfig, m: int, total: Any
    ) -> None:
        (w_1, w_2), (b_1, b_2), (n_0, n_1, n_2) = p.weights, p.biases, self._sizes
        for first, count in _runs(steps):
            eta, decay = float(steps.etas[first]), float(steps.decays[first])
            alpha, beta = -eta / m, 1.0 - eta * decay
            self._backend.device.launch(
                self._kernel, *examples[:3], order, examples.scale, w_1, b_1, w_2, b_2, alpha, beta, total,
                self._inputs, first * m, count, n_0, n_2, m, n_1,
            )  # fmt: skip


def _runs(steps: StepConfig) -> Iterator[tuple[int, int]]:
    """Yield the first step and the number of steps of each run of steps with the same η and λ/n."""
    numbers = list(zip(steps.etas.tolist(), steps.decays.tolist(), strict=True))
    first = 0
    for k in range(1, len(numbers) + 1):
        if k == len(numbers) or numbers[k] != numbers[first]:
            yield first, k - first
            first = k
