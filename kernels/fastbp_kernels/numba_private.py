"""The private interfaces of Numba and llvmlite that fastbp uses; no other file imports from `numba.core` or `llvmlite`.

Numba may change these in any release. pyproject.toml therefore bounds the versions of both packages, and
tests/kernels/test_numba_private.py tests each interface: run it with a new release before raising a bound.

One more private interface is used elsewhere: `fastbp.backends.forks` looks up `numba.core.compiler_lock` in
`sys.modules`, since it must not import Numba. Its test is in the same file.

The functions of compiled code below are intrinsics. Numba's cache must not see one in the closure of a kernel: an
intrinsic pickles differently in each process, and pickles of closures are part of the cache's keys. Kernels refer to
them as globals or through functions of a module, which pickle by name.
"""

import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.compiler import Flags
from numba.core.cpu_options import FastMathOptions
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError as TypingError  # for other files to import from here
from numba.core.typing.typeof import typeof_impl as typeof_impl
from numba.extending import intrinsic

Function = Callable[..., Any]
LLVMLITE_VERSION: str = llvmlite.__version__

# ---- Compiling, and compiled code on disk

INLINED_OPTIONS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that only compiled code calls: without wrappers for Python and C they compile 10 % faster."""

NO_REFERENCE_COUNTS: dict[str, Any] = {"_nrt": False}
"""Option of functions that allocate nothing: without reference counts they compile 10 % faster."""


def compiler_code() -> set[CodeType]:
    """Return the code of the functions that compile; a frame of one of them is on the stack during a compilation."""
    return {inspect.unwrap(compiler).__code__ for compiler in (CFunc.compile, Dispatcher.compile)}


class CFunction(CFunc):
    """A compiled C function."""

    def numba_signature(self) -> Any:
        """Return Numba's signature of the function."""
        return self._sig  # type: ignore[attr-defined]


class CacheFiles(IndexDataCacheFile):  # type: ignore[misc]
    """The files of one function's cache."""

    def folder(self) -> str:
        """Return the folder of the files."""
        return str(self._cache_path)

    def versions(self) -> tuple[Any, ...]:
        """Return Numba's version and the stamp of the source: saved code is valid for these only."""
        return self._version, self._source_stamp

    def pickled(self, data: Any) -> bytes:
        """Return compiled code as bytes."""
        return self._dump(data)  # type: ignore[no-any-return]

    def open_to_replace(self, path: str) -> Any:
        """Return a context in which a file is written that then replaces the one at `path`."""
        return self._open_for_write(path)


class DiskCache(FunctionCache):  # type: ignore[misc]
    """The cache of one function's machine code; `make_files` returns its `CacheFiles` for a folder, name and stamp."""

    def __init__(self, function: Function, make_files: Callable[[str, str, Any], CacheFiles]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = make_files(self._cache_path, self._impl.filename_base, stamp)


def use_cache(compiled: Any, cache: DiskCache) -> None:
    """Have a C function or a jitted function keep its machine code in a cache."""
    compiled._cache = cache


# ---- BLAS

load_library = llvm.load_library_permanently
"""(path): load a library, so that compiled code finds its symbols. Raises RuntimeError if that fails."""

xxgemm = types.ExternalFunction(
    "numba_xxgemm",
    types.intc(
        *(types.intc, types.intc, types.intc),  # kind ("s" or "d"), transA, transB
        *(types.intp, types.intp, types.intp, types.voidptr),  # m, n, k, alpha*
        *(types.voidptr, types.intp, types.voidptr, types.intp),  # A*, lda, B*, ldb
        *(types.voidptr, types.voidptr, types.intp),  # beta*, C*, ldc
    ),
)
"""The function behind Numba's `@`: C ← alpha op(A) op(B) + beta C in Fortran order, by the BLAS that SciPy uses."""


@intrinsic  # type: ignore[untyped-decorator]
def address_of_number(typing_context: Any, number: Any) -> Any:
    """Return the address of a copy of a number on the stack."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(cgutils.alloca_once_value(builder, arguments[0]), cgutils.voidptr_t)

    return types.voidptr(number), codegen


@intrinsic  # type: ignore[untyped-decorator]
def address_of_entry(typing_context: Any, matrix: Any, i: Any, j: Any) -> Any:
    """Return the address of entry (i, j) of a matrix."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(matrix)(context, builder, arguments[0])
        entry = cgutils.get_item_pointer(context, builder, matrix, array, arguments[1:])
        return builder.bitcast(entry, cgutils.voidptr_t)

    return types.voidptr(matrix, types.intp, types.intp), codegen


# ---- Tasks: a function and its arguments by their addresses, for another thread to call

_INT64, _POINTER = ir.IntType(64), cgutils.voidptr_t


@intrinsic  # type: ignore[untyped-decorator]
def make_task(typing_context: Any, body: Any, args: Any) -> Any:
    """Return the address of a compiled function that calls `body(args, start, end)`, and that of args on the stack.

    `body` is a function that compiled code may call, whose attribute `options` holds Numba's error model and fastmath
    flags for it. LLVM must not inline the function: the loops of a body would be compiled wherever it is called.
    """
    body_signature = types.void(args, types.int64, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        module, (function_type, _) = builder.module, _task_type(context)
        function = ir.Function(module, function_type, module.get_unique_name("fastbp_task"))
        function.linkage = "internal"
        function.attributes.add("noinline")
        *_, args_address, start, end = function.args
        inside = ir.IRBuilder(function.append_basic_block())
        loaded = inside.load(inside.bitcast(args_address, context.get_value_type(args).as_pointer()))
        (error_model, fastmath), flags = body.typing_key.options, Flags()
        flags.error_model, flags.fastmath = error_model, FastMathOptions(set(fastmath))
        compiled = context.compile_subroutine(builder, body.typing_key, body_signature, flags=flags)
        context.call_internal_no_propagate(inside, compiled.fndesc, body_signature, [loaded, start, end])
        inside.ret(ir.IntType(32)(0))
        on_stack = cgutils.alloca_once_value(builder, arguments[1])
        addresses = [builder.ptrtoint(function, _INT64), builder.ptrtoint(on_stack, _INT64)]
        return context.make_tuple(builder, signature.return_type, addresses)

    return types.UniTuple(types.int64, 2)(body, args), codegen


@intrinsic  # type: ignore[untyped-decorator]
def call_task(typing_context: Any, code: Any, args: Any, start: Any, end: Any) -> Any:
    """Call the function of a task, given the two addresses, on start to end."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function_type, error = _task_type(context)
        function = builder.inttoptr(arguments[0], function_type.as_pointer())
        args_address = builder.inttoptr(arguments[1], _POINTER)
        error_address = cgutils.alloca_once(builder, error.pointee)
        builder.call(function, [_POINTER(None), error_address, args_address, *arguments[2:]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


def _task_type(context: Any) -> tuple[Any, Any]:
    """Return the LLVM type of a task's function, and that of its pointer to an error.

    The first two arguments are those of every function that Numba compiles: pointers to the result and to an error.
    """
    error = context.call_conv.get_function_type(types.none, ()).args[1]
    return ir.FunctionType(ir.IntType(32), [_POINTER, error, _POINTER, _INT64, _INT64]), error


# ---- Memory that the compiled code of all threads shares

_SYMBOL = "fastbp_slot"
_memory = np.zeros(16, np.int64)
shared_words = _memory[-_memory.ctypes.data // 8 % 8 :][:8]  # one cache line, which another core fetches as a whole
"""Eight 64-bit integers, which compiled code finds by a symbol. Code that names an address cannot be cached."""

llvm.add_symbol(_SYMBOL, shared_words.ctypes.data)


def _address_of_word(builder: Any, index: Any) -> Any:
    known = builder.module.globals
    base = known.get(_SYMBOL) or ir.GlobalVariable(builder.module, ir.ArrayType(_INT64, len(shared_words)), _SYMBOL)
    return builder.gep(base, [_INT64(0), index])


@intrinsic  # type: ignore[untyped-decorator]
def load_word(typing_context: Any, index: Any) -> Any:
    """Return a shared word. Everything written before the word was stored is then visible (acquire)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_address_of_word(builder, arguments[0]), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def store_word(typing_context: Any, index: Any, value: Any) -> Any:
    """Store a shared word. A thread that loads it sees everything written before (release)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _address_of_word(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def compare_and_swap_word(typing_context: Any, index: Any, old: Any, new: Any) -> Any:
    """Replace a shared word by `new` if it equals `old`; return whether it did. Of several threads, one succeeds."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address_of_word(builder, arguments[0])
        return builder.extract_value(builder.cmpxchg(address, *arguments[1:], "acq_rel", "monotonic"), 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def pause(typing_context: Any) -> Any:
    """Tell an x86-64 processor that this thread polls in a loop."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        no_arguments = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, no_arguments, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen
