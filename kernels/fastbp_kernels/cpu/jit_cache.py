"""Compile functions with Numba and keep the machine code on disk. A damaged or unwritable cache costs time only."""

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
    DiskCache,
    compiler_code,
    typeof_impl,
    use_cache,
)

Function = Callable[..., Any]
OPTIONS: dict[str, Any] = {**MATH, **NO_REFERENCE_COUNTS}

COMPILERS.update(compiler_code())


class CheckedFiles(CacheFiles):
    """The files of one function's cache, one per key. Each is checked before anything in it is used.

    Numba unpickles the files that it finds, and the pickle in a damaged file may be any machine code. Here a file
    begins with a SHA-256 digest of its purpose (format, Python source, versions, key) and of its content. A file that
    is damaged, or that was written for another key, has another digest and is ignored. This protects against damage,
    not against an attacker who can write to the folder.

    The name of a file depends only on the function and the key, so a file of older source or versions is overwritten.
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
        content = self.pickled(data)
        with self.open_to_replace(path) as file:
            file.write(_digest(purpose, content))
            file.write(content)

    def _identify(self, key: Any) -> tuple[str, bytes]:
        """Return the path of a key's file, and the bytes that its digest covers besides the content."""
        name = f"{self._function}.{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.fbc"
        # The function's name and line are part of `name`. Numba's keys do not distinguish 2.0 * x from 3.0 * x.
        purpose = (_FORMAT, *self.versions(), LLVMLITE_VERSION, _stamp_of_package(), name, key)
        return os.path.join(self.folder(), name), repr(purpose).encode()


_FORMAT, _DIGEST_SIZE = 1, hashlib.sha256().digest_size


def _digest(purpose: bytes, content: bytes) -> bytes:
    digest = hashlib.sha256(len(purpose).to_bytes(8, "little") + purpose)
    digest.update(content)
    return digest.digest()


@cache
def _stamp_of_package() -> bytes:
    """Return a digest of this package's source.

    Numba's stamp covers only the file of the compiled function, not those of the functions inlined into it.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


class ForgivingCache(DiskCache):
    """Numba's cache of a function's machine code, without its errors.

    Numba raises pickle's error for a truncated file, in every later process too, and the system's for a full disk.
    Here code that cannot be read is compiled again, and code that cannot be written is not kept.
    """

    def __init__(self, function: Function) -> None:
        super().__init__(function, CheckedFiles)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return compiled code, or None if none can be read."""
        found = None
        with contextlib.suppress(Exception):
            found = super().load_overload(signature, target_context)
        if found is None:
            notify_compile()
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        """Save compiled code if possible."""
        with contextlib.suppress(Exception):
            super().save_overload(signature, data)


class Kernel(CFunction, types.WrapperAddressProtocol):  # type: ignore[misc]
    """A C function that compiled code takes as an argument. Its Numba type is computed once.

    Computing the types of all of a network's kernels took half of the 0.13 ms of each call from Python.
    """

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
    """Return a function compiled to a C function with a signature, from the cache if it is there."""
    kernel: Any = Kernel(function, (signature.args, types.void), locals={}, options=dict(OPTIONS))
    with contextlib.suppress(Exception):  # without a writable folder, nothing is kept
        use_cache(kernel, ForgivingCache(function))
    kernel.compile()
    return kernel


def lazy_jit(function: Function) -> Function:
    """Return a function that is compiled, or loaded from the cache, at its first call with each types of arguments."""
    dispatcher = njit(nogil=True, **OPTIONS)(function)
    with contextlib.suppress(Exception):
        use_cache(dispatcher, ForgivingCache(function))
    return dispatcher  # type: ignore[no-any-return]


def cache_folder() -> str | None:
    """Return the folder in which the kernels of this package are kept; None if there is no writable one."""
    try:
        return str(ForgivingCache(compiled_kernel).cache_path)
    except Exception:  # as in `compiled_kernel`
        return None
