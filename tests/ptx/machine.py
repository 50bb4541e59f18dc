"""Execute kernels on NumPy arrays, with one array element per lane (thread).

Lanes that diverge at a branch reconverge, because the group of lanes that is earliest in the text always runs next. At
a barrier, lanes wait until all others wait too or have ended. Warps and their shuffles are not modelled, nor is time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .address_space import AddressSpace, Find
from .assemble import Program, Step, assemble
from .errors import PTXError
from .memory import Memory, SharedMemory, Traffic
from .registers import Lanes
from .types import TYPES, Array, size_of

LARGEST_BLOCK, LARGEST_GRID = (1024, 1024, 64), (2**31 - 1, 65535, 65535)
MAX_THREADS = 1024  # per block; from the CUDA C++ Programming Guide, "Compute Capabilities: Technical Specifications"
MAX_SHARED = 48 * 1024  # bytes per block, on any device, without opting in to more
MAX_STEPS = 1_000_000  # of groups of lanes, about ten seconds; then a kernel is taken not to end


@dataclass(frozen=True)
class Report:
    """The bytes moved through each array argument, and the largest number of instructions that a lane executed."""

    arrays: tuple[Traffic, ...]
    instructions: int


def run(ptx: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: object, shared_bytes: int = 0) -> Report:
    """Execute the one kernel of a PTX text on its arguments, writing into the arrays among them.

    Arguments are passed as by CuPy's `RawKernel`: an array is a pointer to its first item, a scalar is packed by its
    type (a Python int as int64, a float as float64, a bool as one byte, a NumPy scalar unchanged). An array must be
    contiguous, and only its bytes are in bounds. Each block has `shared_bytes` of shared memory.

    Raises `PTXError` for what would be wrong on a GPU: a wrong number or size of arguments, an access that is out of
    bounds, misaligned or of another width than the array's items, a race between lanes, a barrier that not all lanes
    reach, a launch beyond CUDA's limits. Also for unknown instructions.
    """
    program = assemble(ptx)
    memory = Memory()
    parameters = _bind(program, arguments, memory)
    memory.share_logs()
    instructions = _launch(program, grid, block, parameters, memory, shared_bytes)
    return Report(tuple(buffer.traffic() for buffer in memory.buffers.values()), instructions)


def run_at_addresses(
    ptx: str,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    parameters: Sequence[bytes],
    find: Find,
    shared_bytes: int = 0,
) -> None:
    """Execute the one kernel of a PTX text on memory of this process, to which its parameters point.

    The parameters are the bytes that a driver would get. `find` returns the bounds of the memory that an address is in.
    Raises `PTXError` as `run` does, except for races, and for accesses of another width than the array's items.
    """
    program = assemble(ptx)
    sizes = [size_of(kind) for kind in program.parameters.values()]
    if [len(value) for value in parameters] != sizes:
        raise PTXError(f"{program.name} takes parameters of {sizes} bytes, got {[len(value) for value in parameters]}")
    bound = dict(zip(program.parameters, parameters, strict=True))
    _launch(program, grid, block, bound, AddressSpace(find), shared_bytes)


def parameter_sizes(ptx: str) -> list[int]:
    """Return the number of bytes of each parameter of the one kernel of a PTX text."""
    return [size_of(kind) for kind in assemble(ptx).parameters.values()]


def _launch(
    program: Program, grid: tuple[int, ...], block: tuple[int, ...], parameters: dict[str, bytes],
    memory: Memory | AddressSpace, shared_bytes: int,
) -> int:  # fmt: skip
    """Execute a kernel. Return the largest number of instructions that a lane executed."""
    shape = _three(grid, LARGEST_GRID, "grid"), _three(block, LARGEST_BLOCK, "block")
    if math.prod(shape[1]) > MAX_THREADS:
        raise PTXError(f"block {block} has {math.prod(shape[1])} threads; CUDA's limit is {MAX_THREADS}")
    all_shared = program.static_bytes + shared_bytes
    if shared_bytes < 0 or all_shared > MAX_SHARED:
        raise PTXError(f"{all_shared} bytes of shared memory per block; CUDA's limit is {MAX_SHARED}")
    blocks, threads = map(math.prod, shape)
    registers = _special_registers(*shape) | {"%dynamic_smem_size": np.array([shared_bytes], np.uint32)}
    shared = SharedMemory(blocks, threads, all_shared)
    lanes = Lanes(blocks * threads, registers, parameters, memory, shared)
    with np.errstate(all="ignore"):
        return _execute(program.steps, lanes)


def _bind(program: Program, arguments: tuple[object, ...], memory: Memory) -> dict[str, bytes]:
    """Add the arrays among the arguments to memory; return the bytes of each parameter."""
    if len(arguments) != len(program.parameters):
        raise PTXError(f"{program.name} takes {len(program.parameters)} arguments, got {len(arguments)}")
    bound = {}
    for number, ((name, kind), value) in enumerate(zip(program.parameters.items(), arguments, strict=True), 1):
        if kind not in TYPES:
            raise PTXError(f"{program.name}: argument {number} is a structure, which only `run_at_addresses` takes")
        packed = np.uint64(memory.add(number, value)) if isinstance(value, np.ndarray) else _packed(value)
        like = kind[0] == "b" or (kind[0] == "f") == (packed.dtype.kind == "f")
        if packed.itemsize != TYPES[kind].itemsize or not like:
            raise PTXError(f"{program.name}: argument {number} packs as {packed.dtype}, the parameter is .{kind}")
        bound[name] = packed.tobytes()
    return bound


def _packed(value: object) -> np.generic:
    """Return a scalar as CuPy (14.2, `_core._scalar.numpy_dtype_from_pyscalar`) passes it to a kernel."""
    if isinstance(value, np.generic):
        return value
    if type(value) is int and -(2**63) <= value < 2**64:
        return np.int64(value) if value < 2**63 else np.uint64(value)
    if type(value) in (bool, float, complex):
        return np.asarray(value)[()]
    raise PTXError(f"CuPy cannot pass the type {type(value).__name__} to a kernel: {value!r}")


def _three(sizes: tuple[int, ...], largest: tuple[int, ...], name: str) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1)[:3] if len(sizes) <= 3 else (0, 0, 0)
    if not all(1 <= size <= most for size, most in zip((x, y, z), largest, strict=True)):
        raise PTXError(f"{name} {sizes} is outside CUDA's limits: 1 to {largest}")
    return x, y, z


def _special_registers(grid: tuple[int, int, int], block: tuple[int, int, int]) -> dict[str, Array]:
    """Return %tid, %ntid, %ctaid and %nctaid of all lanes: x runs fastest, threads faster than blocks."""
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
    """Run all lanes from the first step to the end; return the largest number of steps of a lane."""
    taken, most, left = np.zeros(len(lanes.numbers), np.int64), 0, MAX_STEPS
    ready: dict[int, Array] = {0: lanes.active}  # the next step of each group of lanes
    held: dict[int, Array] = {}  # the same, for groups that wait at a barrier
    while left > 0:
        if not ready:
            if not held:
                return most
            _check_barriers(held, lanes)
            ready, held = held, {}
            lanes.shared.log.forget()
            if lanes.shared.blocks == 1:
                lanes.memory.order()
        at = min(ready)
        group = ready.pop(at)
        lanes.activate(group)
        if steps[at].action is None:
            groups, end = held if steps[at].barrier else ready, at + 1
            moved = _jumped(steps[at], end, lanes)
        else:
            groups, end = ready, _acted(steps, at, min(ready, default=len(steps)), lanes)
            moved = [(end, group)]
        taken[group] += end - at
        left -= end - at
        for target, part in moved:
            if groups is ready and target < len(steps) and steps[target].ends:
                taken[part] += 1  # now and not in its turn, so that fewer lanes are left
                target = len(steps)
            joined = groups.get(target)
            groups[target] = part if joined is None else np.sort(np.concatenate([joined, part]))
        if (ended := ready.pop(len(steps), None)) is not None:
            most = max(most, int(taken[ended].max()))
            taken = taken[_remove(ended, lanes, ready, held)]
    raise PTXError(f"no end after {MAX_STEPS} steps")


def _remove(ended: Array, lanes: Lanes, *waiting: dict[int, Array]) -> Array:
    """Remove lanes that have ended; return the indices of the others, which become 0, 1, … in the waiting groups."""
    others = np.delete(np.arange(len(lanes.numbers)), ended)
    lanes.keep(others)
    for groups in waiting:
        groups.update({step: np.searchsorted(others, part) for step, part in groups.items()})
    return others


def _check_barriers(held: dict[int, Array], lanes: Lanes) -> None:
    """Raise `PTXError` if lanes wait at a barrier for others of their block that have ended."""
    for group in held.values():
        counts = np.bincount(lanes.numbers[group] // lanes.shared.threads)
        if not np.isin(counts, (0, lanes.shared.threads)).all():
            raise PTXError("a barrier that some lanes of a block reach and others do not")


def _jumped(step: Step, after: int, lanes: Lanes) -> list[tuple[int, Array]]:
    """Return the next step of each group of the active lanes, at a jump or at a barrier."""
    if step.jump is None or step.guard is None:
        return [(after if step.jump is None else step.jump, lanes.active)]
    through = lanes.each(lanes.read(step.guard))
    groups = (step.jump, lanes.active[through]), (after, lanes.active[~through])
    return [(target, part) for target, part in groups if len(part)]


def _acted(steps: tuple[Step, ...], at: int, other: int, lanes: Lanes) -> int:
    """Execute the actions from a step on for the active lanes, up to a jump, a barrier or the step of other lanes.

    Return the step that is next.
    """
    group = lanes.active
    while at < other and (action := steps[at].action) is not None:
        step, at = steps[at], at + 1
        if step.guard is not None:
            lanes.activate(group[lanes.each(lanes.read(step.guard))])
        try:
            if len(lanes.active):
                action(lanes)
        except PTXError as error:
            raise PTXError(f"{error} (at {step.text})") from None
        if step.guard is not None:
            lanes.activate(group)
    return at
