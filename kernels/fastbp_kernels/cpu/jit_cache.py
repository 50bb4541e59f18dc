"""Compiled code on disk, of which a damaged or unwritable file costs time and nothing else."""

import contextlib
import hashlib
import inspect
import os
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import __version__ as _llvmlite_version
from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher
from numba.core.typing.typeof import typeof_impl

from fastbp_kernels.compile_events import COMPILERS, compiling
from fastbp_kernels.cpu.vector_math import MATH

Function = Callable[..., Any]
OPTIONS: dict[str, Any] = {
    **MATH,
    "_nrt": False,  # no counts of references: nothing is allocated, and a tenth of the time to compile is saved
}


COMPILERS.update(inspect.unwrap(compiler).__code__ for compiler in (CFunc.compile, Dispatcher.compile))


class CheckedFiles(IndexDataCacheFile):  # type: ignore[misc]
    """The files of a function's cache: one per key, each checked before anything in it is used.

    Numba unpickles what it finds, and the pickle of a damaged file can be any machine code. Here a file begins with a
    SHA-256 digest of what it is for (format, Python source, versions, key) and of its content. A file that is damaged,
    or that belongs to another key, has another digest and is ignored. This protects against damage, not against an
    attacker who can write to the folder.

    A file's name depends on the function and the key alone, so an entry from an older source or version is overwritten.
    """

    def __init__(self, folder: str, function: str, source_stamp: Any) -> None:
        super().__init__(folder, function, source_stamp)
        self._function = function

    def load(self, key: Any) -> Any:
        """Return the data saved under a key, or None if its file is missing, damaged or out of date."""
        path, purpose = self._identify(key)
        try:
            with open(path, "rb") as file:
                digest, content = file.read(_DIGEST_SIZE), file.read()
        except OSError:
            return None
        return pickle.loads(content) if digest == _digest(purpose, content) else None

    def save(self, key: Any, data: Any) -> None:
        """Save data under a key."""
        path, purpose = self._identify(key)
        content = self._dump(data)
        with self._open_for_write(path) as file:
            file.write(_digest(purpose, content))
            file.write(content)

    def _identify(self, key: Any) -> tuple[str, bytes]:
        """Return the path of a key's file, and what enters its digest beside its content."""
        name = f"{self._function}.{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.fbc"
        # The function's name and line are in it too: Numba's keys do not tell 2.0 * x from 3.0 * x.
        purpose = (_FORMAT, self._version, _llvmlite_version, self._source_stamp, _stamp_of_package(), name, key)
        return os.path.join(self._cache_path, name), repr(purpose).encode()


_FORMAT, _DIGEST_SIZE = 1, hashlib.sha256().digest_size


def _digest(purpose: bytes, content: bytes) -> bytes:
    digest = hashlib.sha256(len(purpose).to_bytes(8, "little") + purpose)
    digest.update(content)
    return digest.digest()


@cache
def _stamp_of_package() -> bytes:
    """Return a digest of this package's source.

    Numba's own stamp covers the file of the compiled function, and not those of the functions inlined into it.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


class ForgivingCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function's machine code, without its errors.

    Numba answers a file cut short with an error of pickle's, in every process from then on, and a full disk with the
    system's. Here what cannot be read is thrown away and compiled anew, and what cannot be written is not.
    """

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = CheckedFiles(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return compiled code, or None if there is none that can be read."""
        found = None
        with contextlib.suppress(Exception):
            found = super().load_overload(signature, target_context)
        if found is None:
            compiling()
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        """Keep compiled code, if that can be done."""
        with contextlib.suppress(Exception):
            super().save_overload(signature, data)


class Kernel(CFunc, types.WrapperAddressProtocol):  # type: ignore[misc]
    """A C function that compiled code is given as an argument, whose type Numba makes out but once.

    To look anew at all the kernels of a network took half of the 0.13 ms of a call from Python.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.type_of_function = types.FunctionType(self._sig)

    def __wrapper_address__(self) -> int:
        return self.address  # type: ignore[return-value]

    def signature(self) -> Any:
        """Return Numba's signature of the function."""
        return self._sig


@typeof_impl.register(Kernel)  # type: ignore[untyped-decorator]
def _type_of(kernel: Kernel, context: Any) -> Any:
    return kernel.type_of_function


def compiled_kernel(function: Function, signature: Any) -> Any:
    """Compile a function to a C function of a signature, or find it in the cache."""
    kernel: Any = Kernel(function, (signature.args, types.void), locals={}, options=dict(OPTIONS))
    with contextlib.suppress(Exception):  # where no folder can be written to, nothing is kept
        kernel._cache = ForgivingCache(function)
    kernel.compile()
    return kernel


def lazy_jit(function: Function) -> Function:
    """Return a function that is compiled, or found in the cache, at its first call for each types of arguments."""
    dispatcher = njit(nogil=True, **OPTIONS)(function)
    with contextlib.suppress(Exception):
        dispatcher._cache = ForgivingCache(function)
    return dispatcher  # type: ignore[no-any-return]
