"""Memory as a kernel sees it: the arrays among its arguments, and what the lanes of a block share.

Each array argument has a range of addresses of its own, far from every other's, so that an access beyond its end cannot
fall into its neighbour by chance. Arrays that share memory on the host share it here: a race between lanes is told by
the bytes that are meant, whichever argument they are reached through. Accesses are as wide as the array's items. That a
barrier puts global accesses within a block in order is not made use of: such a kernel is refused as one that races.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import PTXError
from .types import TYPES, Array, bits_of

WINDOW = 44  # bits of an address within one argument's range, in whose middle the array begins
ALIGNMENT = 16  # bytes, the widest access: an address keeps what its host's address leaves over
SHARED_BASE = 1 << 16  # the address of a block's shared memory, far from 0
NOBODY, SEVERAL = -1, -2  # beside the numbers of lanes, in the logs


@dataclass(frozen=True)
class Traffic:
    """What a kernel moved through one array argument, in bytes: over all lanes, and each byte counted once."""

    read: int
    written: int
    distinct_read: int
    distinct_written: int


class Log:
    """Which lane has read and which has written each unit of a stretch of memory.

    Between two barriers nothing orders the lanes: what one of them writes no other may touch ("Memory Consistency
    Model: Data-race").
    """

    def __init__(self, units: int) -> None:
        self.reader = np.full(units, NOBODY, np.int32)
        self.writer = np.full(units, NOBODY, np.int32)

    def forget(self) -> None:
        self.reader[:] = self.writer[:] = NOBODY

    def note_load(self, units: Array, lanes: Array) -> None:
        if _of_another(self.writer[units], lanes).any():
            raise PTXError("data race: a lane reads what another lane has written")
        several = _of_another(self.reader[units], lanes)
        self.reader[units] = lanes
        several |= self.reader[units] != lanes
        self.reader[units[several]] = SEVERAL

    def note_store(self, units: Array, lanes: Array) -> None:
        if _of_another(self.reader[units], lanes).any():
            raise PTXError("data race: a lane writes what another lane has read")
        before = _of_another(self.writer[units], lanes)
        self.writer[units] = lanes
        if before.any() or (self.writer[units] != lanes).any():
            raise PTXError("data race: two lanes write one place")


def _of_another(log: Array, lanes: Array) -> Array:
    return (log != NOBODY) & (log != lanes)


class Buffer:
    """An array argument: where its items are for the kernel, and what was done to them."""

    def __init__(self, number: int, array: Array) -> None:
        self.number, self.dtype, self.itemsize = number, array.dtype, array.itemsize
        self.writeable = array.flags.writeable
        order = "C" if array.flags.c_contiguous else "F"
        if not array.flags.forc or array.dtype.kind not in "biuf":
            raise PTXError(f"argument {number} is a {array.dtype} array; wanted are contiguous ones of plain numbers")
        self.items = array.reshape(-1, order=order).view(f"u{array.itemsize}")
        self.host = array.ctypes.data
        self.base = (number << WINDOW) + (1 << (WINDOW - 1)) + self.host % ALIGNMENT
        self.read = self.written = 0
        self.was_read, self.was_written = (np.zeros(array.size, bool) for _ in range(2))
        self.log, self.first, self.units_an_item = Log(0), 0, 1  # `share_logs` puts in the ones that count

    def item(self, address: Array, kind: str) -> Array:
        """Return which items an access of a PTX type means; raises `PTXError` where it means none."""
        access = TYPES[kind]
        name = f"argument {self.number} ({self.dtype.name}[{len(self.items)}])"
        if access.itemsize != self.itemsize or (access.kind == "f" and self.dtype.kind != "f"):
            raise PTXError(f"an access as {kind} through {name}")
        offset = address.view(np.int64) - self.base
        out = (offset < 0) | (offset >= len(self.items) * self.itemsize)
        if out.any():
            raise PTXError(f"out of bounds: {np.count_nonzero(out)} lanes, one at byte {offset[out][0]} of {name}")
        return offset // self.itemsize

    def units(self, items: Array) -> Array:
        """Return the units of the log that items take up, one row a unit of an item."""
        start = self.first + items * self.units_an_item
        return start if self.units_an_item == 1 else start + np.arange(self.units_an_item)[:, None]

    def traffic(self) -> Traffic:
        size, distinct = self.itemsize, (np.count_nonzero(seen) for seen in (self.was_read, self.was_written))
        return Traffic(self.read * size, self.written * size, *(int(count) * size for count in distinct))


def check_aligned(addresses: Array, size: int) -> None:
    if (addresses % np.uint64(size)).any():
        raise PTXError(f"misaligned: an access of {size} bytes at an address that is no multiple of that")


class SharedMemory:
    """So many bytes for each block, which its lanes share, at one address in all (PTX ISA, "State Spaces")."""

    def __init__(self, blocks: int, threads: int, size: int) -> None:
        self.threads, self.size = threads, size
        self.bytes = np.full(blocks * size, 0xFF, np.uint8)  # what nobody has written is NaN
        self.log = Log(blocks * size)

    def load(self, addresses: Array, kind: str, lanes: Array) -> Array:
        """Return the bits at one address a lane."""
        places = self._places(addresses, kind, lanes)
        self.log.note_load(places, lanes)
        return np.ascontiguousarray(self.bytes[places].T).view(bits_of(TYPES[kind]))[:, 0]

    def store(self, addresses: Array, kind: str, lanes: Array, bits: Array) -> None:
        """Put bits at one address a lane."""
        places = self._places(addresses, kind, lanes)
        self.log.note_store(places, lanes)
        self.bytes[places] = np.ascontiguousarray(bits).view(np.uint8).reshape(len(lanes), -1).T

    def _places(self, addresses: Array, kind: str, lanes: Array) -> Array:
        """Return where in `bytes` each lane's access goes, one row a byte of it."""
        width, offset = TYPES[kind].itemsize, addresses.view(np.int64) - SHARED_BASE
        out = (offset < 0) | (offset > self.size - width)
        if out.any():
            raise PTXError(f"out of bounds: byte {offset[out][0]} of the {self.size} that a block shares")
        return lanes // self.threads * self.size + offset + np.arange(width)[:, None]


class WorkspacePool:
    """Global memory: the array arguments of one launch."""

    def __init__(self) -> None:
        self.buffers: dict[int, Buffer] = {}

    def add(self, number: int, array: Array) -> int:
        """Take in the argument of a number, from 1; return its address."""
        self.buffers[number] = Buffer(number, array)
        return self.buffers[number].base

    def load(self, addresses: Array, kind: str, lanes: Array) -> Array:
        """Return the bits at one address a lane."""
        loaded = np.empty(len(lanes), bits_of(TYPES[kind]))
        for buffer, chosen in self._reached(addresses):
            items = buffer.item(addresses[chosen], kind)
            buffer.log.note_load(buffer.units(items), lanes[chosen])
            buffer.read += len(items)
            buffer.was_read[items] = True
            loaded[chosen] = buffer.items[items]
        return loaded

    def store(self, addresses: Array, kind: str, lanes: Array, bits: Array) -> None:
        """Put bits at one address a lane."""
        for buffer, chosen in self._reached(addresses):
            items = buffer.item(addresses[chosen], kind)
            if not buffer.writeable:
                raise PTXError(f"a store into argument {buffer.number}, an array that is read-only")
            buffer.log.note_store(buffer.units(items), lanes[chosen])
            buffer.written += len(items)
            buffer.was_written[items] = True
            buffer.items[items] = bits[chosen]

    def _reached(self, addresses: Array) -> list[tuple[Buffer, Any]]:
        """Return the buffers that addresses fall into, each with the lanes of which that is so."""
        numbers = addresses >> np.uint64(WINDOW)
        if (numbers == numbers[0]).all():
            return [(self._buffer(int(numbers[0])), slice(None))]
        return [(self._buffer(int(number)), numbers == number) for number in np.unique(numbers)]

    def _buffer(self, number: int) -> Buffer:
        if number not in self.buffers:
            raise PTXError("out of bounds: an address that lies in none of the arguments")
        return self.buffers[number]

    def share_logs(self) -> None:
        """Give buffers whose memory overlaps one log; its unit is the largest that all their items are made of."""
        stretches: list[list[Buffer]] = []
        end = -1
        for buffer in sorted(self.buffers.values(), key=lambda buffer: buffer.host):
            if buffer.host >= end:
                stretches.append([])
            stretches[-1].append(buffer)
            end = max(end, buffer.host + buffer.items.nbytes)
        for batches_per_call in stretches:
            start = batches_per_call[0].host
            unit = math.gcd(*(b.itemsize for b in batches_per_call), *(b.host - start for b in batches_per_call))
            log = Log(max(b.host - start + b.items.nbytes for b in batches_per_call) // unit)
            for b in batches_per_call:
                b.log, b.first, b.units_an_item = log, (b.host - start) // unit, b.itemsize // unit
