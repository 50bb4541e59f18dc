"""Specialize a formula in plain Python for a target (CPU or CUDA): replace its functions and convert its numbers.

`lower` copies a function. The copy has the same bytecode, but it calls the target's functions in place of the functions
of `fastbp_kernels.words`. The numbers in the copy have the dtype of the arrays. Functions that are called by a global
name or from a closure are copied too.

A copy cannot be imported, so Numba's cache identifies it by its value, including its code and constants. A formula is
therefore compiled again after it is edited. An importable function would be identified by its name only. After an edit,
it would still get its old machine code.
"""

import dis
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from types import CellType, CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

Function = Callable[..., Any]


class FormulaError(ValueError):
    """A formula cannot be compiled. The message is one line. It names the formula and gives the reason."""


def lower(
    function: Function,
    decorate: Callable[[Function], Function],
    words: Mapping[Function, Function] = MappingProxyType({}),
    number: Callable[[float], Any] = float,
) -> Function:
    """Return a copy of a function for a target. The functions that it calls are copied too.

    The copy calls the target's functions, and its numbers have the target's type.

    `decorate` is applied to each copy of a called function. It may be Numba's `register_jitable`, for example. `words`
    maps functions to their replacements on the target. `number` converts each float in the code to the target's type.
    If `function` itself is in `words`, its replacement is returned instead of a copy. Raises `FormulaError` if a
    function is not plain Python or is recursive.

    >>> def half(z):
    ...     return 0.5 * z
    >>> import numpy as np
    >>> lower(half, decorate=lambda f: f, number=np.float32)(np.float32(3)).dtype
    dtype('float32')
    """
    return words[function] if function in words else _lower(function, decorate, words, number, ())


def _lower(
    function: Function,
    decorate: Callable[[Function], Function],
    words: Mapping[Function, Function],
    number: Callable[[float], Any],
    callers: tuple[Function, ...],
) -> Function:
    if not isinstance(function, FunctionType):
        kind = type(function).__name__
        raise FormulaError(f"formulas, and what they call, must be plain Python functions, got {function!r}, a {kind}")
    if function in callers:
        raise FormulaError(f"{function.__qualname__} calls itself; a formula must not be recursive")

    called: tuple[Function, ...] = (*callers, function)

    def specialized(value: Any) -> Any:
        if isinstance(value, float):
            return number(value)
        if isinstance(value, ModuleType) and value.__name__ not in ("math", "numpy"):
            # Numba's cache would identify the module by its name, and would not notice an edited constant in it.
            module = value.__name__
            raise FormulaError(f"{function.__qualname__} reads {module}.…; import the names: from {module} import …")
        if isinstance(value, FunctionType):
            return words[value] if value in words else decorate(_lower(value, decorate, words, number, called))
        return value

    used = global_names(function.__code__)
    return FunctionType(
        _with_numbers(function.__code__, number),
        {name: specialized(value) for name, value in function.__globals__.items() if name in used}
        | {"__name__": function.__module__},  # without this name, the next process cannot load cached code
        function.__name__,
        tuple(map(specialized, function.__defaults__ or ())),
        tuple(CellType(specialized(cell.cell_contents)) for cell in function.__closure__ or ()),
    )


def fingerprint(function: Function) -> Hashable:
    """Return a value that identifies a function by its code, its constants and the functions that it calls.

    Two functions have equal values if their code, their constants and the functions that they call are equal.

    >>> fingerprint(lambda z: 2.0 * z) == fingerprint(lambda z: 2.0 * z) != fingerprint(lambda z: 3.0 * z)
    True
    """
    return _fingerprint(function, ())


class Content:
    """The content of one or more functions, when `content_of` was called. Equal content is the same object."""

    __slots__ = ("__weakref__",)


_contents: WeakValueDictionary[Hashable, Content] = WeakValueDictionary()


def content_of(*functions: Function) -> Content:
    """Return an object that is the same for functions with equal fingerprints, as long as one of them is in use.

    It can be compared and hashed at once, whereas a fingerprint takes several microseconds.

    >>> twice = content_of(lambda z: 2.0 * z)
    >>> twice is content_of(lambda z: 2.0 * z), twice is content_of(lambda z: 3.0 * z)
    (True, False)
    """
    return _contents.setdefault(tuple(map(fingerprint, functions)), Content())


def _fingerprint(value: Any, callers: tuple[Any, ...]) -> Hashable:
    if isinstance(value, CodeType):
        return value.co_code, value.co_names, tuple(_fingerprint(constant, callers) for constant in value.co_consts)
    if isinstance(value, FunctionType) and value not in callers:
        names = sorted(global_names(value.__code__) & value.__globals__.keys())
        cells = (cell.cell_contents for cell in value.__closure__ or ())
        parts = (value.__code__, *(value.__globals__[name] for name in names), *(value.__defaults__ or ()), *cells)
        return tuple(_fingerprint(part, (*callers, value)) for part in parts)
    if isinstance(value, (int, float, np.generic)):
        return type(value), repr(value)  # 1 equals 1.0, and 0.0 equals −0.0, but results can differ
    if isinstance(value, tuple):
        return tuple(_fingerprint(part, callers) for part in value)
    if isinstance(value, Hashable):
        return value
    return object()  # this is equal to nothing else, because a mutable value may have changed


@lru_cache(maxsize=1024)  # equal code shares one entry; without the cache, a network's formulas take 1.5 ms
def global_names(code: CodeType) -> frozenset[str]:
    """Return the names of the global variables read by a code object and by the functions defined inside it."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    inner = (global_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(own.union(*inner))


def _with_numbers(code: CodeType, number: Callable[[float], Any]) -> CodeType:
    def typed(constant: Any) -> Any:
        if isinstance(constant, CodeType):
            return _with_numbers(constant, number)
        return number(constant) if isinstance(constant, float) else constant

    return code.replace(co_consts=tuple(typed(constant) for constant in code.co_consts))
