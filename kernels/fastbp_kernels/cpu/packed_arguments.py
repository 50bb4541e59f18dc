"""Arguments of compiled equations, written to memory once and used by many calls.

A call of a Numba function from Python examines each argument. For the nested tuples of arrays and functions that the
equations take, this takes about 0.07 ms. The arithmetic of a small network takes only a few microseconds. Here, a
compiled equation takes one argument, the address of all its arguments in memory:

| argument | words of 64 bits |
| --- | --- |
| a C-ordered array | its address, and its shape |
| a function of compiled code | its address |
| a number | the number |
| a NamedTuple | those of its fields |
| another tuple, whose items have one type (a sequence) | the address of its items, and their number |

The type of a sequence does not contain its length. So an equation is compiled once for networks of any depth.
"""

import ctypes
import struct
from collections.abc import Callable
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
from numba import types

from fastbp_kernels.cpu.jit_cache import Kernel, compiled_kernel
from fastbp_kernels.numba_private import Packed, Sequence, unpack

Function = Callable[..., Any]
_byte_at = ctypes.c_char.from_buffer


class PackedCall:
    """A compiled function with its arguments in memory. To call it, no arguments are passed.

    The object keeps references to the packed arguments, so they stay alive.
    """

    def __init__(self, function: Function, *arguments: Any) -> None:
        self._arguments = arguments
        packed = _Packing(arguments)
        self._places, self._starts = packed.places, packed.starts
        self._words = packed.words.data
        self._numbers = self._words.cast("B").cast("d")
        self._address = _address(packed.words)
        self._compiled, self._kernel = _c_function(function, packed.layout)

    def __call__(self) -> None:
        """Call the function."""
        self._compiled(self._address)

    def replace(self, old: Any, new: Any) -> None:
        """Replace the arrays `old`, which are among the arguments, by the arrays `new`.

        Each new array must have the size and the dtype of the old one, and the caller must keep it alive.
        """
        for own, other in zip(old, new, strict=False):
            address = _address(other)
            for place in self._places[id(own)]:
                self._words[place] = address

    def set_number(self, position: int, value: float) -> None:
        """Set the argument at a position, which must be a number of the same type."""
        words = self._numbers if isinstance(value, float) else self._words
        words[self._starts[position]] = value


def _address(array: Any) -> int:
    """Return the address of an array's memory."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(_byte_at(array))  # takes a third of the time of the other way
    address: int = array.ctypes.data
    return address


class _Packing:
    """Arguments as words in memory.

    `layout` is a description of their types (see `_type_of`), and `starts` the index of the first word of each
    argument. `places` maps the id of an array to the indices of the words that hold its address.
    """

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        # A block holds the words of the arguments, or those of the items of one sequence.
        self._blocks: list[list[int]] = [[]]
        self._arrays: list[tuple[int, int, int]] = []  # id of an array, block and index of its address
        self._sequences: list[tuple[int, int, int]] = []  # block and index of an address, block of the items
        self.starts: list[int] = []
        layouts = []
        for argument in arguments:
            self.starts.append(len(self._blocks[0]))
            layouts.append(self._write(argument, 0))
        self.layout = (None, *layouts)
        starts = [0, *accumulate(map(len, self._blocks))]
        self.words = np.array([word for block in self._blocks for word in block], np.int64)
        base = _address(self.words)
        for block, index, items in self._sequences:
            self.words[starts[block] + index] = base + 8 * starts[items]
        self.places: dict[int, list[int]] = {}
        for array, block, index in self._arrays:
            self.places.setdefault(array, []).append(starts[block] + index)

    def _write(self, value: Any, block: int) -> Any:
        """Append a value to a block of words; return its layout."""
        words, kind = self._blocks[block], type(value)
        if kind is np.ndarray:
            if not value.flags.c_contiguous:
                raise TypeError("arrays must be C-ordered")
            self._arrays.append((id(value), block, len(words)))
            words.append(_address(value) if value.size else 0)
            words += value.shape
            return value.dtype, value.ndim
        if kind is Kernel:
            words.append(value.address)
            return value.type_of_function
        if kind is tuple:
            items = len(self._blocks)
            self._blocks.append([])
            self._sequences.append((block, len(words), items))
            words += 0, len(value)
            layouts = [self._write(item, items) for item in value]
            return tuple, layouts[0]
        if isinstance(value, tuple):
            return (kind, *[self._write(field, block) for field in value])
        if isinstance(value, float):
            words += struct.unpack("q", struct.pack("d", value))
            return float
        words.append(int(value))
        return bool if isinstance(value, bool) else int


@cache
def _type_of(layout: Any) -> Any:
    """Return Numba's type for a layout.

    The layout of a number is its Python type, and that of a function is Numba's type. An array has (dtype, dimensions),
    a sequence has (tuple, layout of an item), and a NamedTuple has (class, *layouts of the fields).
    """
    if not isinstance(layout, tuple):
        return {bool: types.boolean, float: types.float64, int: types.int64}.get(layout, layout)
    first, *rest = layout
    if isinstance(first, np.dtype):
        return types.Array(getattr(types, first.name), rest[0], "C")
    parts = tuple(map(_type_of, rest))
    if first is tuple:
        return Sequence(*parts)
    return types.Tuple(parts) if first is None else types.NamedTuple(parts, first)


@cache
def _c_function(function: Function, layout: Any) -> tuple[Callable[[int], None], Kernel]:
    """Return a function of the address of its arguments, and the kernel that owns the function's code.

    The arguments have the given layout. The function is compiled, or loaded from the cache, once per layout.
    """

    def call(packed: Any) -> None:
        function(*unpack(packed))

    kernel: Kernel = compiled_kernel(call, types.void(Packed(_type_of(layout))))
    return ctypes.CFUNCTYPE(None, ctypes.c_int64)(kernel.__wrapper_address__()), kernel
