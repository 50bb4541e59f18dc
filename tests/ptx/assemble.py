"""Check a parsed kernel and make it ready to run: look up each operand, and compare its width with the instruction's.

An operand has the width of the instruction's type. Registers of `ld`, `st` and `cvt` may be wider: they read the lower
part, and extend what they write, by its sign if it is signed (PTX ISA, "Operand Size Exceeding Instruction-Type Size").
Errors are raised before anything runs, also for instructions that no lane would reach.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .arithmetic import operation_of
from .errors import PTXError
from .memory import SHARED_BASE, check_aligned
from .parse import Kernel, Statement, parse
from .registers import Lanes, Source, Target
from .types import TYPES, bits_of, size_of

Action = Callable[[Lanes], None]

SPECIAL = {
    "%dynamic_smem_size": "u32",
    **{f"%{name}.{axis}": "u32" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"},
}
INTEGER = re.compile(r"(-?)(0[xX][0-9a-fA-F]+|\d+)U?$")
FLOAT = re.compile(r"0([fFdD])([0-9a-fA-F]{8}|[0-9a-fA-F]{16})$")
ADDRESS = re.compile(r"\[\s*([%\w$]+)\s*(?:\+\s*(-?\d+)|(-\s*\d+))?\s*\]$")
LOAD = re.compile(r"ld(?:\.global(?:\.nc)?|\.(?P<space>shared))?(?:\.v(?P<count>[24]))?\.(?P<type>\w+)$")
STORE = re.compile(r"st(?:\.global|\.(?P<space>shared))?(?:\.v(?P<count>[24]))?\.(?P<type>\w+)$")
LOAD_PARAMETER = re.compile(r"ld\.param\.(?P<type>\w+)$")


@dataclass(frozen=True)
class Step:
    """An instruction ready to run: an action for the lanes that its guard selects, or the step that they jump to.

    A step with neither is a barrier.
    """

    text: str
    guard: Source | None
    action: Action | None = None
    jump: int | None = None
    ends: bool = False  # whether all lanes end here

    @property
    def barrier(self) -> bool:
        return self.action is None and self.jump is None


@dataclass(frozen=True)
class Program:
    """A kernel ready to run: its parameters (name → type), its steps, and the bytes of its static shared memory."""

    name: str
    parameters: dict[str, str]
    steps: tuple[Step, ...]
    static_bytes: int


@lru_cache(maxsize=256)
def assemble(text: str) -> Program:
    """Return the kernel of a text, ready to run; raises `PTXError` for the first error."""
    assembler = Assembler(parse(text))
    steps = tuple(map(assembler.step, assembler.kernel.statements))
    for register in assembler.read - assembler.written - set(SPECIAL):
        raise PTXError(f"{assembler.kernel.name}: {register} is read but never written")
    return Program(assembler.kernel.name, assembler.kernel.parameters, steps, assembler.kernel.static_bytes)


class Assembler:
    """The declarations of a kernel, and the registers that instructions read and write so far."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.registers = {**kernel.registers, **SPECIAL}
        self.read: set[str] = set()
        self.written: set[str] = set()

    def step(self, statement: Statement) -> Step:
        try:
            guard = None
            if statement.guard:
                guard = self.source(("!" if statement.negated else "") + statement.guard, "pred")
            if statement.mnemonic in ("ret", "exit"):
                return Step(statement.text, guard, jump=len(self.kernel.statements), ends=guard is None)
            if statement.mnemonic in ("bra", "bra.uni"):
                return Step(statement.text, guard, jump=self.label(*_exactly(1, statement.operands)))
            if (statement.mnemonic, statement.operands, guard) == ("bar.sync", ("0",), None):
                return Step(statement.text, guard)
            return Step(statement.text, guard, self.action(statement.mnemonic, statement.operands))
        except PTXError as error:
            raise PTXError(f"{error} (in {self.kernel.name}: {statement.text})") from None

    def action(self, mnemonic: str, operands: tuple[str, ...]) -> Action:
        for form, kind in ((LOAD_PARAMETER, self.load_parameter), (LOAD, self.load), (STORE, self.store)):
            if (found := form.match(mnemonic)) and found["type"] in TYPES:
                return kind(*_exactly(2, operands), **found.groupdict())
        if mnemonic in ("mov.b64", "mov.b32") and any("{" in operand for operand in operands):
            return self.pack_or_unpack(mnemonic[4:], *_exactly(2, operands))
        return self.computation(mnemonic, operands)

    def label(self, name: str) -> int:
        if name not in self.kernel.labels:
            raise PTXError(f"label {name} is not defined")
        return self.kernel.labels[name]

    # Operands

    def source(self, operand: str, kind: str, *, wider: bool = False) -> Source:
        dtype, name = TYPES[kind], operand.removeprefix("!")
        negated = name != operand
        if negated and kind != "pred":
            raise PTXError(f"{operand} is not a predicate")
        if name in self.registers:
            self._check_width(name, kind, wider)
            self.read.add(name)
            return Source(dtype, name, negated=negated)
        shared = self.kernel.shared
        value = SHARED_BASE + shared[name] if name in shared else _constant(name, kind)
        constant = np.array([value], bits_of(dtype)).view(dtype)
        return Source(dtype, constant=~constant if negated else constant)

    def target(self, operand: str, kind: str, *, wider: bool = False) -> Target:
        if operand not in self.kernel.registers:
            raise PTXError(f"{operand} is not a declared register")
        self._check_width(operand, kind, wider)
        self.written.add(operand)
        return Target(operand, bits_of(TYPES[self.registers[operand]]))

    def _check_width(self, register: str, kind: str, wider: bool) -> None:
        declared = TYPES[self.registers[register]]
        enough = declared.itemsize > TYPES[kind].itemsize if wider else False
        same = declared.itemsize == TYPES[kind].itemsize
        if not (same or enough) or (declared.kind == "b") != (kind == "pred"):
            raise PTXError(f"{register} is .{self.registers[register]}, the instruction .{kind}")

    # Instructions

    def computation(self, mnemonic: str, operands: tuple[str, ...]) -> Action:
        operation = operation_of(mnemonic)
        target, *sources = _exactly(1 + len(operation.sources), operands)
        wider = mnemonic.startswith("cvt.")
        read = [self.source(o, kind, wider=wider) for o, kind in zip(sources, operation.sources, strict=True)]
        write, compute = self.target(target, operation.result, wider=wider), operation.compute
        return lambda lanes: lanes.write(write, compute(*map(lanes.read, read)))

    def load_parameter(self, target: str, address: str, type: str) -> Action:
        name, offset = _address(address)
        size = size_of(self.kernel.parameters[name]) if name in self.kernel.parameters else 0
        if not 0 <= offset <= size - TYPES[type].itemsize:
            raise PTXError(f"{address} is not a parameter of .{type}")
        write, dtype = self.target(target, type, wider=True), TYPES[type]
        return lambda lanes: lanes.write(write, np.frombuffer(lanes.parameters[name], dtype, 1, offset))

    def load(self, targets: str, address: str, type: str, count: str | None, space: str | None) -> Action:
        at, offset = self.address(address, space)
        writes = [self.target(operand, type, wider=True) for operand in _vector(targets, count)]
        dtype = TYPES[type]

        def act(lanes: Lanes) -> None:
            first = lanes.each(lanes.read(at).astype(np.uint64, copy=False) + offset)
            check_aligned(first, len(writes) * dtype.itemsize)
            memory = lanes.shared if space else lanes.memory
            for i, write in enumerate(writes):
                bits = memory.load(first + np.uint64(i * dtype.itemsize), type, lanes.active_numbers)
                lanes.write(write, bits.view(dtype))

        return act

    def store(self, address: str, sources: str, type: str, count: str | None, space: str | None) -> Action:
        at, offset = self.address(address, space)
        reads = [self.source(operand, type, wider=True) for operand in _vector(sources, count)]
        dtype = TYPES[type]

        def act(lanes: Lanes) -> None:
            first = lanes.each(lanes.read(at).astype(np.uint64, copy=False) + offset)
            check_aligned(first, len(reads) * dtype.itemsize)
            memory = lanes.shared if space else lanes.memory
            for i, read in enumerate(reads):
                bits = lanes.each(lanes.read(read)).view(bits_of(dtype))
                memory.store(first + np.uint64(i * dtype.itemsize), type, lanes.active_numbers, bits)

        return act

    def address(self, operand: str, space: str | None) -> tuple[Source, np.uint64]:
        """Return the register and the offset of an address. In shared memory, the register may have 32 bits."""
        register, offset = _address(operand)
        if register not in self.registers and register not in self.kernel.shared:
            raise PTXError(f"{register} is not a declared register")
        short = space is not None and self.registers.get(register) in ("b32", "u32", "s32")
        return self.source(register, "u32" if short else "u64"), np.uint64(offset % 2**64)

    def pack_or_unpack(self, kind: str, target: str, source: str) -> Action:
        """Return the action of mov d, {a, b} or mov {a, b}, d: the parts of a register, lowest first."""
        dtype = TYPES[kind]
        parts, half = _vector(source if "{" in source else target, "2"), f"b{dtype.itemsize * 8 // 2}"
        if "{" in source:
            reads, write = [self.source(part, half) for part in parts], self.target(target, kind)

            def pack(lanes: Lanes) -> None:
                halves = [lanes.read(read).astype(dtype) for read in reads]
                lanes.write(write, halves[0] | (halves[1] << dtype.type(dtype.itemsize * 4)))

            return pack
        read = self.source(source, kind)
        writes = {i: self.target(part, half) for i, part in enumerate(parts) if part != "_"}  # "_" discards its part

        def unpack(lanes: Lanes) -> None:
            whole = lanes.read(read)
            for i, write in writes.items():
                lanes.write(write, (whole >> dtype.type(i * dtype.itemsize * 4)).astype(TYPES[half]))

        return unpack


def _exactly(count: int, operands: tuple[str, ...]) -> tuple[str, ...]:
    if len(operands) != count:
        raise PTXError(f"must have {count} operands, got {len(operands)}")
    return operands


def _vector(operand: str, count: str | None) -> list[str]:
    """Return the parts of {a, b}, 2 for .v2 and 4 for .v4; without a count, the operand itself."""
    parts = [part.strip() for part in operand.strip("{}").split(",")]
    if len(parts) != int(count or 1):
        raise PTXError(f"{operand} must have {count or 1} parts, got {len(parts)}")
    return parts


def _address(operand: str) -> tuple[str, int]:
    found = ADDRESS.match(operand)
    if found is None:
        raise PTXError(f"{operand} is not an address")
    return found[1], int((found[2] or found[3] or "0").replace(" ", ""))


def _constant(operand: str, kind: str) -> int:
    """Return the bits of a constant: 12, -1, 0x1F, or a float given by its bits, 0f3F800000 (PTX ISA, "Constants")."""
    dtype = TYPES[kind]
    if (found := FLOAT.match(operand)) and (found[1] in "fF") == (len(found[2]) == 8):
        if kind[0] in "fb" and dtype.itemsize * 2 == len(found[2]):
            return int(found[2], 16)
    elif (found := INTEGER.match(operand)) and dtype.kind != "f":
        value = int(operand.rstrip("U"), 0)
        return bool(value) if kind == "pred" else value % (1 << 8 * dtype.itemsize)
    raise PTXError(f"{operand} is neither a declared register nor a .{kind}")
