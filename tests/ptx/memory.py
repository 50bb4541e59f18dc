"""The memory of a kernel: the arrays among its arguments, and the shared memory of a block.

Each array argument has a separate range of addresses, far from all others, so that an access beyond its end cannot
reach another array by chance. Arrays that share memory on the host share it here too: a race between lanes is detected
by the bytes accessed, through whichever argument. Accesses must have the width of the array's items. A barrier orders
global accesses within a block. Here, it does so only if a launch has one block. With several blocks, a kernel that
relies on it is rejected as a race.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import PTXError
from .types import TYPES, Array, bits_of

WINDOW = 44  # address bits of one argument's range; the array begins in the middle
ALIGNMENT = 16  # bytes, of the widest access: addresses equal those of the host modulo this
SHARED_BASE = 1 << 16  # the address of a block's shared memory, far from 0
NO_LANE, SEVERAL_LANES = -1, -2  # in the logs, besides the numbers of lanes


@dataclass(frozen=True)
class Traffic:
    """The bytes that a kernel moved through one array argument: by all lanes together, and each byte counted once."""

    read: int
    written: int
    distinct_read: int
    distinct_written: int


class Log:
    """Which lane has read, and which has written, each unit of a block of memory.

    Between two barriers, lanes run in no particular order: what one lane writes, no other may access ("Memory
    Consistency Model: Data-race").
    """

    def __init__(self, units: int) -> None:
        self.reader = np.full(units, NO_LANE, np.int32)
        self.writer = np.full(units, NO_LANE, np.int32)

    def forget(self) -> None:
        self.reader[:] = self.writer[:] = NO_LANE

    def note_load(self, units: Array, lanes: Array) -> None:
        if _of_another(self.writer[units], lanes).any():
            raise PTXError("data race: a lane reads what another lane has written")
        several = _of_another(self.reader[units], lanes)
        self.reader[units] = lanes
        several |= self.reader[units] != lanes
        self.reader[units[several]] = SEVERAL_LANES

    def note_store(self, units: Array, lanes: Array) -> None:
        if _of_another(self.reader[units], lanes).any():
            raise PTXError("data race: a lane writes what another lane has read")
        before = _of_another(self.writer[units], lanes)
        self.writer[units] = lanes
        if before.any() or (self.writer[units] != lanes).any():
            raise PTXError("data race: two lanes write to the same address")


def _of_another(log: Array, lanes: Array) -> Array:
    return (log != NO_LANE) & (log != lanes)


class Buffer:
    """An array argument: the addresses of its items for the kernel, and the accesses to them."""

    def __init__(self, number: int, array: Array) -> None:
        self.number, self.dtype, self.itemsize = number, array.dtype, array.itemsize
        self.writeable = array.flags.writeable
        order = "C" if array.flags.c_contiguous else "F"
        if not array.flags.forc or array.dtype.kind not in "biuf":
            raise PTXError(f"argument {number} must be a contiguous array of plain numbers, got a {array.dtype} array")
        self.items = array.reshape(-1, order=order).view(f"u{array.itemsize}")
        self.host = array.ctypes.data
        self.base = (number << WINDOW) + (1 << (WINDOW - 1)) + self.host % ALIGNMENT
        self.read = self.written = 0
        self.was_read, self.was_written = (np.zeros(array.size, bool) for _ in range(2))
        self.log, self.first, self.units_per_item = Log(0), 0, 1  # replaced by `share_logs`

    def item(self, address: Array, kind: str) -> Array:
        """Return the items at addresses that are accessed as a PTX type; raises `PTXError` if there are none."""
        access = TYPES[kind]
        if access.itemsize != self.itemsize or (access.kind == "f" and self.dtype.kind != "f"):
            raise PTXError(f"an access as {kind} through {self}")
        offset = address.view(np.int64) - self.base
        out = (offset < 0) | (offset >= len(self.items) * self.itemsize)
        if out.any():
            raise PTXError(f"out of bounds: {np.count_nonzero(out)} lanes, one at byte {offset[out][0]} of {self}")
        return offset // self.itemsize

    def __str__(self) -> str:
        return f"argument {self.number} ({self.dtype.name}[{len(self.items)}])"

    def units(self, items: Array) -> Array:
        """Return the units of the log that items cover, one row per unit of an item."""
        start = self.first + items * self.units_per_item
        return start if self.units_per_item == 1 else start + np.arange(self.units_per_item)[:, None]

    def traffic(self) -> Traffic:
        size, distinct = self.itemsize, (np.count_nonzero(seen) for seen in (self.was_read, self.was_written))
        return Traffic(self.read * size, self.written * size, *(int(count) * size for count in distinct))


def check_aligned(addresses: Array, size: int) -> None:
    if (addresses % np.uint64(size)).any():
        raise PTXError(f"misaligned: an access of {size} bytes at an address that is not a multiple of it")


class SharedMemory:
    """The shared memory of all blocks, `size` bytes each, at the same address in each (PTX ISA, "State Spaces")."""

    def __init__(self, blocks: int, threads: int, size: int) -> None:
        self.blocks, self.threads, self.size = blocks, threads, size
        self.bytes = np.full(blocks * size, 0xFF, np.uint8)  # unwritten memory is NaN
        self.log = Log(blocks * size)

    def load(self, addresses: Array, kind: str, lanes: Array) -> Array:
        """Return the bits at the address of each lane."""
        indices = self._indices(addresses, kind, lanes)
        self.log.note_load(indices, lanes)
        return np.ascontiguousarray(self.bytes[indices].T).view(bits_of(TYPES[kind]))[:, 0]

    def store(self, addresses: Array, kind: str, lanes: Array, bits: Array) -> None:
        """Store bits at the address of each lane."""
        indices = self._indices(addresses, kind, lanes)
        self.log.note_store(indices, lanes)
        self.bytes[indices] = np.ascontiguousarray(bits).view(np.uint8).reshape(len(lanes), -1).T

    def _indices(self, addresses: Array, kind: str, lanes: Array) -> Array:
        """Return the indices into `bytes` of each lane's access, one row per byte."""
        width, offset = TYPES[kind].itemsize, addresses.view(np.int64) - SHARED_BASE
        out = (offset < 0) | (offset > self.size - width)
        if out.any():
            raise PTXError(f"out of bounds: byte {offset[out][0]} of the {self.size} bytes of shared memory")
        return lanes // self.threads * self.size + offset + np.arange(width)[:, None]


class Memory:
    """Global memory: the array arguments of one launch."""

    def __init__(self) -> None:
        self.buffers: dict[int, Buffer] = {}

    def add(self, number: int, array: Array) -> int:
        """Add the argument with a number, from 1; return its address."""
        self.buffers[number] = Buffer(number, array)
        return self.buffers[number].base

    def load(self, addresses: Array, kind: str, lanes: Array) -> Array:
        """Return the bits at the address of each lane."""
        loaded = np.empty(len(lanes), bits_of(TYPES[kind]))
        for buffer, chosen in self._reached(addresses):
            items = buffer.item(addresses[chosen], kind)
            buffer.log.note_load(buffer.units(items), lanes[chosen])
            buffer.read += len(items)
            buffer.was_read[items] = True
            loaded[chosen] = buffer.items[items]
        return loaded

    def store(self, addresses: Array, kind: str, lanes: Array, bits: Array) -> None:
        """Store bits at the address of each lane."""
        for buffer, chosen in self._reached(addresses):
            items = buffer.item(addresses[chosen], kind)
            if not buffer.writeable:
                raise PTXError(f"a store into argument {buffer.number}, a read-only array")
            buffer.log.note_store(buffer.units(items), lanes[chosen])
            buffer.written += len(items)
            buffer.was_written[items] = True
            buffer.items[items] = bits[chosen]

    def _reached(self, addresses: Array) -> list[tuple[Buffer, Any]]:
        """Return the buffers that addresses are in, each with the indices of these addresses."""
        numbers = addresses >> np.uint64(WINDOW)
        if (numbers == numbers[0]).all():
            return [(self._buffer(int(numbers[0])), slice(None))]
        return [(self._buffer(int(number)), numbers == number) for number in np.unique(numbers)]

    def _buffer(self, number: int) -> Buffer:
        if number not in self.buffers:
            raise PTXError("out of bounds: an address in none of the arguments")
        return self.buffers[number]

    def order(self) -> None:
        """Take the accesses so far to be ordered before all later ones."""
        for buffer in self.buffers.values():
            buffer.log.forget()

    def share_logs(self) -> None:
        """Give buffers whose memory overlaps one log; its unit is the largest that divides all their items."""
        groups: list[list[Buffer]] = []
        end = -1
        for buffer in sorted(self.buffers.values(), key=lambda buffer: buffer.host):
            if buffer.host >= end:
                groups.append([])
            groups[-1].append(buffer)
            end = max(end, buffer.host + buffer.items.nbytes)
        for group in groups:
            start = group[0].host
            unit = math.gcd(*(b.itemsize for b in group), *(b.host - start for b in group))
            log = Log(max(b.host - start + b.items.nbytes for b in group) // unit)
            for b in group:
                b.log, b.first, b.units_per_item = log, (b.host - start) // unit, b.itemsize // unit
