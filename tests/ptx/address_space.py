"""Memory of this process at its own addresses, for kernels whose parameters point to it.

Accesses are checked for bounds and alignment. They are not logged, so races are not detected.
"""

import ctypes
from collections.abc import Callable

import numpy as np

from .errors import PTXError
from .types import TYPES, Array, bits_of

Find = Callable[[int], tuple[int, int]]
"""Returns the first address, and the number of bytes, of the block with an address. Raises `PTXError` if none has."""


class AddressSpace:
    """Global memory: the blocks that `find` knows."""

    def __init__(self, find: Find) -> None:
        self.find = find

    def load(self, addresses: Array, kind: str, lanes: Array) -> Array:
        """Return the bits at the address of each lane."""
        loaded = np.empty(len(addresses), bits_of(TYPES[kind]))
        for items, chosen, indices in self._reached(addresses, kind):
            loaded[chosen] = items[indices]
        return loaded

    def store(self, addresses: Array, kind: str, lanes: Array, bits: Array) -> None:
        """Store bits at the address of each lane."""
        for items, chosen, indices in self._reached(addresses, kind):
            items[indices] = bits[chosen]

    def order(self) -> None:
        """Do nothing, because accesses are not logged."""

    def _reached(self, addresses: Array, kind: str) -> list[tuple[Array, Array, Array]]:
        """Return for each block: its items, the lanes that reach it, and the indices of their items."""
        dtype, reached = bits_of(TYPES[kind]), []
        left = np.ones(len(addresses), bool)
        while left.any():
            address = int(addresses[left][0])
            start, size = self.find(address)
            offsets = addresses - np.uint64(start)
            chosen = left & (offsets < size)
            if (offsets[chosen] > size - dtype.itemsize).any():
                raise PTXError(f"out of bounds: an access of {dtype.itemsize} bytes across the end of {size} bytes")
            memory = (ctypes.c_uint8 * size).from_address(start)
            items = np.frombuffer(memory, dtype, size // dtype.itemsize)
            reached.append((items, chosen, offsets[chosen] // np.uint64(dtype.itemsize)))
            left &= ~chosen
        return reached
