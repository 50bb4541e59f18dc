"""Training steps on a GPU, recorded once and replayed.

The equations are interpreted for one mini-batch. A `Recorder` takes the place of the device, and keeps the launches and
the products with their arguments packed. There are three ways to take further steps:

* "graph": launch a CUDA graph, into which the recorded calls have been captured;
* "ready": make the recorded calls, one after another;
* "eager": interpret the equations again, as without this module.

All three give the same bits. If a graph cannot be captured, the calls are made one by one. If a step cannot be
recorded, the equations are interpreted. Nothing has been computed by then, because recording and capturing execute
nothing.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import numpy as np

from fastbp.backends.cupy.launching import dropout_on, operations_on
from fastbp.backends.cupy.memory import translate_out_of_memory
from fastbp.errors import one_line
from fastbp.operations import Plan, StepConfig

Array = Any
Mode = Literal["eager", "ready", "graph"]
Ready = Callable[[Any], Callable[[], Any]]
"""A call with its arguments packed. Given a binding (`CuPyDevice.binding`), it returns a function of no arguments."""

MODES: tuple[Mode, ...] = get_args(Mode)
_FEWEST = 4  # a call with fewer steps is not worth a recording, which takes as long as one eager step
_STEPS_PER_GRAPH = 16  # of the larger graph; capturing takes as long as about 100 steps
_STEPS_BEFORE_LARGE_GRAPH = 1024  # so that capturing the larger graph costs a tenth of the time at most
most: ContextVar[Mode | None] = ContextVar("fastbp_replay", default=None)
"""The best mode that is allowed, or None if steps may also be taken in other ways (`small_networks.py`)."""


@contextmanager
def replay_at_most(mode: Mode) -> Iterator[None]:
    """Within a `with` block, take training steps in this mode, or in a mode to the left of it in `MODES`.

    This is so for small networks too, which are otherwise trained by one kernel (`small_networks.py`). Benchmarks and
    tests compare the modes with it.

    >>> with replay_at_most("eager"):
    ...     pass
    """
    token = most.set(mode)
    try:
        yield
    finally:
        most.reset(token)


class Recorder:
    """Takes the place of a device. It keeps the calls that it receives, ready to be made, and makes none of them."""

    recording = True

    def __init__(self, device: Any) -> None:
        self._device = device
        self.calls: list[Ready] = []

    def launch(self, kernel: Any, *arguments: Any) -> None:
        """Keep the launch of a kernel."""
        self.calls.append(self._device.ready_launch(kernel, *arguments))

    def gemm(self, op_a: str, op_b: str, a: Array, b: Array, out: Array, alpha: float, beta: float) -> None:
        """Keep a matrix product."""
        self.calls.append(self._device.ready_gemm(op_a, op_b, a, b, out, alpha, beta))


class Replay:
    """A function like `Backend.run` for the equations of a training. It replays steps on full mini-batches.

    `mode` is the mode in which the last steps were taken. A replayed step reads the indices of its mini-batch, and the
    numbers of the optimizer, from fixed memory on the device. One kernel copies them there (`next_mini_batch`).
    """

    def __init__(self, backend: Any, plan: Plan, source: str, m: int, n: int) -> None:
        from fastbp_kernels.cuda.step_numbers import STEP_NUMBERS, next_mini_batch

        self.mode: Mode = "eager"
        self._backend, self._m, self._recorder = backend, m, Recorder(backend.device)
        self._key: tuple[Any, ...] = ()  # identifies the recorded step; the recording keeps its arrays alive
        self._last_key: tuple[Any, ...] = ()  # of the last step that was not worth a recording
        self._ready: list[Ready] = []
        self._graphs: dict[int, Callable[[], Any]] = {}  # by number of steps
        self._steps = 0  # replayed so far from this recording
        rule, dtype = plan.formulas.rule, plan.dtype
        empty, most = backend.empty, max(1, n // m)
        self._dtype, self._width = dtype, 0 if rule is None else STEP_NUMBERS
        self._order, self._indices = empty((most * m,), "int64"), empty((m,), "int64")
        self._table = empty((1 if rule is None else most, STEP_NUMBERS), dtype)
        self._numbers = empty((STEP_NUMBERS,), dtype)
        self._position, self._next = empty((1,), "int64"), next_mini_batch(dtype)
        self._operations = operations_on(self._recorder, plan.formulas, dtype, source, self._numbers)
        self._drop = dropout_on(self._recorder, dtype)

    def __call__(self, equation: Callable[..., None], *arguments: Any) -> None:
        """Run the equation `train_mini_batches`, or `train_mini_batches_with_dropout`, with these arguments."""
        backend, (order, steps, m) = self._backend, arguments[5:8]
        count = len(order) // m
        self.mode = self._possible_mode(steps, m, count)
        if self.mode != "eager":
            with backend.device_context(), translate_out_of_memory():
                self.mode = self._prepared_mode(equation, arguments, count)
                if self.mode != "eager":
                    self._replay(order, steps, count)
        if self.mode == "eager":
            backend.run(equation, *arguments)

    def _possible_mode(self, steps: StepConfig, m: int, count: int) -> Mode:
        """Return the best mode for a number of steps.

        A recorded step contains the regularization factor λ/n, and a plain one also η. They must be the same in all.
        """
        refused = self._backend.device.refused
        if m != self._m or not 0 < count <= len(self._order) // m or "ready" in refused:
            return "eager"
        fixed = (steps.etas, steps.decays) if steps.plain_sgd else (steps.decays,)
        if not all((numbers == numbers[0]).all() for numbers in fixed):
            return "eager"
        mode = most.get() or "graph"
        return "ready" if mode == "graph" and "graph" in refused else mode

    def _prepared_mode(self, equation: Callable[..., None], arguments: tuple[Any, ...], count: int) -> Mode:
        """Record a step unless it is already recorded; return the mode, which is "eager" if this is impossible.

        If a call has few steps, they are recorded only if the same step was needed before.
        """
        _, p, state, ws, examples, _, steps, _, total, *dropout = arguments
        arrays = (equation, p, state, ws, examples, total, *(part.inputs for part in dropout))
        numbers = (float(steps.decays[0]), steps.l2_scale, float(steps.etas[0]) if steps.plain_sgd else None)
        key = (*map(id, arrays), *numbers, *(part.keys.tobytes() for part in dropout))
        try:
            key += (binding := self._backend.device.binding(),)
            if key != self._key:
                if count < _FEWEST and key != self._last_key:
                    self._last_key = key
                    return "eager"
                self._key, self._ready, self._graphs, self._steps = (), [], {}, 0
                self._ready = self._recorded(equation, *arguments)
                self._key, self._kept, self._binding = key, arrays, binding
                self._calls = [bind(binding) for bind in self._ready]
        except Exception as error:  # whatever it is, the equations can be interpreted
            self._refuse("ready", error)
            return "eager"
        return self.mode

    def _recorded(
        self, equation: Callable[..., None], ops: Any, p: Any, state: Any, ws: Any, examples: Any, order: Array,
        steps: StepConfig, m: int, total: Array, *dropout: Any,
    ) -> list[Ready]:  # fmt: skip
        """Return the calls of a step."""
        step = steps._replace(etas=steps.etas[:1], decays=steps.decays[:1], constants=steps.constants[:1])
        recorder, recorded = self._recorder, [part._replace(drop_x=self._drop, drop=self._drop) for part in dropout]
        recorder.calls = []
        recorder.launch(
            self._next, self._order, self._table, self._position, self._indices, self._numbers, m, self._width
        )
        equation(self._operations, p, state, ws, examples, self._indices, step, m, total, *recorded)
        calls, recorder.calls = recorder.calls, []
        return calls

    def _replay(self, order: Array, steps: StepConfig, count: int) -> None:
        """Take `count` steps."""
        assign, device = self._backend.assign, self._backend.device
        device.assign(self._order[: len(order)], order)
        assign(self._position, 0)
        if not steps.plain_sgd:
            t = np.arange(steps.t, steps.t + count, dtype=np.float64)
            numbers = np.column_stack([steps.etas[:count], t, steps.constants[:count]])
            assign(self._table[:count], numbers.astype(self._dtype))
        with device.products(self._binding):
            first = 1 if self._steps == 0 else 0  # a capture needs modules that a first step has loaded
            taken = count if self.mode == "ready" else first
            _make(self._calls, taken)
        if self.mode == "graph":
            self._launch_graphs(count - taken)
        self._steps += count

    def _launch_graphs(self, count: int) -> None:
        for size in (_STEPS_PER_GRAPH, 1):
            if size > 1 and self._steps < _STEPS_BEFORE_LARGE_GRAPH:
                continue
            if count >= size and size not in self._graphs:
                try:
                    self._graphs[size] = self._backend.device.capture(self._ready, size)
                except Exception as error:  # the capture has ended, and has executed nothing
                    self._refuse("graph", error)
                    break
            launch = self._graphs.get(size)
            while launch is not None and count >= size:
                launch()
                count -= size
        if count:
            self.mode = "ready"
            with self._backend.device.products(self._binding):
                _make(self._calls, count)

    def _refuse(self, mode: Mode, error: Exception) -> None:
        """Do not try this mode again on this device, and log why."""
        reason = f"{type(error).__name__}: {one_line(error)}"
        self._backend.device.refused[mode] = reason
        instead = {"graph": "its calls are made one by one", "ready": "the equations are interpreted"}[mode]
        logging.getLogger("fastbp").warning(
            f"{self._backend.name}: a training step cannot be replayed as {_NAMES[mode]} ({reason}); {instead}, which "
            "gives the same results but is slower"
        )


_NAMES = {"graph": "a CUDA graph", "ready": "recorded calls"}


def _make(calls: Sequence[Callable[[], Any]], count: int) -> None:
    for _ in range(count):
        for call in calls:
            call()
