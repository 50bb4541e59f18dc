"""The arrays in `mnist.pkl.gz`, read without `pickle`: whatever a file asks for, nothing of it is ever called.

A pickle is a program for a machine with a stack. This one puts together numbers, texts and tuples, and takes down what
NumPy writes of arrays and their dtypes; it imports nothing, calls nothing, and refuses the rest. Memory is at most four
times what the file unpacks to, and that is limited. The instructions are described in Python's `pickletools`; what
NumPy writes is what its `ndarray.__reduce__`, `ndarray.__reduce_ex__` and `dtype.__reduce__` return.
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
from fastbp.files.bounded_reading import StrPath, bad_file, regular_file, translate_errors

Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]
_WANTED = "is a pickle, in gzip, of three pairs of NumPy arrays, and of nothing else"
_MOST_BYTES = 2**29  # unpacked; MNIST's take 220 MB in float32, and 440 in float64
_MOST_INSTRUCTIONS = 10_000  # six arrays take some 150
_CHUNK = 2**18  # bytes unpacked at a time
_LONGEST_NAME = 100  # bytes of a module, a function or a class
_DAMAGE = (EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, zlib.error)


@dataclass(frozen=True)
class _Name:
    """A function or class that a pickle names, and that is known; it is never looked up."""

    text: str


@dataclass
class _Dtype:
    text: str


@dataclass
class _Array:
    """What a pickle says of an array; the data are bytes, or as Python 2 wrote them, a text of latin1."""

    shape: Any = None
    dtype: Any = None
    fortran: Any = False
    data: Any = None


def read_three_pairs(path: StrPath) -> tuple[Pair, Pair, Pair]:
    """Return ((x, y), (x, y), (x, y)), the arrays of a file like `mnist.pkl.gz`, real numbers, free to be written to.

    Pickles of any protocol are read, of Python 2 and 3. Raises `InputError` for a file that holds, or asks for,
    anything else, that is damaged, or that unpacks to more than 512 MiB.
    """
    path = regular_file(path, _WANTED)
    with translate_errors(path, _WANTED, *_DAMAGE), path.open("rb") as file:
        if file.read(2) != GZIP_MAGIC:
            raise bad_file(path, "is not compressed by gzip", _WANTED)
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as unpacking:
            value = _Machine(path).run(_Bounded(path, cast(IO[bytes], unpacking)))
        match value:
            case ((_Array(), _Array()), (_Array(), _Array()), (_Array(), _Array())):
                if sum(_size(path, array) for pair in value for array in pair) <= _MOST_BYTES:
                    first, second, third = ((_built(x), _built(y)) for x, y in value)
                    return first, second, third
        raise bad_file(path, "holds something else, or the same data again and again", _WANTED)


class _Bounded:
    """A stream that is read up to a limit: what a pickle claims to hold costs no more than that."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream, self._left = path, stream, _MOST_BYTES

    def read(self, size: int) -> bytes:
        """Return so many bytes, or what there is of them."""
        if size > self._left:
            return self._counted(None)
        chunks = []  # read(size) would allocate what the file claims, before it comes
        while size > 0 and (chunk := self._stream.read(min(size, _CHUNK))):
            chunks.append(chunk)
            size -= len(chunk)
        return self._counted(b"".join(chunks))

    def readline(self) -> bytes:
        """Return bytes up to the end of a line, or of the file."""
        return self._counted(self._stream.readline(self._left + 1))

    def _counted(self, data: bytes | None) -> bytes:
        if data is None or len(data) > self._left:
            raise bad_file(self._path, f"unpacks to more than {_MOST_BYTES:,} bytes, or claims to", _WANTED)
        self._left -= len(data)
        return data


class _Machine:
    """The stack and the memory of a pickle, and what its instructions do with them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}

    def run(self, stream: _Bounded) -> Any:
        """Return what the pickle in a stream puts together."""
        for count, (name, argument) in enumerate(self._instructions(stream)):
            if count >= _MOST_INSTRUCTIONS:
                self._refuse(f"has more than {_MOST_INSTRUCTIONS:,} instructions")
            if name in _VALUES:
                self._stack.append(_VALUES[name])
            elif name in _TUPLES:
                self._gather(_TUPLES[name])
            elif name in _LITERALS:
                if isinstance(argument, int) and argument.bit_length() > 64:
                    self._refuse(f"has an integer of {argument.bit_length():,} bits")
                self._stack.append(argument)
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
        if stream.read(1):  # at the end it is also here that gzip compares checksums
            self._refuse("goes on after its end")
        (value,) = self._stack
        return value

    def _instructions(self, stream: _Bounded) -> Iterator[tuple[str, Any]]:
        """Yield the name and the argument of each instruction, as `pickletools.genops` does, but in bounded memory.

        Unknown instructions are refused before their argument is read, and texts before they are decoded if a character
        would take more than one byte of memory.
        """
        name = ""
        while name != "STOP":
            code = stream.read(1)
            instruction = _INSTRUCTIONS.get(code.decode("latin-1"))
            if instruction is None:
                self._refuse(f"has the unknown instruction {brief(code)}" if code else "ends without STOP")
            name = instruction.name
            if not any(name in known for known in (_VALUES, _TUPLES, _LITERALS, _ACTIONS, _WITHOUT_EFFECT)):
                self._refuse(f"has the instruction {name}")
            if instruction.arg is None:
                yield name, None
            else:
                yield name, _READERS.get(name, instruction.arg.reader)(cast(IO[bytes], stream))

    def _gather(self, size: int | None) -> None:
        """Put the last so many values, or those since the mark, into a tuple."""
        if size is None:
            mark = max(i for i, value in enumerate(self._stack) if value is _MARK)
            self._stack[mark:] = [tuple(self._stack[mark + 1 :])]
        else:
            values = [self._stack.pop() for _ in range(size)]
            self._stack.append(tuple(reversed(values)))

    def _put(self, place: int | None) -> None:
        self._memory[len(self._memory) if place is None else place] = self._stack[-1]

    def _get(self, place: int) -> None:
        self._stack.append(self._memory[place])

    def _name(self, module_and_name: str | None) -> None:
        if module_and_name is None:
            name, module = self._stack.pop(), self._stack.pop()
            if not (isinstance(module, str) and isinstance(name, str)):
                self._refuse("names something without a name")
        else:
            module, name = module_and_name.split(" ", 1)
        text = f"{module}.{name}"
        if text not in _NAMES:
            self._refuse(f"asks for {brief(text)}")
        self._stack.append(_Name(text))

    def _call(self, _: None) -> None:
        """Take down what a call would make; none is made."""
        arguments, function = self._stack.pop(), self._stack.pop()
        match function, arguments:
            case _Name(text), (_Name("numpy.ndarray"), tuple(), str() | bytes()) if text in _RECONSTRUCT:
                made: Any = _Array()
            case _Name(text), (data, dtype, shape, order) if text in _FROM_BUFFER:
                made = _Array(shape, dtype, order == "F", data)
            case _Name("numpy.dtype"), (str(text), *_):
                if not re.fullmatch(r"b1|[iu][1248]|f[248]", text):
                    objects = ", which are Python objects and never unpickled" if text.startswith("O") else ""
                    self._refuse(f"has values of dtype {brief(text)}{objects}")
                made = _Dtype(text)
            case _Name("_codecs.encode"), (str(text), "latin1"):
                made = text  # the same length as in bytes, and made bytes where it is needed
            case _:
                self._refuse("calls what is no array")
        self._stack.append(made)

    def _build(self, _: None) -> None:
        """Complete an array or a dtype by its state."""
        state = self._stack.pop()
        match self._stack[-1], state:
            case _Dtype() as dtype, (_, "<" | ">" | "|" | "=" as order, None, None, None, *_):
                dtype.text = order + dtype.text
            case _Array() as array, (1, shape, dtype, fortran, data):
                array.shape, array.dtype, array.fortran, array.data = shape, dtype, fortran, data
            case _:
                self._refuse("has the state of something that is no array")

    def _refuse(self, found: str) -> NoReturn:
        raise bad_file(self._path, found, _WANTED)


def _size(path: Path, array: _Array) -> int:
    """Return the size of an array in bytes, or raise `InputError` unless its data are of its shape."""
    match array:
        case _Array(tuple() as shape, _Dtype(text), bool() | int(), str() | bytes() | bytearray() as data):
            if len(shape) <= MOST_DIMENSIONS and all(isinstance(n, int) and n > 0 for n in shape):
                promised = math.prod(shape) * np.dtype(text).itemsize
                if promised != len(data):
                    held = (
                        f"holds {len(data):,} bytes for {truncate(f'{promised:,}', 60)} of an array of {brief(shape)}"
                    )
                    raise bad_file(path, held, _WANTED)
                return promised
    raise bad_file(path, "has an array without sizes, dtype or data", _WANTED)


def _built(array: _Array) -> npt.NDArray[Any]:
    data = bytearray(array.data, "latin1") if isinstance(array.data, str) else bytearray(array.data)
    return np.frombuffer(data, array.dtype.text).reshape(array.shape, order="F" if array.fortran else "C")


def _line(stream: IO[bytes]) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError("ends within a line")
    return line[:-1]


def _names(stream: IO[bytes]) -> str:
    module, name = _line(stream), _line(stream)
    if max(len(module), len(name)) > _LONGEST_NAME:
        raise ValueError(f"a name of more than {_LONGEST_NAME} bytes")
    return f"{module.decode('ascii')} {name.decode('ascii')}"


def _unicode(data: bytes) -> str:
    if re.search(rb"[\xc4-\xff]", data):  # how UTF-8 begins a character beyond U+00FF
        raise ValueError("a text with characters beyond latin1")
    return data.decode()


def _unicode_line(stream: IO[bytes]) -> str:
    line = _line(stream)
    if re.search(rb"\\u(?!00)|\\U", line):
        raise ValueError("a text with characters beyond latin1")
    return line.decode("raw-unicode-escape")


def _quoted_line(stream: IO[bytes]) -> str:
    """Return a text as Python 2's `repr` writes it, with none of the escapes that `escape_decode` warns of."""
    line = _line(stream)
    if not re.fullmatch(rb"""(['"])(?:[^\\]++|\\[\\'"nrt]|\\x[0-9a-f]{2})*+""", line[:-1]) or line[-1:] != line[:1]:
        raise ValueError("a text that is not in quotation marks, or with an unknown escape")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


_MARK = object()
_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": None}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_INSTRUCTIONS = {instruction.code: instruction for instruction in pickletools.opcodes}
_WITHOUT_EFFECT = {"PROTO", "FRAME", "STOP"}
_READERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "STRING": _quoted_line,
    "UNICODE": _unicode_line,
    "SHORT_BINUNICODE": lambda stream: _unicode(pickletools.read_bytes1(stream)),
    "BINUNICODE": lambda stream: _unicode(pickletools.read_bytes4(stream)),
    "BINUNICODE8": lambda stream: _unicode(pickletools.read_bytes8(stream)),
    "GLOBAL": _names,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), _Machine._name),
    "REDUCE": _Machine._call,
    "BUILD": _Machine._build,
}
_RECONSTRUCT = {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
_FROM_BUFFER = {"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"}
_NAMES = {*_RECONSTRUCT, *_FROM_BUFFER, "numpy.ndarray", "numpy.dtype", "_codecs.encode"}
