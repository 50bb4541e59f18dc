"""Every private interface of Numba and llvmlite that fastbp uses is there and behaves as fastbp expects.

A failure names the interface and the versions. fastbp_kernels/numba_private.py is where to adapt fastbp to a new
release; it is imported within the tests, so that one missing name does not hide what else has changed.
"""

import ast
import ctypes
import importlib
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import llvmlite
import numba
import numpy as np
import pytest
from numba import cfunc, njit, types

ROOT = Path(__file__).parents[2]


@contextmanager
def interface(name):
    """Turn any error within the block into a failure that names a private interface and the versions."""
    try:
        yield
    except Exception as error:
        versions = f"Numba {numba.__version__}, llvmlite {llvmlite.__version__}"
        pytest.fail(f"{name} is gone or has changed in {versions}: {type(error).__name__}: {error}")


NAMES = [
    "numba.core.caching.FunctionCache",
    "numba.core.caching.IndexDataCacheFile",
    "numba.core.ccallback.CFunc",
    "numba.core.cgutils.create_struct_proxy",
    "numba.core.cgutils.pack_array",
    "numba.core.typing.signature",
    "numba.core.typing.templates.AbstractTemplate",
    "numba.core.typing.templates.infer_global",
    "numba.extending.lower_builtin",
    "numba.extending.models",
    "numba.np.arrayobj.populate_array",
    "numba.core.cgutils.alloca_once",
    "numba.core.cgutils.alloca_once_value",
    "numba.core.cgutils.get_item_pointer",
    "numba.core.cgutils.get_or_insert_function",
    "numba.core.cgutils.voidptr_t",
    "numba.core.compiler.Flags",
    "numba.core.compiler_lock.global_compiler_lock",
    "numba.core.cpu_options.FastMathOptions",
    "numba.core.dispatcher.Dispatcher",
    "numba.core.errors.TypingError",
    "numba.core.typing.typeof.typeof_impl",
    "numba.types.ExternalFunction",
    "numba.types.WrapperAddressProtocol",
    "llvmlite.binding.add_symbol",
    "llvmlite.binding.load_library_permanently",
    "llvmlite.ir.IRBuilder.cmpxchg",
    "llvmlite.ir.IRBuilder.load_atomic",
    "llvmlite.ir.IRBuilder.store_atomic",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_exists(name):
    with interface(name):
        parts, found = name.split("."), None
        for i in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:i]))
            except ModuleNotFoundError:
                continue
            break
        for part in parts[i:]:
            found = getattr(found, part)


def test_only_one_file_imports_private_modules():
    found = []
    for folder in ("fastbp", "kernels", "benchmarks", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Import):
                    modules = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module:
                    modules = [f"{node.module}.{alias.name}" for alias in node.names]
                else:
                    continue
                if any(f"{module}.".startswith(("numba.core.", "llvmlite.")) for module in modules):
                    found.append(path.name)
    assert set(found) == {"numba_private.py"}


# ---- Compiling, and compiled code on disk


def double(x):
    x[0] = 2.0 * x[0]


POINTER = types.void(types.CPointer(types.float64))


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path / "cache"))


def test_a_function_cache_has_a_path_a_name_a_stamp_and_replaceable_files(cache_folder):
    with interface("numba.core.caching.FunctionCache (_impl, _cache_path, _cache_file)"):
        from fastbp_kernels.numba_private import CacheFiles, DiskCache

        made = []

        def make_files(*arguments):
            made.append(arguments)
            return CacheFiles(*arguments)

        cache = DiskCache(double, make_files)
        ((folder, name, stamp),) = made
        assert folder == cache.cache_path
        assert "double" in name
        assert stamp == cache._impl.locator.get_source_stamp()
        assert isinstance(cache._cache_file, CacheFiles)


def test_cache_files_are_replaced_as_a_whole(tmp_path):
    with interface("numba.core.caching.IndexDataCacheFile (_version, _source_stamp, _dump, _open_for_write)"):
        from fastbp_kernels.numba_private import CacheFiles

        files, path = CacheFiles(str(tmp_path), "name", "stamp"), tmp_path / "file"
        assert files.folder() == str(tmp_path)
        assert files.versions() == (numba.__version__, "stamp")
        path.write_bytes(b"before")
        with files.open_to_replace(str(path)) as file:
            file.write(files.pickled([1, 2]))
            assert path.read_bytes() == b"before"
        assert importlib.import_module("pickle").loads(path.read_bytes()) == [1, 2]
        assert callable(files.load)
        assert callable(files.save)


def test_the_machine_code_of_a_c_function_is_kept_and_loaded_without_the_rest(cache_folder):
    with interface(
        "numba.core.caching.FunctionCache (_index_key), CompileResult.library and llvmlite's execution engine"
    ):
        from fastbp_kernels.numba_private import CacheFiles, CFunction, CFunctionCache, use_cache

        class Files(CacheFiles):
            saved = {}  # noqa: RUF012 (shared by the two functions below)

            def load(self, key):
                return self.saved.get(key)

            def save(self, key, data):
                self.saved[key] = data

        x = np.array([1.5])
        for _ in range(2):  # compiled, then loaded
            function = CFunction(double, (POINTER.args, types.void), locals={}, options={})
            use_cache(function, CFunctionCache(double, Files))
            function._cache.load_overload = function._cache.load_code
            function._cache.save_overload = function._cache.save_code
            function.compile()
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(function.address)(x.ctypes.data)
        assert x[0] == 6.0
        ((code, name),) = Files.saved.values()
        assert isinstance(code, bytes)
        assert function.native_name == name
        assert function.cache_hits == 1


class Recorder:
    """A cache that records the calls of Numba."""

    def __init__(self):
        self.calls = []

    def load_overload(self, signature, target_context):
        self.calls.append("load")

    def save_overload(self, signature, data):
        self.calls.append("save")


def test_a_c_function_and_a_jitted_function_use_the_cache_they_are_given():
    with interface("_cache of numba.core.ccallback.CFunc and of numba.core.dispatcher.Dispatcher"):
        from fastbp_kernels.numba_private import CFunction, use_cache

        function = CFunction(double, (POINTER.args, types.void), locals={}, options={})
        jitted, caches = njit(double), [Recorder(), Recorder()]
        use_cache(function, caches[0])
        use_cache(jitted, caches[1])
        function.compile()
        jitted.compile((types.float64[::1],))
        assert [cache.calls for cache in caches] == [["load", "save"]] * 2


def test_a_c_function_has_an_address_and_a_signature():
    with interface("numba.core.ccallback.CFunc (its arguments, compile, address, _sig)"):
        from fastbp_kernels.numba_private import CFunction

        function = CFunction(double, (POINTER.args, types.void), locals={}, options={})
        function.compile()
        x = np.array([3.0])
        function.ctypes(x.ctypes.data_as(function.ctypes.argtypes[0]))
        assert x[0] == 6.0
        assert function.address != 0
        assert function.numba_signature() == POINTER


def test_a_kernel_is_typed_by_its_registered_function_and_called_by_its_address():
    with interface("numba.core.typing.typeof.typeof_impl and numba.types.WrapperAddressProtocol"):
        from fastbp_kernels.cpu.jit_cache import Kernel

        array = types.float64[::1]
        kernel = Kernel(double, ((array,), types.void), locals={}, options={})
        kernel.compile()
        x = np.array([3.0])
        njit(lambda kernel, x: kernel(x))(kernel, x)
        assert x[0] == 6.0
        assert numba.typeof(kernel) is kernel.type_of_function


def llvm_of(**options):
    jitted = njit(lambda x: x, **options)
    jitted.compile((types.float64[::1],))
    return next(iter(jitted.inspect_llvm().values()))


def test_code_without_reference_counts_does_not_call_the_runtime():
    with interface('the option "_nrt"'):
        from fastbp_kernels.numba_private import NO_REFERENCE_COUNTS

        def function(x):
            x[0] = 2.0

        with_counts = cfunc(types.void(types.float64[::1]))(function)
        assert "NRT_" in with_counts.inspect_llvm() or "NRT_" in llvm_of()
        without = cfunc(types.void(types.float64[::1]), **NO_REFERENCE_COUNTS)(function)
        assert "NRT_" not in without.inspect_llvm()


def test_inlined_functions_have_no_wrappers():
    with interface("the options no_cpython_wrapper and no_cfunc_wrapper"):
        from fastbp_kernels.numba_private import INLINED_OPTIONS

        usual, bare = llvm_of(), llvm_of(**INLINED_OPTIONS)
        assert "@_ZN7cpython" in usual
        assert "@cfunc." in usual
        assert "@_ZN7cpython" not in bare
        assert "@cfunc." not in bare


def test_a_compiling_function_is_on_the_stack_during_a_compilation():
    def code_on_stack(compiled):
        """Return the code of all frames while Numba compiles a function."""
        seen = set()

        @numba.extending.intrinsic
        def note(typing_context):
            frame = sys._getframe()
            while frame is not None:
                seen.add(frame.f_code)
                frame = frame.f_back
            return types.void(), lambda context, builder, signature, arguments: context.get_dummy_value()

        compiled(lambda: note())
        return seen

    with interface("CFunc.compile and Dispatcher.compile as Python functions"):
        from fastbp_kernels.numba_private import compiler_code

        assert len(compiler_code()) == 2
        assert len(code_on_stack(cfunc(types.void())) & compiler_code()) == 1
        assert len(code_on_stack(njit(types.void())) & compiler_code()) == 1


def test_the_compiler_lock_can_be_held():
    with interface("numba.core.compiler_lock.global_compiler_lock (acquire, release)"):
        from numba.core.compiler_lock import global_compiler_lock

        global_compiler_lock.acquire()
        try:
            assert global_compiler_lock.is_locked()
        finally:
            global_compiler_lock.release()


# ---- BLAS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_function_behind_matrix_products(dtype, rng):
    with interface("llvmlite.binding.add_symbol, and types.ExternalFunction"):
        from fastbp_kernels.cpu.blas_library import product_address
        from fastbp_kernels.numba_private import add_symbol, address_of_entry, address_of_number

        symbol, real = {"float32": "sgemm", "float64": "dgemm"}[dtype], np.dtype(dtype).type
        add_symbol(f"test_{symbol}", product_address(symbol))
        gemm = types.ExternalFunction(f"test_{symbol}", types.void(*[types.voidptr] * 13))

        @njit
        def multiply(a, b, c):  # C ← 2 Aᵀ B + 3 C, given the transposes of all three
            as_it_is, transposed = address_of_number(np.uint8(78)), address_of_number(np.uint8(84))
            m, n = address_of_number(np.int32(c.shape[1])), address_of_number(np.int32(c.shape[0]))
            k = address_of_number(np.int32(a.shape[0]))
            alpha, beta = address_of_number(real(2)), address_of_number(real(3))
            a_, b_, c_ = address_of_entry(a, 0, 0), address_of_entry(b, 0, 0), address_of_entry(c, 0, 0)
            gemm(as_it_is, transposed, m, n, k, alpha, a_, m, b_, n, beta, c_, m)

        a, b, c = (rng.standard_normal(shape).astype(dtype) for shape in ((4, 2), (4, 3), (3, 2)))
        expected = 2 * b.T @ a + 3 * c
        multiply(a, b, c)
        np.testing.assert_allclose(c, expected, rtol=1e-5)


def test_addresses_of_numbers_and_entries():
    with interface("numba.core.cgutils and context.make_array in an intrinsic"):
        from fastbp_kernels.numba_private import address_of_entry, address_of_number

        @njit
        def read(matrix, i, j):
            entry = numba.carray(address_of_entry(matrix, i, j), 2, np.float64)
            number = numba.carray(address_of_number(5.0), 1, np.float64)
            return entry[0], entry[1], number[0]

        assert read(np.arange(12.0).reshape(3, 4), 1, 2) == (6.0, 7.0, 5.0)


def test_a_library_that_cannot_be_loaded_is_a_runtime_error(tmp_path):
    with interface("llvmlite.binding.load_library_permanently"):
        from fastbp_kernels.numba_private import load_library

        with pytest.raises(RuntimeError):
            load_library(str(tmp_path / "missing.so"))


# ---- Tasks and shared memory


def test_a_task_is_compiled_with_the_options_of_its_body():
    """The error model "numpy" divides by zero without an exception."""
    name = (
        "typing_key, Flags, FastMathOptions, compile_subroutine(flags=), call_internal_no_propagate, get_function_type"
    )
    with interface(name):
        from fastbp_kernels.cpu.vector_math import MATH
        from fastbp_kernels.cpu.work_sharing import range_body
        from fastbp_kernels.numba_private import call_task, make_task

        @range_body(MATH)
        def divide(args, start, end):
            x, divisor = args
            for i in range(start, end):
                x[i] /= divisor

        @njit
        def run(x, divisor):
            code, args = make_task(divide, (x, divisor))
            call_task(code, args, 1, 3)

        x = np.ones(4)
        run(x, 0.0)
        assert x.tolist() == [1.0, np.inf, np.inf, 1.0]
        code = next(iter(run.inspect_llvm().values()))
        assert "fdiv nsz contract" in code or "fdiv contract nsz" in code


def test_shared_words_are_found_by_their_symbol():
    with interface("llvmlite.binding.add_symbol; IRBuilder.load_atomic, store_atomic"):
        from fastbp_kernels.numba_private import load_word, shared_words, store_word

        @njit
        def double_word(i):
            store_word(i, 2 * load_word(i))

        shared_words[7] = 21
        double_word(7)
        assert shared_words[7] == 42
        shared_words[7] = 0
        assert shared_words.ctypes.data % 64 == 0
        assert shared_words.nbytes == 64


def test_a_shared_word_is_swapped_only_if_it_has_the_old_value():
    with interface("IRBuilder.cmpxchg"):
        from fastbp_kernels.numba_private import compare_and_swap_word, shared_words

        swap = njit(lambda i, old, new: compare_and_swap_word(i, old, new))
        shared_words[7] = 1
        assert not swap(7, 2, 3)
        assert shared_words[7] == 1
        assert swap(7, 1, 3)
        assert shared_words[7] == 3
        shared_words[7] = 0


def test_a_polling_thread_can_pause():
    from fastbp_kernels.cpu.work_sharing import AVAILABLE

    if not AVAILABLE:
        pytest.skip("there is no worker on this platform")
    with interface("numba.core.cgutils.get_or_insert_function and llvm.x86.sse2.pause"):
        from fastbp_kernels.numba_private import pause

        njit(lambda: pause())()


class Pair(NamedTuple):
    matrices: tuple
    number: int


def test_packed_arguments_of_every_kind_arrive():
    with interface("the types Sequence and Packed: models, infer_global, lower_builtin, populate_array"):
        from numba.extending import register_jitable

        from fastbp_kernels.cpu.jit_cache import compiled_kernel
        from fastbp_kernels.cpu.packed_arguments import PackedCall

        def double(a):
            for i in range(a.shape[0]):
                a[i] *= 2.0

    vector = types.Array(types.float64, 1, "C")
    kernel = compiled_kernel(double, types.void(vector))

    @register_jitable
    def work(pair, function, flag, n, x, out):
        function(out)
        last = pair.matrices[-1]
        if flag:
            out[0] += last[1, 2] + pair.matrices[0][0, 0] + len(pair.matrices) + n * x

    matrices = (np.full((1, 1), 3.0), np.arange(6.0).reshape(2, 3))
    out = np.array([5.0])
    call = PackedCall(work, Pair(matrices, 7), kernel, True, -2, 0.5, out)
    call()
    assert out[0] == 10 + 5 + 3 + 2 - 1
    call.replace([matrices[0]], [np.full((1, 1), 4.0)])
    call.set_number(3, 4)
    call.set_number(4, 0.25)
    call()
    assert out[0] == 38 + 5 + 4 + 2 + 1
