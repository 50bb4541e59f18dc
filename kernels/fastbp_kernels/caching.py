"""Compiled code on disk, of which a damaged or unwritable file costs time and nothing else."""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher
from numba.core.typing.typeof import typeof_impl

from fastbp_kernels.compiling import COMPILERS, compiling
from fastbp_kernels.vector_math import MATH

Function = Callable[..., Any]
OPTIONS: dict[str, Any] = {
    **MATH,
    "_nrt": False,  # no counts of references: nothing is allocated, and a tenth of the time to compile is saved
}


COMPILERS.update(inspect.unwrap(compiler).__code__ for compiler in (CFunc.compile, Dispatcher.compile))


class ForgivingCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function's machine code, without its errors.

    Numba answers a file cut short with an error of pickle's, in every process from then on, and a full disk with the
    system's. Here what cannot be read is thrown away and compiled anew, and what cannot be written is not.
    """

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return compiled code, or None if there is none that can be read."""
        found = None
        try:
            found = super().load_overload(signature, target_context)
        except Exception:
            with contextlib.suppress(Exception):
                self.flush()
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


def compiled_by_need(function: Function) -> Function:
    """Return a function that is compiled, or found in the cache, at its first call for each types of arguments."""
    dispatcher = njit(nogil=True, **OPTIONS)(function)
    with contextlib.suppress(Exception):
        dispatcher._cache = ForgivingCache(function)
    return dispatcher  # type: ignore[no-any-return]
