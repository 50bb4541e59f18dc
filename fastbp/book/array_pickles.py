"""Read the arrays in the book's `mnist.pkl.gz` without `pickle`.

A pickle is a program for a stack machine. This module interprets the few opcodes that build numbers, strings, tuples
and NumPy arrays. NumPy pickles an array or a dtype as a call of a function. This module records such calls, but it
never imports or calls a function named in a file. Everything else in a file is refused. Reading takes at most four
times as much memory as the decompressed file, and the decompressed size is limited.

Python's `pickle.Unpickler` can take much more memory, even if its `find_class` is restricted. For an opcode LONG_BINPUT
with a large index, which takes 7 bytes in the file, it allocates 0.5 GiB. For an opcode BINBYTES, it allocates as many
bytes as the file claims, before it reads any of the data. A mark takes 25 times as many bytes in memory as in the file.
A string with one character beyond latin1 takes six times as many. These numbers were measured with Python 3.11.

The opcodes are described in Python's `pickletools`. The calls for arrays and dtypes are those returned by NumPy's
`ndarray.__reduce__`, `ndarray.__reduce_ex__` and `dtype.__reduce__`.
"""

import codecs
import gzip
import math
import pickletools
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import numpy as np
import numpy.typing as npt

from fastbp.datasets.idx import GZIP_MAGIC
from fastbp.datasets.rows_and_labels import MOST_DIMENSIONS
from fastbp.errors import brief, truncate
from fastbp.files.reading import StrPath, bad_file, regular_file, translate_errors

Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]
_EXPECTED = "a gzip-compressed pickle of three pairs of NumPy arrays and of nothing else"
_MOST_BYTES = 2**29  # decompressed; MNIST takes 220 MB in float32, and 440 MB in float64
_MOST_OPCODES = 10_000  # six arrays take about 150 opcodes
_CHUNK = 2**18  # bytes decompressed at a time
_LONGEST_NAME = 100  # in bytes, for the name of a module, a function or a class
_DAMAGE = (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, zlib.error)


@dataclass(frozen=True)
class _Global:
    """The name of a function or class in a pickle. Only a few names are allowed, and none is ever imported."""

    name: str


@dataclass
class _Dtype:
    text: str


@dataclass
class _Array:
    """The description of an array. The data are bytes, or a latin1 string as written by Python 2."""

    shape: Any = None
    dtype: Any = None
    fortran: Any = False
    data: Any = None


def read_three_pairs(path: StrPath) -> tuple[Pair, Pair, Pair]:
    """Read three pairs (x, y) of arrays from a file like `mnist.pkl.gz`.

    The arrays contain real numbers and are writable. The file may be a pickle of any protocol, written by Python 2
    or 3. Raises `InputError` if the file contains or calls anything else, is damaged, or decompresses to more than
    512 MiB.
    """
    path = regular_file(path, _EXPECTED)
    with translate_errors(path, _EXPECTED, *_DAMAGE), path.open("rb") as file:
        if file.read(2) != GZIP_MAGIC:
            raise bad_file(path, "is not compressed by gzip", _EXPECTED)
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as decompressing:
            value = _Interpreter(path).run(_BoundedStream(path, cast(IO[bytes], decompressing)))
        match value:
            case ((_Array(), _Array()), (_Array(), _Array()), (_Array(), _Array())):
                if sum(_checked_size(path, array) for pair in value for array in pair) <= _MOST_BYTES:
                    first, second, third = ((_as_numpy(x), _as_numpy(y)) for x, y in value)
                    return first, second, third
        raise bad_file(path, "contains something else, or the same data many times", _EXPECTED)


class _BoundedStream:
    """A stream that can be read only up to a limit.

    Even if a file claims a larger size, reading takes no more memory than the limit.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream, self._left = path, stream, _MOST_BYTES

    def read(self, size: int) -> bytes:
        """Return `size` bytes, or fewer at the end of the stream."""
        if size > self._left:
            return self._counted(None)
        chunks = []  # a single read(size) would allocate the claimed size before reading
        while size > 0 and (chunk := self._stream.read(min(size, _CHUNK))):
            chunks.append(chunk)
            size -= len(chunk)
        return self._counted(b"".join(chunks))

    def readline(self) -> bytes:
        """Return the bytes up to the end of the line or of the stream."""
        return self._counted(self._stream.readline(self._left + 1))

    def _counted(self, data: bytes | None) -> bytes:
        if data is None or len(data) > self._left:
            raise bad_file(self._path, f"decompresses to more than {_MOST_BYTES:,} bytes, or claims to", _EXPECTED)
        self._left -= len(data)
        return data


class _Interpreter:
    """An interpreter of the opcodes of a pickle.

    Opcodes work on a stack of values, and on the memo, a table of values that are used again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: _BoundedStream) -> Any:
        """Return the value described by the pickle in a stream."""
        for count, (name, argument) in enumerate(self._opcodes(stream)):
            if count >= _MOST_OPCODES:
                self._refuse(f"has more than {_MOST_OPCODES:,} opcodes")
            if name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _TUPLES:
                self._make_tuple(_TUPLES[name])
            elif name in _LITERALS:
                if isinstance(argument, int) and argument.bit_length() > 64:
                    self._refuse(f"has an integer of {argument.bit_length():,} bits")
                self._stack.append(argument)
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
        if stream.read(1):  # this read also makes gzip compare the checksums
            self._refuse("continues after its end")
        (value,) = self._stack
        return value

    def _opcodes(self, stream: _BoundedStream) -> Iterator[tuple[str, Any]]:
        """Yield the name and the argument of each opcode, like `pickletools.genops`, but in bounded memory.

        Opcodes that this module does not interpret are refused before their argument is read. A string is refused
        before it is decoded if one of its characters would take more than one byte of memory.
        """
        name = ""
        while name != "STOP":
            code = stream.read(1)
            opcode = _OPCODES.get(code.decode("latin-1"))
            if opcode is None:
                self._refuse(f"has the unknown opcode {brief(code)}" if code else "ends without the opcode STOP")
            name = opcode.name
            if not any(name in known for known in (_CONSTANTS, _TUPLES, _LITERALS, _ACTIONS, _WITHOUT_EFFECT)):
                self._refuse(f"has the opcode {name}")
            if opcode.arg is None:
                yield name, None
            else:
                yield name, _READERS.get(name, opcode.arg.reader)(cast(IO[bytes], stream))

    def _make_tuple(self, size: int | None) -> None:
        """Replace the last `size` values on the stack by a tuple. If `size` is None, replace all after the mark."""
        if size is None:
            mark = max(i for i, value in enumerate(self._stack) if value is _MARK)
            self._stack[mark:] = [tuple(self._stack[mark + 1 :])]
        else:
            values = [self._stack.pop() for _ in range(size)]
            self._stack.append(tuple(reversed(values)))

    def _put(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _push_global(self, module_and_name: str | None) -> None:
        if module_and_name is None:
            name, module = self._stack.pop(), self._stack.pop()
            if not (isinstance(module, str) and isinstance(name, str)):
                self._refuse("names a global with something that is not a string")
        else:
            module, name = module_and_name.split(" ", 1)
        dotted = f"{module}.{name}"
        if dotted not in _GLOBALS:
            self._refuse(f"names {brief(dotted)}")
        self._stack.append(_Global(dotted))

    def _reduce(self, _: None) -> None:
        """Replace a function and its arguments on the stack by a description of the result. Nothing is called."""
        arguments, function = self._stack.pop(), self._stack.pop()
        match function, arguments:
            case _Global(name), (_Global("numpy.ndarray"), tuple(), str() | bytes()) if name in _RECONSTRUCT:
                result: Any = _Array()
            case _Global(name), (data, dtype, shape, order) if name in _FROM_BUFFER:
                result = _Array(shape, dtype, order == "F", data)
            case _Global("numpy.dtype"), (str(text), *_):
                if not re.fullmatch(r"b1|[iu][1248]|f[248]", text):
                    objects = " (Python objects, which are never unpickled)" if text.startswith("O") else ""
                    self._refuse(f"has values of dtype {brief(text)}{objects}")
                result = _Dtype(text)
            case _Global("_codecs.encode"), (str(text), "latin1"):
                result = text  # converted to bytes later, where necessary; both have the same length
            case _:
                self._refuse("calls something that does not make an array")
        self._stack.append(result)

    def _build(self, _: None) -> None:
        """Complete the description of an array or a dtype with the state on top of the stack."""
        state = self._stack.pop()
        match self._stack[-1], state:
            case _Dtype() as dtype, (_, "<" | ">" | "|" | "=" as order, None, None, None, *_):
                dtype.text = order + dtype.text
            case _Array() as array, (1, shape, dtype, fortran, data):
                array.shape, array.dtype, array.fortran, array.data = shape, dtype, fortran, data
            case _:
                self._refuse("has the state of something that is not an array")

    def _refuse(self, found: str) -> NoReturn:
        raise bad_file(self._path, found, _EXPECTED)


def _checked_size(path: Path, array: _Array) -> int:
    """Return the size of an array in bytes, computed from its shape and dtype.

    Raises `InputError` if the data of the array do not have this size.
    """
    match array:
        case _Array(tuple() as shape, _Dtype(text), bool() | int(), str() | bytes() | bytearray() as data):
            if len(shape) <= MOST_DIMENSIONS and all(isinstance(n, int) and n > 0 for n in shape):
                size = math.prod(shape) * np.dtype(text).itemsize
                if size != len(data):
                    declared = truncate(f"{size:,}", 60)
                    found = f"has {len(data):,} bytes for an array of shape {brief(shape)}, which takes {declared}"
                    raise bad_file(path, found, _EXPECTED)
                return size
    raise bad_file(path, "has an array without shape, dtype or data", _EXPECTED)


def _as_numpy(array: _Array) -> npt.NDArray[Any]:
    data = bytearray(array.data, "latin1") if isinstance(array.data, str) else bytearray(array.data)
    return np.frombuffer(data, array.dtype.text).reshape(array.shape, order="F" if array.fortran else "C")


def _line(stream: IO[bytes]) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError("it ends within a line")
    return line[:-1]


def _module_and_name(stream: IO[bytes]) -> str:
    module, name = _line(stream), _line(stream)
    if max(len(module), len(name)) > _LONGEST_NAME:
        raise ValueError(f"a name has more than {_LONGEST_NAME} bytes")
    return f"{module.decode('ascii')} {name.decode('ascii')}"


def _unicode(data: bytes) -> str:
    if re.search(rb"[\xc4-\xff]", data):  # in UTF-8, a character beyond U+00FF begins with one of these bytes
        raise ValueError("a string has characters beyond latin1")
    return data.decode()


def _unicode_line(stream: IO[bytes]) -> str:
    line = _line(stream)
    if re.search(rb"\\u(?!00)|\\U", line):
        raise ValueError("a string has characters beyond latin1")
    return line.decode("raw-unicode-escape")


def _quoted_line(stream: IO[bytes]) -> str:
    """Read a quoted string in the form written by `repr` in Python 2.

    Escapes are refused if `codecs.escape_decode` would warn of them.
    """
    line = _line(stream)
    if not re.fullmatch(rb"""(['"])(?:[^\\]++|\\[\\'"nrt]|\\x[0-9a-f]{2})*+""", line[:-1]) or line[-1:] != line[:1]:
        raise ValueError("a string is not in quotation marks, or has an unknown escape")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": None}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_WITHOUT_EFFECT = {"PROTO", "FRAME", "STOP"}
_READERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "STRING": _quoted_line,
    "UNICODE": _unicode_line,
    "SHORT_BINUNICODE": lambda stream: _unicode(pickletools.read_bytes1(stream)),
    "BINUNICODE": lambda stream: _unicode(pickletools.read_bytes4(stream)),
    "BINUNICODE8": lambda stream: _unicode(pickletools.read_bytes8(stream)),
    "GLOBAL": _module_and_name,
}
_ACTIONS: dict[str, Callable[[_Interpreter, Any], None]] = {
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Interpreter._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Interpreter._get),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), _Interpreter._push_global),
    "REDUCE": _Interpreter._reduce,
    "BUILD": _Interpreter._build,
}
_RECONSTRUCT = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
_FROM_BUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
_GLOBALS = {*_RECONSTRUCT, *_FROM_BUFFER, "numpy.ndarray", "numpy.dtype", "_codecs.encode"}
