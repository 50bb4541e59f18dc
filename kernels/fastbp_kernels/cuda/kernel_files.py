"""Keep compiled CUDA kernels on disk, beside the compiled code of the CPU.

If a file is damaged or cannot be written, this only costs time, because the kernel is compiled again.
"""

import contextlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from fastbp_kernels.cpu.jit_cache import CheckedFiles, cache_folder

T = TypeVar("T")
_COMPILERS = (
    "numba-cuda",
    "cuda-core",
    "nvidia-nvvm",
    "nvidia-cuda-nvcc-cu12",
    "nvidia-nvjitlink",
    "nvidia-nvjitlink-cu12",
)


def kept(key: tuple[Any, ...] | None, make: Callable[[], T]) -> T:
    """Return what is kept on disk under a key, or else make it and keep it. With the key None, make it.

    The files are valid as long as the source of this package and the versions of the compilers are unchanged.
    """
    files = _files() if key is not None else None
    if files is None:
        return make()
    found: T | None = None
    with contextlib.suppress(Exception):
        found = files.load(key)
    if found is None:
        found = make()
        with contextlib.suppress(Exception):
            files.save(key, found)
    return found


@cache
def _files() -> CheckedFiles | None:
    """Return the files of the kernels, or None if no folder can be written."""
    folder = cache_folder()
    return None if folder is None else CheckedFiles(folder, "cuda", tuple(map(_version, _COMPILERS)))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
