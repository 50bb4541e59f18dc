"""The registers of all lanes: one array per register, with one element per lane, or one element if all are equal."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .memory import Memory, SharedMemory
from .types import Array, bits_of


@dataclass(frozen=True)
class Source:
    """An operand read as a type: a register, or a constant. `negated` inverts a predicate."""

    dtype: np.dtype[Any]
    register: str = ""
    constant: Array | None = None
    negated: bool = False


@dataclass(frozen=True)
class Target:
    """A register that is written, and the unsigned type that its bits are stored as."""

    register: str
    bits: np.dtype[Any]


class Lanes:
    """The state of a launch, and its active lanes, for which an instruction is executed.

    Arrays in `registers` are never modified: a register gets a new array, so a move need not copy.
    """

    def __init__(
        self,
        count: int,
        registers: dict[str, Array],
        parameters: dict[str, bytes],
        memory: Memory,
        shared: SharedMemory,
    ) -> None:
        self.count, self.registers, self.parameters = count, registers, parameters
        self.memory, self.shared = memory, shared
        self.active = np.arange(count, dtype=np.int32)

    @property
    def all_active(self) -> bool:
        return len(self.active) == self.count

    @property
    def index(self) -> Any:
        """The index that selects the active lanes from an array over all lanes."""
        return slice(None) if self.all_active else self.active

    def read(self, source: Source) -> Array:
        """Return the value of a source for the active lanes, as one element if all are equal."""
        value = self.registers[source.register] if source.constant is None else source.constant
        if len(value) > 1:
            value = value[self.index]
        if value.dtype.itemsize != source.dtype.itemsize:
            value = value.astype(bits_of(source.dtype))
        return ~value if source.negated else value.view(source.dtype)

    def write(self, target: Target, value: Array) -> None:
        """Write the values of the active lanes to a register, extended to its width."""
        if value.dtype.itemsize != target.bits.itemsize:
            value = value if value.dtype.kind == "i" else value.view(bits_of(value.dtype))
            value = value.astype(f"{value.dtype.kind}{target.bits.itemsize}")
        value = value.view(target.bits)
        if not self.all_active:
            before = self.registers.get(target.register, np.zeros(1, target.bits))
            merged = np.broadcast_to(before, self.count).copy()
            merged[self.active] = value
            value = merged
        self.registers[target.register] = value

    def each(self, value: Array) -> Array:
        """Return a value with one element per active lane."""
        return np.broadcast_to(value, len(self.active))
