"""A kernel's work in two halves, of which a second thread takes one if it is there and free.

One job at a time stands on a board, an array that compiled code knows by its symbol. The kernel offers the second half,
does the first, and then takes the offer back if nobody took it up; else it waits till that is done. So nothing hangs
on the second thread: where the system gives it no time, the kernel does both. An offer that is taken up costs 0.2 µs.

What is cut where depends on whether a second thread is `PRESENT`, but not on whether kernels are `OFFERING` and who did
it in the end: the same number of threads gives the same bits.
"""

import platform
import sys
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler import Flags
from numba.core.cpu_options import FastMathOptions
from numba.extending import intrinsic, register_jitable

from fastbp_kernels.compile_events import INLINED_OPTIONS

AVAILABLE = sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")  # where this has been tried

PRESENT, OFFERING, STATE, CODE, GIVEN, START, END = range(7)  # the places of the board
IDLE, CHANGING, OFFERED, TAKEN, DONE = range(5)  # the states of the job

_memory = np.zeros(16, np.int64)
board = _memory[-_memory.ctypes.data // 8 % 8 :][:8]  # one line of the cache, which comes to the other thread at once
llvm.add_symbol("fastbp_board", board.ctypes.data)

_PATIENCE = 2000  # looks at the board, some 50 µs, before others are let in on this processor
_leave_to_others = types.ExternalFunction("sched_yield", types.intc())
_INT64, _POINTER = ir.IntType(64), cgutils.voidptr_t
Part = Callable[[Any, Any, Any], None]


def part(options: dict[str, Any]) -> Callable[[Part], Part]:
    """Mark a function of what is `given`, a start and an end as one that may be done in halves; options are Numba's."""
    error_model, fastmath = options["error_model"], sorted(options["fastmath"])  # a set's order is each process's own,

    def marked(function: Part) -> Part:
        function.options = error_model, fastmath  # type: ignore[attr-defined] # and these are in the keys of the cache
        return register_jitable(function)  # type: ignore[no-any-return]

    return marked


@register_jitable(**INLINED_OPTIONS)  # type: ignore[untyped-decorator]
def _at_once(code: Any, given: Any, n: Any, worth: Any) -> None:
    _call(code, given, 0, n)


@register_jitable(**INLINED_OPTIONS)  # type: ignore[untyped-decorator]
def _offered(code: Any, given: Any, n: Any, worth: Any) -> None:
    middle = n
    if worth and _read(PRESENT) != 0:
        unit = 1 if n <= 32 else 3 if n < 256 else 16  # where there are more, of rows of a tile, or a line of the cache
        middle = ((n + 1) // 2 + unit - 1) // unit * unit
    offers = middle < n and _read(OFFERING) != 0 and _swap(IDLE, CHANGING)
    if offers:
        _write(CODE, code)
        _write(GIVEN, given)
        _write(START, middle)
        _write(END, n)
        _write(STATE, OFFERED)
    _call(code, given, 0, middle)
    if middle < n:
        if not offers or _swap(OFFERED, CHANGING):
            _call(code, given, middle, n)
        else:
            looks = 0
            while _read(STATE) != DONE:
                looks += 1
                if looks < _PATIENCE:
                    _pause()
                else:
                    _leave_to_others()
    if offers:
        _write(STATE, IDLE)


in_halves = _offered if AVAILABLE else _at_once  # which names neither the board nor the system's functions
"""(code, given, n, worth): do a `job` from 0 to n, at once, or, where it is `worth` the offer, in two halves."""


def serve() -> None:
    """Take up what is offered, as long as a second thread is to be present; to be compiled, for that thread to run."""
    looks = 0
    while _read(PRESENT) != 0:
        if _read(STATE) == OFFERED and _swap(OFFERED, TAKEN):
            _call(_read(CODE), _read(GIVEN), _read(START), _read(END))
            _write(STATE, DONE)
            looks = 0
        elif looks < _PATIENCE:
            looks += 1
            _pause()
        else:
            _leave_to_others()


@intrinsic  # type: ignore[untyped-decorator]
def job(typing_context: Any, part: Any, given: Any) -> Any:
    """Return the addresses of a compiled function that calls a part, and of what is given to it, in the caller's frame.

    The function stays one: inlined wherever it is called, a tile's loops would be compiled as often.
    """
    signature = types.void(given, types.int64, types.int64)

    def lowered(context: Any, builder: Any, own_signature: Any, arguments: Any) -> Any:
        module, (function_type, _) = builder.module, _job_type(context)
        function = ir.Function(module, function_type, module.get_unique_name("fastbp_job"))
        function.linkage = "internal"
        function.attributes.add("noinline")
        *_, place, start, end = function.args
        body = ir.IRBuilder(function.append_basic_block())
        unpacked = body.load(body.bitcast(place, context.get_value_type(given).as_pointer()))
        (error_model, fastmath), flags = part.typing_key.options, Flags()
        flags.error_model, flags.fastmath = error_model, FastMathOptions(set(fastmath))
        compiled = context.compile_subroutine(builder, part.typing_key, signature, flags=flags)
        context.call_internal_no_propagate(body, compiled.fndesc, signature, [unpacked, start, end])
        body.ret(ir.IntType(32)(0))
        here = cgutils.alloca_once_value(builder, arguments[1])
        addresses = [builder.ptrtoint(function, _INT64), builder.ptrtoint(here, _INT64)]
        return context.make_tuple(builder, own_signature.return_type, addresses)

    return types.UniTuple(types.int64, 2)(part, given), lowered


@intrinsic  # type: ignore[untyped-decorator]
def _call(typing_context: Any, code: Any, given: Any, start: Any, end: Any) -> Any:
    """Call the function of a job."""

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function_type, error = _job_type(context)
        function = builder.inttoptr(arguments[0], function_type.as_pointer())
        place = builder.inttoptr(arguments[1], _POINTER)
        builder.call(function, [_POINTER(None), cgutils.alloca_once(builder, error.pointee), place, *arguments[2:]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), lowered


def _job_type(context: Any) -> tuple[Any, Any]:
    """Return the LLVM type of a job's function, which begins as Numba's own do, and that of its place for errors."""
    error = context.call_conv.get_function_type(types.none, ()).args[1]
    return ir.FunctionType(ir.IntType(32), [_POINTER, error, _POINTER, _INT64, _INT64]), error


def _place(builder: Any, index: Any) -> Any:
    """Return the address of one of the board's places."""
    name, known = "fastbp_board", builder.module.globals
    base = known.get(name) or ir.GlobalVariable(builder.module, ir.ArrayType(_INT64, len(board)), name)
    return builder.gep(base, [_INT64(0), index])


@intrinsic  # type: ignore[untyped-decorator]
def _read(typing_context: Any, index: Any) -> Any:
    """Return what stands in a place, and see all that was written before it."""

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_place(builder, arguments[0]), "acquire", 8)

    return types.int64(types.int64), lowered


@intrinsic  # type: ignore[untyped-decorator]
def _write(typing_context: Any, index: Any, value: Any) -> Any:
    """Write into a place, for others to see after all that was written before."""

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _place(builder, arguments[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), lowered


@intrinsic  # type: ignore[untyped-decorator]
def _swap(typing_context: Any, old: Any, new: Any) -> Any:
    """Change the state from one to another; return whether it was the first, of which one thread alone is told so."""

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        both = builder.cmpxchg(_place(builder, _INT64(STATE)), *arguments, "acq_rel", "monotonic")
        return builder.extract_value(both, 1)

    return types.boolean(types.int64, types.int64), lowered


@intrinsic  # type: ignore[untyped-decorator]
def _pause(typing_context: Any) -> Any:
    """Tell the processor that this is a loop which waits."""

    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), lowered
