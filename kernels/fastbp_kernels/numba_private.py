"""The private interfaces of Numba and llvmlite that are used by fastbp.

No other file imports from `numba.core` or `llvmlite`. Numba may change these interfaces in any release. pyproject.toml
therefore bounds the versions of both packages, and tests/kernels/test_numba_private.py tests each interface. Run these
tests with a new release before raising a bound.

One more private interface is used elsewhere. `fastbp.backends.forks` looks up `numba.core.compiler_lock` in
`sys.modules`, since it must not import Numba. The test of this interface is in the same file as the other tests.

Some functions below are intrinsics. An intrinsic tells Numba to which LLVM code a call is compiled. The closure of a
kernel must not contain an intrinsic. Pickles of closures are part of the keys of Numba's cache, and an intrinsic
pickles differently in each process. Kernels therefore refer to intrinsics as global variables, or call them through
functions of a module. Global variables and functions of a module are pickled by name.
"""

import inspect
import operator
from collections.abc import Callable
from types import CodeType, SimpleNamespace
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.compiler import Flags
from numba.core.cpu_options import FastMathOptions
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError as TypingError  # for other files to import from here
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.core.typing.typeof import typeof_impl as typeof_impl
from numba.extending import intrinsic, lower_builtin, models, register_model

Function = Callable[..., Any]
LLVMLITE_VERSION: str = llvmlite.__version__

# ---- Compiling, and compiled code on disk

INLINED_OPTIONS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options for functions called by compiled code only. Without wrappers for Python and C, they compile 10 % faster."""

NO_REFERENCE_COUNTS: dict[str, Any] = {"_nrt": False}
"""Option for functions that allocate no memory. Without reference counts, they compile 10 % faster."""


def compiler_code() -> set[CodeType]:
    """Return the code objects of the Numba functions that do the compiling.

    During a compilation, one of these functions is on the call stack.
    """
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
        """Return Numba's version and the stamp of the source file. Saved code is valid while both are unchanged."""
        return self._version, self._source_stamp

    def pickled(self, data: Any) -> bytes:
        """Return compiled code as bytes."""
        return self._dump(data)  # type: ignore[no-any-return]

    def open_to_replace(self, path: str) -> Any:
        """Return a context manager that opens a new file for writing.

        On exit, the new file replaces the file at `path`.
        """
        return self._open_for_write(path)


class DiskCache(FunctionCache):  # type: ignore[misc]
    """The cache of one function's machine code. `make_files(folder, name, stamp)` returns the files of this cache.

    The stamp tells whether the source file has changed.
    """

    def __init__(self, function: Function, make_files: Callable[[str, str, Any], CacheFiles]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = make_files(self._cache_path, self._impl.filename_base, stamp)

    def load_code(self, signature: Any, target_context: Any) -> Any:
        """Return the compiled code for a signature, or None if there is none.

        Numba's own method first imports everything that Numba can compile, including `scipy.linalg`. This takes 0.4 s,
        and is not needed for code that is already compiled.
        """
        return self._load_overload(signature, target_context)

    def save_code(self, signature: Any, result: Any) -> None:
        """Save the result of a compilation for a signature."""
        self._save_overload(signature, result)


class CFunctionCache(DiskCache):
    """The cache of one C function. It holds only machine code.

    Numba's own cache also holds LLVM's form of the code, so that other functions can include it. A C function is only
    called, never included. Reading LLVM's form would take three quarters of the time that loading a kernel takes.
    """

    def load_code(self, signature: Any, target_context: Any) -> Any:
        """Return an object with the results of a compilation that a C function reads, or None if there is no code."""
        saved = self._cache_file.load(self._index_key(signature, target_context.codegen()))
        if saved is None:
            return None
        code, name = saved
        return SimpleNamespace(library=LoadedCode(code, name), fndesc=SimpleNamespace(llvm_cfunc_wrapper_name=name))

    def save_code(self, signature: Any, result: Any) -> None:
        """Save the machine code of a C function, and its name."""
        if self._impl.check_cachable(result):
            self._impl.locator.ensure_cache_path()
            saved = result.library._get_compiled_object(), result.fndesc.llvm_cfunc_wrapper_name
            self._cache_file.save(self._index_key(signature, result.codegen), saved)


class LoadedCode:
    """The machine code of one C function, loaded into memory from the bytes of an object file.

    Like the code that Numba compiles, it is never unloaded. Each function has an execution engine of its own, because
    functions from different processes can have the same name.
    """

    def __init__(self, code: bytes, name: str) -> None:
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
        memory_manager = config.USE_LLVMLITE_MEMORY_MANAGER  # the same as for Numba's own code
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=memory_manager)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        self._addresses: dict[str, int] = {name: engine.get_function_address(name)}
        engine.detach()  # without this, the code would be unloaded here

    def get_pointer_to_function(self, name: str) -> int:
        """Return the address of the function."""
        return self._addresses[name]


def use_cache(compiled: Any, cache: DiskCache) -> None:
    """Let a C function or a jitted function keep its machine code in a cache."""
    compiled._cache = cache


# ---- BLAS

load_library = llvm.load_library_permanently
"""Load the library at a path, so that compiled code finds its symbols. Raises RuntimeError if that fails."""

add_symbol = llvm.add_symbol
"""Define a symbol by a name and an address, so that compiled code finds it."""


@intrinsic  # type: ignore[untyped-decorator]
def address_of_number(typing_context: Any, number: Any) -> Any:
    """Copy a number to the stack and return the address of the copy."""

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


# ---- Tasks. A task is the address of a function and the address of its arguments. Another thread can call it.

_INT64, _POINTER = ir.IntType(64), cgutils.voidptr_t


@intrinsic  # type: ignore[untyped-decorator]
def make_task(typing_context: Any, body: Any, args: Any) -> Any:
    """Return the two addresses of a task.

    The first address is that of the task's function. The second address is that of a copy of `args` on the stack. The
    task's function calls `body(args, start, end)`. The argument `body` is a function that compiled code can call. Its
    attribute `options` holds the error model and the fastmath flags with which Numba compiles it. LLVM must not inline
    the task's function. Otherwise, the loops of `body` would be compiled again at each call.
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
    """Run a task on the range from `start` to `end`. `code` and `args` are the two addresses from `make_task`."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function_type, error = _task_type(context)
        function = builder.inttoptr(arguments[0], function_type.as_pointer())
        args_address = builder.inttoptr(arguments[1], _POINTER)
        error_address = cgutils.alloca_once(builder, error.pointee)
        builder.call(function, [_POINTER(None), error_address, args_address, *arguments[2:]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


def _task_type(context: Any) -> tuple[Any, Any]:
    """Return two LLVM types: the type of a task's function, and the type of its argument that points to an error.

    Every function compiled by Numba has the same first two arguments, a pointer to the result and a pointer to an
    error.
    """
    error = context.call_conv.get_function_type(types.none, ()).args[1]
    return ir.FunctionType(ir.IntType(32), [_POINTER, error, _POINTER, _INT64, _INT64]), error


# ---- Memory shared by the compiled code of all threads

_SYMBOL = "fastbp_slot"
_memory = np.zeros(16, np.int64)
shared_words = _memory[-_memory.ctypes.data // 8 % 8 :][:8]  # one cache line, which another core fetches as a whole
"""Eight 64-bit integers. Compiled code finds them by a symbol, because code with an address in it cannot be cached."""

llvm.add_symbol(_SYMBOL, shared_words.ctypes.data)


def _address_of_word(builder: Any, index: Any) -> Any:
    known = builder.module.globals
    base = known.get(_SYMBOL) or ir.GlobalVariable(builder.module, ir.ArrayType(_INT64, len(shared_words)), _SYMBOL)
    return builder.gep(base, [_INT64(0), index])


@intrinsic  # type: ignore[untyped-decorator]
def load_word(typing_context: Any, index: Any) -> Any:
    """Return the shared word at an index. The load is an acquire operation.

    Everything that another thread wrote before it stored this word is then visible.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_address_of_word(builder, arguments[0]), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def store_word(typing_context: Any, index: Any, value: Any) -> Any:
    """Store a value as the shared word at an index. The store is a release operation.

    Another thread that loads this word then also sees everything that was written before the word was stored.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _address_of_word(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def compare_and_swap_word(typing_context: Any, index: Any, old: Any, new: Any) -> Any:
    """Replace a shared word by `new` if it equals `old`. Return whether it was replaced.

    If several threads try this at the same time, only one of them succeeds.
    """

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


# ---- Arguments in memory. `fastbp_kernels.cpu.packed_arguments` writes them, and says how they are laid out.


class Sequence(types.Type):  # type: ignore[misc]
    """The type of a sequence of values of one type. It does not contain the length of the sequence."""

    def __init__(self, item: Any) -> None:
        self.item = item
        super().__init__(name=f"Sequence({item})")


class Packed(types.Type):  # type: ignore[misc]
    """The type of the address of packed arguments. `content` is the tuple type of the arguments."""

    def __init__(self, content: Any) -> None:
        self.content = content
        super().__init__(name=f"Packed({content})")


@register_model(Sequence)
class _SequenceModel(models.StructModel):  # type: ignore[misc]
    def __init__(self, manager: Any, sequence: Any) -> None:
        super().__init__(manager, sequence, [("address", types.int64), ("length", types.int64)])


@register_model(Packed)
class _PackedModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, packed: Any) -> None:
        super().__init__(manager, packed, _INT64)


def packed_size(kind: Any) -> int:
    """Return the number of words that a value of a type takes in packed arguments."""
    if isinstance(kind, types.BaseTuple):
        return sum(map(packed_size, kind))
    if isinstance(kind, types.Array):
        return 1 + int(kind.ndim)
    return 2 if isinstance(kind, Sequence) else 1


@intrinsic  # type: ignore[untyped-decorator]
def unpack(typing_context: Any, packed: Any) -> Any:
    """Return packed arguments as a tuple. The argument is their address."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(context, builder, packed.content, arguments[0])

    return packed.content(packed), codegen


@infer_global(operator.getitem)
class _ItemOfSequence(AbstractTemplate):  # type: ignore[misc]
    def generic(self, arguments: Any, named: Any) -> Any:
        sequence, index = arguments
        if isinstance(sequence, Sequence) and isinstance(index, types.Integer):
            return signature(sequence.item, sequence, types.intp)
        return None


@infer_global(len)
class _LengthOfSequence(AbstractTemplate):  # type: ignore[misc]
    def generic(self, arguments: Any, named: Any) -> Any:
        return signature(types.intp, *arguments) if isinstance(arguments[0], Sequence) else None


@lower_builtin(operator.getitem, Sequence, types.intp)  # type: ignore[untyped-decorator]
def _item_of_sequence(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    sequence = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
    index = arguments[1]
    from_the_end = builder.icmp_signed("<", index, _INT64(0))
    index = builder.select(from_the_end, builder.add(index, sequence.length), index)
    item = signature.args[0].item
    return _load(
        context, builder, item, builder.add(sequence.address, builder.mul(index, _INT64(8 * packed_size(item))))
    )


@lower_builtin(len, Sequence)  # type: ignore[untyped-decorator]
def _length_of_sequence(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0]).length


def _load(context: Any, builder: Any, kind: Any, address: Any) -> Any:
    """Load a packed value of a type from an address."""
    if isinstance(kind, types.BaseTuple):
        values, offset = [], 0
        for part in kind:
            values.append(_load(context, builder, part, builder.add(address, _INT64(8 * offset))))
            offset += packed_size(part)
        return context.make_tuple(builder, kind, values)
    pointer = builder.inttoptr(address, _INT64.as_pointer())
    words = [builder.load(builder.gep(pointer, [_INT64(i)])) for i in range(packed_size(kind))]
    if isinstance(kind, types.Array):
        return _array(context, builder, kind, words[0], words[1:])
    if isinstance(kind, Sequence):
        sequence = cgutils.create_struct_proxy(kind)(context, builder)
        sequence.address, sequence.length = words
        return sequence._getvalue()
    if isinstance(kind, types.FunctionType):
        function = cgutils.create_struct_proxy(kind)(context, builder)
        function.c_addr = builder.inttoptr(words[0], _POINTER)
        return function._getvalue()
    if isinstance(kind, types.Boolean):
        return builder.icmp_signed("!=", words[0], _INT64(0))
    return builder.bitcast(words[0], context.get_value_type(kind))


def _array(context: Any, builder: Any, kind: Any, data: Any, shape: list[Any]) -> Any:
    """Return a C-ordered array without an owner of its memory."""
    from numba.np.arrayobj import populate_array  # takes 0.05 s, and is not needed if the code is in the cache

    array = context.make_array(kind)(context, builder)
    itemsize = _INT64(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [itemsize]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(
        array,
        data=builder.inttoptr(data, context.get_data_type(kind.dtype).as_pointer()),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=itemsize,
        meminfo=None,
    )
    return array._getvalue()
