"""The registers of all lanes: one array per register, with one element per lane, or one element if all are equal."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .memory import Memory, SharedMemory
from .types import Array, bits_of


@dataclass(frozen=True)
class Source:
    """An operand read as a type: a register, whose predicate may be `negated`, or a constant of one element."""

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
    """The lanes of a launch that have not ended, and the active ones, for which an instruction is executed.

    `numbers` has the number of each lane in the launch, and `active` the indices of the active ones in `numbers`.
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
        self.registers, self.parameters = registers, parameters
        self.memory, self.shared = memory, shared
        self.numbers = np.arange(count, dtype=np.int32)
        self._left: dict[int, Array] = {}  # for each earlier number of lanes, the indices that are left of them
        self.activate(np.arange(count))

    def activate(self, lanes: Array) -> None:
        """Make these lanes, by their indices in ascending order, the active ones."""
        self.active, self.all_active = lanes, len(lanes) == len(self.numbers)
        self.active_numbers = self.numbers if self.all_active else self.numbers[lanes]

    def keep(self, lanes: Array) -> None:
        """Remove all lanes but these, given by their indices. A register is cut to them when it is read next."""
        self._left = {count: left[lanes] for count, left in self._left.items()} | {len(self.numbers): lanes}
        self.numbers = self.numbers[lanes]

    def read(self, source: Source) -> Array:
        """Return the value of a source for the active lanes, as one element if all are equal."""
        if source.constant is not None:
            return source.constant
        value = self._value(source.register)
        if not self.all_active and len(value) > 1:
            value = value[self.active]
        if value.dtype.itemsize != source.dtype.itemsize:
            value = value.astype(bits_of(source.dtype))
        return ~value if source.negated else value.view(source.dtype)

    def write(self, target: Target, value: Array) -> None:
        """Write the values of the active lanes to a register, extended to its width."""
        bits = target.bits
        if value.dtype.itemsize != bits.itemsize:
            value = value if value.dtype.kind == "i" else value.view(bits_of(value.dtype))
            value = value.astype(f"{value.dtype.kind}{bits.itemsize}")
        value = value.view(bits)
        if not self.all_active:
            merged = np.empty(len(self.numbers), bits)
            merged[:] = self._value(target.register) if target.register in self.registers else 0
            merged[self.active] = value
            value = merged
        self.registers[target.register] = value

    def _value(self, register: str) -> Array:
        value = self.registers[register]
        if len(value) not in (1, len(self.numbers)):
            value = self.registers[register] = value[self._left[len(value)]]
        return value

    def each(self, value: Array) -> Array:
        """Return a value with one element per active lane."""
        return value if len(value) == len(self.active) else np.broadcast_to(value, len(self.active))
