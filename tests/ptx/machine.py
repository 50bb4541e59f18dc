"""Kernels executed on NumPy arrays, one element of a vector a lane.

Lanes that go different ways at a branch meet again: of all groups of lanes, the one that stands earliest in the text
goes next. At a barrier lanes wait until all others wait too or have ended. Warps are not modelled, and their shuffles
not known; nothing says how long a kernel would take.
"""

import math
from dataclasses import dataclass

import numpy as np

from .assemble import Program, Step, assemble
from .errors import PTXError
from .memory import SharedMemory, Traffic, WorkspacePool
from .registers import Lanes
from .types import TYPES, Array

LARGEST_BLOCK, LARGEST_GRID = (1024, 1024, 64), (2**31 - 1, 65535, 65535)
THREADS_A_BLOCK = (
    1024  # these, and the next: CUDA C++ Programming Guide, "Compute Capabilities: Technical Specifications"
)
MOST_SHARED = 48 * 1024  # bytes a block, of any device and without asking for more
MOST_STEPS = 1_000_000  # of a group of lanes: some ten seconds, and what does not end is told


@dataclass(frozen=True)
class Report:
    """What a launch did: bytes moved, one entry an array argument, and the most instructions that a lane executed."""

    arrays: tuple[Traffic, ...]
    instructions: int


def run(ptx: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: object, shared_bytes: int = 0) -> Report:
    """Execute the one kernel of a PTX text on its arguments, writing into the arrays among them.

    Arguments are as CuPy's `RawKernel` takes them: arrays are pointers to their first item, scalars are packed by their
    type (a Python int as int64, a float as float64, a bool as one byte, a NumPy scalar as it is). An array must be
    contiguous; only its own bytes are in bounds. Each block has `shared_bytes` of shared memory.

    Raises `PTXError` for whatever would not be right on a GPU: arguments of another number or size, an access out of
    bounds, misaligned or of another width than the array's items, a race between lanes, a barrier that not all reach,
    an instruction that is not known, a launch beyond CUDA's limits.
    """
    program = assemble(ptx)
    memory = WorkspacePool()
    parameters = _bind(program, arguments, memory)
    memory.share_logs()
    shape = _three(grid, LARGEST_GRID, "grid"), _three(block, LARGEST_BLOCK, "block")
    if math.prod(shape[1]) > THREADS_A_BLOCK:
        raise PTXError(f"block {block} has {math.prod(shape[1])} threads; CUDA's limit is {THREADS_A_BLOCK}")
    if not 0 <= shared_bytes <= MOST_SHARED:
        raise PTXError(f"{shared_bytes} bytes of shared memory a block; CUDA's limit is {MOST_SHARED}")
    blocks, threads = map(math.prod, shape)
    registers = _special_registers(*shape) | {"%dynamic_smem_size": np.array([shared_bytes], np.uint32)}
    shared = SharedMemory(blocks, threads, shared_bytes)
    lanes = Lanes(blocks * threads, registers, parameters, memory, shared)
    with np.errstate(all="ignore"):
        instructions = _execute(program.steps, lanes)
    return Report(tuple(buffer.traffic() for buffer in memory.buffers.values()), instructions)


def _bind(program: Program, arguments: tuple[object, ...], memory: WorkspacePool) -> dict[str, bytes]:
    """Return the bytes of each parameter, the arrays among the arguments put into memory."""
    if len(arguments) != len(program.parameters):
        raise PTXError(f"{program.name} takes {len(program.parameters)} arguments, got {len(arguments)}")
    bound = {}
    for number, ((name, kind), value) in enumerate(zip(program.parameters.items(), arguments, strict=True), 1):
        packed = np.uint64(memory.add(number, value)) if isinstance(value, np.ndarray) else _packed(value)
        like = kind[0] == "b" or (kind[0] == "f") == (packed.dtype.kind == "f")
        if packed.itemsize != TYPES[kind].itemsize or not like:
            raise PTXError(f"{program.name}: argument {number} packs as {packed.dtype}, the parameter is .{kind}")
        bound[name] = packed.tobytes()
    return bound


def _packed(value: object) -> np.generic:
    """Return a scalar as CuPy (14.2, `_core._scalar.numpy_dtype_from_pyscalar`) hands it to a kernel."""
    if isinstance(value, np.generic):
        return value
    if type(value) is int and -(2**63) <= value < 2**64:
        return np.int64(value) if value < 2**63 else np.uint64(value)
    if type(value) in (bool, float, complex):
        return np.asarray(value)[()]
    raise PTXError(f"CuPy hands no {type(value).__name__} to a kernel: {value!r}")


def _three(sizes: tuple[int, ...], largest: tuple[int, ...], name: str) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1)[:3] if len(sizes) <= 3 else (0, 0, 0)
    if not all(1 <= size <= most for size, most in zip((x, y, z), largest, strict=True)):
        raise PTXError(f"{name} {sizes} is outside CUDA's limits: 1 to {largest}")
    return x, y, z


def _special_registers(grid: tuple[int, int, int], block: tuple[int, int, int]) -> dict[str, Array]:
    """Return %tid, %ntid, %ctaid and %nctaid of every lane: x runs fastest, blocks after threads."""
    axes = np.indices((*grid[::-1], *block[::-1]), dtype=np.uint32, sparse=True)
    shape = (*grid[::-1], *block[::-1])
    registers = {}
    for i, axis in enumerate("zyx"):
        registers[f"%ctaid.{axis}"] = np.broadcast_to(axes[i], shape).reshape(-1)
        registers[f"%tid.{axis}"] = np.broadcast_to(axes[3 + i], shape).reshape(-1)
    for i, axis in enumerate("xyz"):
        registers[f"%nctaid.{axis}"] = np.array([grid[i]], np.uint32)
        registers[f"%ntid.{axis}"] = np.array([block[i]], np.uint32)
    return registers


def _execute(steps: tuple[Step, ...], lanes: Lanes) -> int:
    """Run all lanes from the first step to the end; return how many steps the busiest lane took."""
    taken = np.zeros(lanes.count, np.int64)
    ready: dict[int, Array] = {0: lanes.active}  # the next step of each group of lanes
    held: dict[int, Array] = {}  # the same, beyond a barrier
    for _ in range(MOST_STEPS):
        at = min(ready, default=len(steps))
        if at == len(steps) and held:
            _check_barriers(held, lanes)
            ready, held = ready | held, {}
            lanes.shared.log.forget()
            continue
        if at == len(steps):
            return int(taken.max())
        lanes.active = ready.pop(at)
        taken[lanes.index] += 1
        going = held if steps[at].barrier else ready
        for goes_to, part in _advance(steps[at], at, lanes):
            met = going.get(goes_to)
            going[goes_to] = part if met is None else np.sort(np.concatenate([met, part]))
    raise PTXError(f"no end after {MOST_STEPS} steps")


def _check_barriers(held: dict[int, Array], lanes: Lanes) -> None:
    """Raise `PTXError` where, nothing being left to run, lanes wait at a barrier for others of their block."""
    for group in held.values():
        counts = np.bincount(group // lanes.shared.threads)
        if not np.isin(counts, (0, lanes.shared.threads)).all():
            raise PTXError("a barrier that some lanes of a block reach and others do not")


def _advance(step: Step, at: int, lanes: Lanes) -> list[tuple[int, Array]]:
    """Execute one step for the active lanes; return where they go on, which ones where."""
    group = passed = lanes.active
    stopped = group[:0]
    if step.guard is not None:
        through = lanes.each(lanes.read(step.guard))
        passed, stopped = group[through], group[~through]
    if step.jump is not None:
        return [(to, part) for to, part in ((step.jump, passed), (at + 1, stopped)) if len(part)]
    lanes.active = passed
    if step.action is not None and len(passed):
        try:
            step.action(lanes)
        except PTXError as error:
            raise PTXError(f"{error} (at {step.text})") from None
    return [(at + 1, group)]
