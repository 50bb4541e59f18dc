"""The ranks of data-parallel training: processes that train one network together, connected by MPI.

Everything that ends or refuses a training is decided by all ranks together, because a rank that stops alone would leave
the others waiting forever. An error on one rank is therefore raised on every rank, at the next point where the ranks
talk to each other. If an error cannot wait for this point, the rank ends the processes of all ranks (MPI_Abort).
"""

import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from fastbp.backends.interrupts import is_compiling
from fastbp.errors import CheckpointError, DivergedError, InputError, RankError, brief, one_line
from fastbp.training.shares import Shares, shares_of_columns, shares_of_shards

P = ParamSpec("P")
T = TypeVar("T")
_OURS = {error.__name__: error for error in (InputError, DivergedError, CheckpointError, RankError)}
_RANKS = "_fastbp_ranks"  # an attribute of an error: the number of ranks that raise it together
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # set by the mpiexec of MPICH and of Open MPI
_METHODS = ("Get_rank", "Get_size", "Dup", "Free", "allgather", "bcast", "Allreduce", "Abort")


class Ranks:
    """The only rank of a training on one process. Its methods do nothing, or return what they were given.

    `index` is the number of this rank, and `size` the number of ranks. If `sharded` is True, each rank has its own
    examples; otherwise all ranks have the same examples. A rank may use `threads` of the `threads_of_node`.
    """

    index, size, sharded = 0, 1, False
    threads = threads_of_node = 1
    comm: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the rank that reports progress and writes files."""
        return self.index == 0

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks. Every rank must call this method, and so for the others here."""
        return [value]

    def from_first(self, value: T) -> T:
        """Return the value of the first rank."""
        return value

    def agreement(self) -> AbstractContextManager[Any]:
        """Return a context at whose end every rank raises an error if one rank did."""
        return nullcontext()

    def together(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call a function on every rank; raise an error on every rank if it fails on one. Ctrl-C may interrupt it."""
        return function(*arguments, **named)

    def has_agreed(self, error: BaseException) -> bool:
        """Return whether every rank raises this error."""
        return True

    def check_equal(self, values: Mapping[str, Any]) -> None:
        """Raise `InputError` on every rank if the ranks have different values."""

    def one_per_node_first(self, function: Callable[[], T]) -> T:
        """Call a function, which may compile code. One rank of each node calls it before the other ranks."""
        return function()

    def shares(self, n: int, m: int) -> Shares:
        """Return this rank's part of an epoch. The rank has n examples, and a mini-batch has m on all ranks."""
        return shares_of_columns(n, m)

    def part(self, n: int) -> slice:
        """Return which of the rank's n examples it computes when all examples are computed at once."""
        return slice(0, n)

    def summed(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the sum of the arrays of all ranks."""
        return array

    def led_by_first(self, function: Callable[..., T], *parts: Callable[..., Any]) -> T:
        """Call a function on the first rank only, with `parts` as its arguments; return its result on every rank.

        The parts are functions. When the first rank calls one of them, every rank calls it with the same arguments.
        """
        return function(*parts)

    def own_generator(self, rng: np.random.Generator) -> np.random.Generator:
        """Return the generator for draws about this rank's examples. `rng` has the same state on all ranks."""
        return rng


class MPIRanks(Ranks):
    """One of several ranks, connected by an mpi4py communicator."""

    def __init__(self, comm: Any, *, sharded: bool) -> None:
        self.comm = comm.Dup()  # a duplicate, whose messages do not mix with the program's
        self.sharded = sharded
        self.index, self.size = self.comm.Get_rank(), self.comm.Get_size()
        places = self.gather((platform.node(), _cpus()))
        here, _ = places[self.index]
        self._local_index = [host for host, _ in places[: self.index]].count(here)
        of_node = [cpus for host, cpus in places if host == here]
        self.threads, self.threads_of_node = _threads(_cpus(), of_node), len(set().union(*of_node))

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks."""
        values: list[T] = self.comm.allgather(value)
        return values

    def from_first(self, value: T) -> T:
        """Return the value of the first rank."""
        found: T = self.comm.bcast(value if self.first else None)
        return found

    def agreement(self) -> AbstractContextManager[Any]:
        """Return a context at whose end every rank raises an error if one rank did. Ctrl-C is held back in it."""
        return _Agreement(self)

    def together(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call a function on every rank; raise an error on every rank if it fails on one. Ctrl-C may interrupt it."""
        with self.agreement():
            try:
                _ctrl_c.interrupts = True
                return function(*arguments, **named)
            finally:
                _ctrl_c.interrupts = False

    def has_agreed(self, error: BaseException) -> bool:
        """Return whether every rank raises this error."""
        return getattr(error, _RANKS, 0) >= self.size

    def agree(self, error: BaseException | None) -> BaseException | None:
        """Return the error that this rank has to raise, or None if no rank failed.

        `error` is what this rank raised itself. If Ctrl-C was pressed on any rank, every rank raises KeyboardInterrupt.
        """
        if error is None and _ctrl_c.pressed:
            error = KeyboardInterrupt()
        own = None if error is None else (type(error).__name__, str(error), one_line(error))
        failures = {rank: found for rank, found in enumerate(self.gather(own)) if found is not None}
        if not failures:
            return None
        others = {rank: found for rank, found in failures.items() if found[0] != "KeyboardInterrupt"}
        if not others:
            error = error or KeyboardInterrupt()
        elif len(failures) < self.size or len(set(failures.values())) > 1:
            rank, (kind, text, line) = min(others.items())
            if kind in _OURS:
                error = _OURS[kind](f"rank {rank}: {text}")
            elif rank != self.index or error is None:
                error = RankError(f"rank {rank}: {kind}: {line}")
        assert error is not None
        return self.fail(error)

    def fail(self, error: BaseException) -> BaseException:
        """Return an error that every rank is about to raise."""
        setattr(error, _RANKS, self.size)
        return error

    def check_equal(self, values: Mapping[str, Any]) -> None:
        """Raise `InputError` on every rank if the ranks have different values.

        Hashes, which are bytes, are not shown in the message.
        """
        gathered = self.gather(dict(values))
        for rank, others in enumerate(gathered):
            for name, value in gathered[0].items():
                if others.get(name) != value:
                    got = f"got {brief(value)} on rank 0 and {brief(others.get(name))} on rank {rank}"
                    got = f"rank {rank} differs from rank 0" if isinstance(value, bytes) else got
                    raise self.fail(InputError(f"{name} must be the same on all ranks; {got}"))

    def one_per_node_first(self, function: Callable[[], T]) -> T:
        """Call a function, which may compile code. One rank of each node calls it before the other ranks."""
        found: list[T] = []
        for turn in (True, False):
            with self.agreement():
                if turn == (self._local_index == 0):
                    found.append(function())
        return found[0]

    def shares(self, n: int, m: int) -> Shares:
        """Return this rank's part of an epoch. The rank has n examples, and a mini-batch has m on all ranks."""
        if self.sharded:
            return shares_of_shards(self.gather(n), m, self.index)
        return shares_of_columns(n, m, self.index, self.size)

    def part(self, n: int) -> slice:
        """Return which of the rank's n examples it computes: all of them only if each rank has its own examples."""
        return slice(0, n) if self.sharded else slice(self.index * n // self.size, (self.index + 1) * n // self.size)

    def summed(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the sum of the arrays of all ranks."""
        total = np.empty_like(array)
        self.comm.Allreduce(array, total)
        return total

    def led_by_first(self, function: Callable[..., T], *parts: Callable[..., Any]) -> T:
        """Call a function on the first rank only, with `parts` as its arguments; return its result on every rank.

        The parts are functions. When the first rank calls one of them, every rank calls it with the same arguments.
        The parts have to raise an error on every rank or on none.
        """
        result: Any = None
        if self.first:

            def on_all_ranks(number: int, *arguments: Any) -> Any:
                self.from_first((number, arguments))
                return parts[number](*arguments)

            result = function(*(partial(on_all_ranks, number) for number in range(len(parts))))
            self.from_first(None)
        else:
            while (call := self.comm.bcast(None)) is not None:
                number, arguments = call
                parts[number](*arguments)
        found: T = self.from_first(result)
        return found

    def own_generator(self, rng: np.random.Generator) -> np.random.Generator:
        """Return `rng`. If each rank has its own examples, return a generator of this rank, seeded by one draw."""
        return np.random.default_rng([int(rng.integers(2**63)), self.index]) if self.sharded else rng


class _CtrlC:
    """Whether Ctrl-C was pressed on this rank. It is held back, except while `interrupts` is True."""

    def __init__(self) -> None:
        self.pressed = self.interrupts = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT."""
        self.pressed = True
        if self.interrupts and not is_compiling(frame):
            self.interrupts = False
            raise KeyboardInterrupt


_ctrl_c = _CtrlC()


class _Agreement:
    def __init__(self, ranks: MPIRanks) -> None:
        self._ranks = ranks

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self._ranks.has_agreed(error):
            return
        to_raise = self._ranks.agree(error)
        if to_raise is not None and to_raise is not error:
            raise to_raise from error


def started_by_mpiexec() -> bool:
    """Return whether the mpiexec of MPICH or Open MPI has started several processes."""
    return any(os.environ.get(name, "1") not in ("0", "1") for name in _SIZES)


def world() -> Any:
    """Return the communicator of all ranks that mpiexec has started; raise `InputError` if there is no MPI."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # a RuntimeError if there is no MPI library
        install = "pip install 'fastbp[mpi]' mpich"
        raise InputError(f"MPI cannot be used: {one_line(error)}; run: {install}") from error
    if started_by_mpiexec() and MPI.COMM_WORLD.size == 1:
        library = MPI.Get_library_version().split("\n")[0].strip()
        raise InputError(f"mpiexec must belong to the MPI library of mpi4py, {library}; this one started single ranks")
    return MPI.COMM_WORLD


def keep_first_rank_output(ranks: Ranks) -> None:
    """Discard what this process prints from now on, unless it is the first rank."""
    if not ranks.first:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (until the process ends)


@contextmanager
def on_ranks(comm: Any, *, sharded: bool = False) -> Iterator[Ranks]:
    """Yield the ranks of a training. Ctrl-C is held back on each rank until all ranks stop together.

    `comm` is an mpi4py communicator, or None for a training on one process. An error that is raised on this rank alone
    ends the processes of all ranks.
    """
    if comm is None:
        if sharded:
            raise InputError("sharded=True needs a communicator; for example, pass comm=MPI.COMM_WORLD")
        yield Ranks()
        return
    missing = [name for name in _METHODS if not hasattr(comm, name)]
    if missing:
        raise InputError(f"comm must be a communicator of mpi4py, like MPI.COMM_WORLD, got {brief(comm)}")
    ranks: MPIRanks | None = None
    with _holding_ctrl_c():
        try:
            ranks = MPIRanks(comm, sharded=sharded)
            with ranks.agreement():
                limited_threads = _limited_threads(ranks.threads)
            with limited_threads:
                yield ranks
                with ranks.agreement():
                    pass  # Ctrl-C may have been pressed since the last agreement
        except BaseException as error:
            if 1 < comm.Get_size() > getattr(error, _RANKS, 0):
                _abort(comm, error)
            raise
        finally:
            if ranks is not None:
                ranks.comm.Free()


def _abort(comm: Any, error: BaseException) -> None:
    """End the processes of all ranks, after a message that names this rank."""
    message = f"fastbp: rank {comm.Get_rank()}: {type(error).__name__}: {one_line(error)}"
    print(message, file=sys.__stderr__, flush=True)
    comm.Abort(1)
    os._exit(1)  # MPICH returns, and ends this process a moment later


@contextmanager
def _holding_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back in the main thread, unless the program handles SIGINT itself. Contexts may be nested."""
    default = signal.default_int_handler
    if signal.getsignal(signal.SIGINT) is not default or threading.current_thread() is not threading.main_thread():
        yield
        return
    _ctrl_c.pressed = _ctrl_c.interrupts = False
    signal.signal(signal.SIGINT, _ctrl_c)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)


def _limited_threads(count: int) -> AbstractContextManager[None]:
    """Return a context in which BLAS uses at most `count` threads, and no more than the environment allows."""
    from fastbp.backends.numpy.threads import libraries, limit_from_environment, use_threads

    limit_from_environment()
    return use_threads(min([count, *(library.threads() for library in libraries())]))


def _cpus() -> tuple[int, ...]:
    """Return the numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _threads(own: tuple[int, ...], of_node: list[tuple[int, ...]]) -> int:
    """Return how many threads a rank may use: its processors, divided among the ranks that use them too.

    >>> _threads((0, 1, 2, 3), [(0, 1, 2, 3)] * 2), _threads((0, 1), [(0, 1), (2, 3)]), _threads((0,), [(0,)] * 4)
    (2, 2, 1)
    """
    return max(1, int(sum(1 / sum(cpu in cpus for cpus in of_node) for cpu in own) + 1e-9))
