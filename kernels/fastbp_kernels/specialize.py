"""Lowering: give a plain Python formula the meaning that a compiled target has for its words and numbers.

A lowered function is a copy: the same bytecode, with the target's functions in the words' place and its numbers in the
type of the arrays. What it calls, by a global name or from a closure, is lowered too. The copies cannot be imported, so
Numba's cache keys them by value, code and constants included: an edited formula is compiled anew, where an importable
function would be known by name alone and answered with its old machine code.
"""

import dis
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from types import CellType, CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

import numpy as np

Function = Callable[..., Any]


class FormulaError(ValueError):
    """A formula that cannot be compiled; the message says which and why, in one line."""


def lower(
    function: Function,
    decorate: Callable[[Function], Function],
    words: Mapping[Function, Function] = MappingProxyType({}),
    number: Callable[[float], Any] = float,
) -> Function:
    """Return a copy of a function in which a target's words and numbers stand, and lowered copies of what it calls.

    `decorate` marks the copies that are called (Numba's `register_jitable`, say); `words` maps a word to the target's
    function; `number` makes a constant of the target's type from each float in the code. Raises `FormulaError` if a
    function is not plain Python or calls itself. A word itself becomes the target's.

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
        raise FormulaError(f"{function!r} is a {type(function).__name__}, and only plain Python functions are compiled")
    if function in callers:
        raise FormulaError(f"{function.__qualname__} calls itself, and a formula may not")

    called: tuple[Function, ...] = (*callers, function)

    def meaning(value: Any) -> Any:
        if isinstance(value, float):
            return number(value)
        if isinstance(value, ModuleType) and value.__name__ not in ("math", "numpy"):
            # Numba's cache would know it by name, and an edited constant of it not at all.
            module = value.__name__
            raise FormulaError(
                f"{function.__qualname__} reads {module}.…; wanted is the name alone: from {module} import …"
            )
        if isinstance(value, FunctionType):
            return words[value] if value in words else decorate(_lower(value, decorate, words, number, called))
        return value

    used = global_names(function.__code__)
    return FunctionType(
        _with_numbers(function.__code__, number),
        {name: meaning(value) for name, value in function.__globals__.items() if name in used}
        | {"__name__": function.__module__},  # without it the next process cannot load what was cached
        function.__name__,
        tuple(map(meaning, function.__defaults__ or ())),
        tuple(CellType(meaning(cell.cell_contents)) for cell in function.__closure__ or ()),
    )


def fingerprint(function: Function) -> Hashable:
    """Return what a function computes by, to tell whether two of them are the same: code, numbers, and what it calls.

    >>> fingerprint(lambda z: 2.0 * z) == fingerprint(lambda z: 2.0 * z) != fingerprint(lambda z: 3.0 * z)
    True
    """
    return _fingerprint(function, ())


def _fingerprint(value: Any, callers: tuple[Any, ...]) -> Hashable:
    if isinstance(value, CodeType):
        return value.co_code, value.co_names, tuple(_fingerprint(constant, callers) for constant in value.co_consts)
    if isinstance(value, FunctionType) and value not in callers:
        names = sorted(global_names(value.__code__) & value.__globals__.keys())
        cells = (cell.cell_contents for cell in value.__closure__ or ())
        parts = (value.__code__, *(value.__globals__[name] for name in names), *(value.__defaults__ or ()), *cells)
        return tuple(_fingerprint(part, (*callers, value)) for part in parts)
    if isinstance(value, (int, float, np.generic)):
        return type(value), repr(value)  # 1 and 1.0, 0.0 and −0.0 are equal, and not the same here
    if isinstance(value, tuple):
        return tuple(_fingerprint(part, callers) for part in value)
    if isinstance(value, Hashable):
        return value
    return object()  # equal to nothing: what can change in place is never known to be what it was


@lru_cache(maxsize=1024)  # code is equal where it does the same; to look into it takes 1.5 ms for a network's formulas
def global_names(code: CodeType) -> frozenset[str]:
    """Return the names of the globals that code reads, functions within it included."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    inner = (global_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(own.union(*inner))


def _with_numbers(code: CodeType, number: Callable[[float], Any]) -> CodeType:
    def typed(constant: Any) -> Any:
        if isinstance(constant, CodeType):
            return _with_numbers(constant, number)
        return number(constant) if isinstance(constant, float) else constant

    return code.replace(co_consts=tuple(typed(constant) for constant in code.co_consts))
