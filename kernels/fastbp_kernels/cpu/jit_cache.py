"""Compile functions with Numba and keep the machine code on disk.

If a file on disk is damaged or cannot be written, this only costs time, because the function is compiled again.
"""

import contextlib
import hashlib
import os
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit, types

from fastbp_kernels.compile_events import COMPILERS, notify_compile
from fastbp_kernels.cpu.vector_math import MATH
from fastbp_kernels.numba_private import (
    LLVMLITE_VERSION,
    NO_REFERENCE_COUNTS,
    CacheFiles,
    CFunction,
    CFunctionCache,
    DiskCache,
    compiler_code,
    typeof_impl,
    use_cache,
)

Function = Callable[..., Any]
OPTIONS: dict[str, Any] = {**MATH, **NO_REFERENCE_COUNTS}

COMPILERS.update(compiler_code())


class CheckedFiles(CacheFiles):
    """The files of one function's cache, one file per key. A file is checked before anything in it is used.

    Numba makes a key from the types of the arguments, the processor and the function's code. Numba's own cache
    unpickles any file that it finds, and the pickle in a damaged file may contain any machine code. Here, a file begins
    with a SHA-256 digest. The digest is computed from the file's content and from what the file is for: the format, the
    Python source, the versions and the key. If a file is damaged or was written for another purpose, its digest is
    wrong, and the file is ignored. This protects against damage. It does not protect against an attacker who can write
    to the folder.

    The name of a file depends only on the function and the key. So a file for older source or older versions is
    overwritten.
    """

    def __init__(self, folder: str, function: str, source_stamp: Any) -> None:
        super().__init__(folder, function, source_stamp)
        self._function = function

    def load(self, key: Any) -> Any:
        """Return the data saved under a key, or None if the file of the key is missing, damaged or out of date."""
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
        content = self.pickled(data)
        with self.open_to_replace(path) as file:
            file.write(_digest(purpose, content))
            file.write(content)

    def _identify(self, key: Any) -> tuple[str, bytes]:
        """Return the path and the purpose of a key's file. The purpose is given as bytes, for the digest."""
        name = f"{self._function}.{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.fbc"
        # `name` contains the function's name and line, because Numba's keys do not distinguish 2.0 * x from 3.0 * x.
        purpose = (_FORMAT, *self.versions(), LLVMLITE_VERSION, _stamp_of_package(), name, key)
        return os.path.join(self.folder(), name), repr(purpose).encode()


_FORMAT, _DIGEST_SIZE = 2, hashlib.sha256().digest_size


def _digest(purpose: bytes, content: bytes) -> bytes:
    digest = hashlib.sha256(len(purpose).to_bytes(8, "little") + purpose)
    digest.update(content)
    return digest.digest()


@cache
def _stamp_of_package() -> bytes:
    """Return a digest of this package's source.

    Numba's stamp covers only the file of the compiled function. The functions inlined into it may be in other files.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


class ForgivingCache(DiskCache):
    """A version of Numba's cache for a function's machine code. It raises no errors when it reads or writes files.

    If a file is truncated, Numba's own cache raises an error from pickle. Every later process raises this error again.
    If the disk is full, Numba's own cache raises an error from the system. Here, code that cannot be read is compiled
    again, and code that cannot be written is not kept.
    """

    def __init__(self, function: Function) -> None:
        super().__init__(function, CheckedFiles)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature, or None if no code can be read."""
        found = None
        with contextlib.suppress(Exception):
            found = self.load_code(signature, target_context)
        if found is None:
            notify_compile()
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        """Save the compiled code for a signature, if possible."""
        with contextlib.suppress(Exception):
            self.save_code(signature, data)


class ForgivingCFunctionCache(ForgivingCache, CFunctionCache):
    """A `ForgivingCache` for the machine code of a C function."""


class Kernel(CFunction, types.WrapperAddressProtocol):  # type: ignore[misc]
    """A C function that other compiled code can take as an argument. Its Numba type is computed only once."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.type_of_function = types.FunctionType(self.numba_signature())

    def __wrapper_address__(self) -> int:
        return self.address  # type: ignore[return-value]

    def signature(self) -> Any:
        """Return Numba's signature of the function."""
        return self.numba_signature()


@typeof_impl.register(Kernel)  # type: ignore[untyped-decorator]
def _type_of(kernel: Kernel, context: Any) -> Any:
    return kernel.type_of_function


def compiled_kernel(function: Function, signature: Any) -> Any:
    """Compile a function to a C function with the given signature, or load its code from the cache."""
    kernel: Any = Kernel(function, (signature.args, types.void), locals={}, options=dict(OPTIONS))
    with contextlib.suppress(Exception):  # without a writable folder, nothing is kept
        use_cache(kernel, ForgivingCFunctionCache(function))
    kernel.compile()
    return kernel


def lazy_jit(function: Function) -> Function:
    """Return a function that is compiled, or loaded from the cache, when it is called.

    Compiling or loading happens once for each combination of argument types.
    """
    dispatcher = njit(nogil=True, **OPTIONS)(function)
    with contextlib.suppress(Exception):
        use_cache(dispatcher, ForgivingCache(function))
    return dispatcher  # type: ignore[no-any-return]


def cache_folder() -> str | None:
    """Return the folder where the kernels of this package are kept, or None if no folder can be written."""
    try:
        return str(ForgivingCache(compiled_kernel).cache_path)
    except Exception:  # no folder can be written, as in `compiled_kernel`
        return None
