"""What each instruction computes, lane by lane (PTX ISA, "Instruction Set").

Taken from the sections Integer Arithmetic, Floating Point, Comparison and Selection, Logic and Shift, and of Data
Movement and Conversion `mov`, `cvt`, `cvta`. Not modelled is the error of `.approx` and `.full`: those results are
computed in float64 and rounded once. A modifier or type that a rule does not name makes the instruction unknown.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .errors import PTXError
from .rounding import fused, narrowed
from .types import TYPES, Array, bits_of

Compute = Callable[..., Array]

ROUNDINGS = frozenset({"rn", "rz", "rm", "rp"})
TO_WHOLE: dict[str, Compute] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
WIDER = {"s16": "s32", "u16": "u32", "s32": "s64", "u32": "u64"}
ORDERED = {"eq": np.equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
UNSIGNED_ORDER = {"lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal}
LOGIC = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


@dataclass(frozen=True)
class Operation:
    """A function of arrays of the PTX types `sources` that gives an array of the PTX type `result`."""

    compute: Compute
    sources: tuple[str, ...]
    result: str


@dataclass(frozen=True)
class Words:
    """A mnemonic taken apart: fma.rn.ftz.f32 is the name fma, the modifiers rn and ftz, the type f32."""

    name: str
    modifiers: frozenset[str]
    types: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The letter of the last type: u, s, b, f, or p of pred."""
        return self.types[-1][0]

    def only(self, *allowed: str) -> bool:
        return self.modifiers <= set(allowed)


def operation_of(mnemonic: str) -> Operation:
    """Return what a mnemonic computes; raises `PTXError` that names it where that is not known."""
    name, *rest = mnemonic.split(".")
    types = tuple(word for word in rest if word in TYPES)
    words = Words(name, frozenset(word for word in rest if word not in TYPES), types)
    operation = None
    if len(types) == 1:
        rules = _FLOAT_RULES if words.kind == "f" else _INTEGER_RULES
        operation = rules.get(name, _unknown)(words) or _ANY_TYPE_RULES.get(name, _unknown)(words)
    elif name == "cvt" and len(types) == 2:
        operation = _convert(words)
    if operation is None or len(words.modifiers) + len(types) != len(rest):
        raise PTXError(f"unknown instruction {mnemonic}")
    return operation


def _unknown(words: Words) -> None:
    return None


def _uniform(compute: Compute, words: Words, count: int) -> Operation:
    """An operation all of whose operands have the instruction's one type."""
    return Operation(compute, words.types * count, words.types[0])


# Floating point


def _flushed(x: Array) -> Array:
    """Return float32 with subnormal numbers replaced by zeros of their sign; another type as it is."""
    if x.dtype != np.float32:
        return x
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)


def _clamped(x: Array) -> Array:
    """Return x within [0, 1], NaN as 0: the modifier .sat."""
    return np.where(x > 0, np.minimum(x, x.dtype.type(1)), x.dtype.type(0))


def _modified(compute: Compute, words: Words) -> Compute:
    """Put the modifiers .ftz (operands and result) and .sat (result) around a function."""

    def modified(*operands: Array) -> Array:
        if "ftz" in words.modifiers:
            result = compute(*map(_flushed, operands))
            result = _flushed(result) if result.dtype.kind == "f" else result
        else:
            result = compute(*operands)
        return _clamped(result) if "sat" in words.modifiers else result

    return modified if words.modifiers & {"ftz", "sat"} else compute


def _rounded(words: Words) -> Operation | None:
    """add, sub, mul, fma: each is a fused multiply-add where it is not rounded to nearest."""
    mode = next(iter(words.modifiers & ROUNDINGS), "rn")
    single = words.types[0] == "f32"
    allowed = words.only(*ROUNDINGS, "ftz", "sat") if single else words.only("rn")
    if not allowed or len(words.modifiers & ROUNDINGS) > 1:
        return None
    if words.name == "fma":
        return _uniform(_modified(partial(fused, mode=mode), words), words, 3)
    nearest = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
    directed = {
        "add": lambda a, b: fused(a, np.ones_like(a), b, mode),
        "sub": lambda a, b: fused(a, np.ones_like(a), -b, mode),
        "mul": lambda a, b: fused(a, b, np.full_like(a, -0.0), mode),
    }
    return _uniform(_modified((nearest if mode == "rn" else directed)[words.name], words), words, 2)


def _approximate_quotient(a: Array, b: Array) -> Array:
    """a/b, save that a divisor within (2¹²⁶, 2¹²⁸) gives 0, and NaN for an infinite a: div.approx."""
    huge = (np.abs(b) > 2.0**126) & np.isfinite(b)
    with_sign = np.copysign(np.float32(0), a) * np.sign(b)
    return np.where(huge, np.where(np.isfinite(a), with_sign, np.float32(np.nan)), a / b)


def _divide(words: Words) -> Operation | None:
    if words.only("rn") or (words.types[0] == "f32" and words.only("rn", "full", "ftz")):
        return _uniform(_modified(np.divide, words), words, 2)
    if words.types[0] == "f32" and words.only("approx", "ftz"):
        return _uniform(_modified(_approximate_quotient, words), words, 2)
    return None


def _through_float64(function: Compute) -> Compute:
    return lambda x: function(x.astype(np.float64)).astype(np.float32)


_APPROXIMATE: dict[str, Compute] = {
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "rcp": np.reciprocal,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}


def _approximate(words: Words) -> Operation | None:
    if words.types[0] == "f32" and "approx" in words.modifiers and words.only("approx", "ftz"):
        return _uniform(_modified(_through_float64(_APPROXIMATE[words.name]), words), words, 1)
    return None


def _gross_reciprocal(x: Array) -> Array:
    """1/x of the upper 32 bits of x, in the upper 32 bits: where a longer division by Newton's method starts."""

    def upper(value: Array) -> Array:
        cut = (value.view(np.uint64) & np.uint64(0xFFFFFFFF00000000)).view(np.float64)
        return np.where(np.abs(cut) < np.finfo(np.float64).tiny, np.copysign(0.0, cut), cut)

    result = np.where(np.isnan(x), np.nan, 1 / upper(x))
    return np.where(np.isnan(result), np.nan, upper(result))


def _reciprocal_or_root(words: Words) -> Operation | None:
    if words.only("rn") or (words.types[0] == "f32" and words.only("rn", "ftz")):
        function = {"rcp": np.reciprocal, "sqrt": np.sqrt}[words.name]
        return _uniform(_modified(function, words), words, 1)
    if (words.name, words.types[0], words.modifiers) == ("rcp", "f64", {"approx", "ftz"}):
        return _uniform(_gross_reciprocal, words, 1)
    return _approximate(words)


def _sign(words: Words) -> Operation | None:
    function = {"abs": np.abs, "neg": np.negative}[words.name]
    return _uniform(_modified(function, words), words, 1) if words.only("ftz") else None


def _copysign(words: Words) -> Operation | None:
    return _uniform(lambda a, b: np.copysign(b, a), words, 2) if words.only() else None  # the sign is the first's


def _extreme(words: Words) -> Operation | None:
    """min, max: the other operand where one is NaN, or with .NaN NaN; −0 is below +0."""
    number, nan_stays = {"min": (np.fmin, np.minimum), "max": (np.fmax, np.maximum)}[words.name]
    of_zeros = LOGIC["or" if words.name == "min" else "and"]  # of equal numbers the bits differ in the sign of 0 alone

    def extreme(a: Array, b: Array) -> Array:
        bits = bits_of(a.dtype)
        tie = of_zeros(a.view(bits), b.view(bits)).view(a.dtype)
        return np.where(a == b, tie, (nan_stays if "NaN" in words.modifiers else number)(a, b))

    return _uniform(_modified(extreme, words), words, 2) if words.only("ftz", "NaN") else None


# Integers


def _wrapping(words: Words) -> Operation | None:
    function = {"add": np.add, "sub": np.subtract}[words.name]
    return _uniform(function, words, 2) if words.only() and words.kind != "b" else None


def _high_half(a: Array, b: Array) -> Array:
    """The upper half of the product of two integers: of 32 bits through 64; of 64 bits by halves, as on paper."""
    bits = 8 * a.itemsize
    if bits < 64:
        wide = np.dtype(f"{a.dtype.kind}8")
        return ((a.astype(wide) * b.astype(wide)) >> wide.type(bits)).astype(a.dtype)
    x, y, half, low = a.view(np.uint64), b.view(np.uint64), np.uint64(32), np.uint64(0xFFFFFFFF)
    middle = (x >> half) * (y & low) + (((x & low) * (y & low)) >> half)
    other = (x & low) * (y >> half) + (middle & low)
    high = (x >> half) * (y >> half) + (middle >> half) + (other >> half)
    if a.dtype.kind == "i":  # a negative number was read as itself + 2⁶⁴
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
    return high.view(a.dtype)


def _product(words: Words) -> Operation | None:
    """mul and mad, of which .lo keeps the lower half of the product, .hi the upper, .wide all of it."""
    narrow = words.types[0]
    if words.kind not in "us" or len(words.modifiers) != 1 or not words.only("lo", "hi", "wide"):
        return None
    (part,) = words.modifiers
    if part == "wide" and narrow not in WIDER:
        return None
    result = WIDER[narrow] if part == "wide" else narrow
    wide = TYPES[result]
    multiply = _high_half if part == "hi" else (lambda a, b: a.astype(wide) * b.astype(wide))
    if words.name == "mul":
        return Operation(multiply, (narrow, narrow), result)
    return Operation(lambda a, b, c: multiply(a, b) + c, (narrow, narrow, result), result)


def _quotient(words: Words) -> Operation | None:
    """div and rem, towards zero; by zero the ISA leaves the value open, so that is refused."""

    def by_a_divisor(a: Array, b: Array) -> Array:
        if not b.all():
            raise PTXError(f"division by zero: {words.name}.{words.types[0]}")
        remainder = np.fmod(a, b)
        return remainder if words.name == "rem" else (a - remainder) // b

    return _uniform(by_a_divisor, words, 2) if words.only() and words.kind in "us" else None


def _integer_sign(words: Words) -> Operation | None:
    function = {"abs": np.abs, "neg": np.negative}[words.name]
    return _uniform(function, words, 1) if words.only() and words.kind == "s" else None


def _integer_extreme(words: Words) -> Operation | None:
    function = {"min": np.minimum, "max": np.maximum}[words.name]
    return _uniform(function, words, 2) if words.only() and words.kind in "us" else None


def _shift(words: Words) -> Operation | None:
    """shl, shr by any unsigned number: of the type's width or more leaves 0, or of a signed number its sign."""
    if not words.only() or words.kind == "p" or (words.name == "shl" and words.kind != "b"):
        return None
    bits = 8 * TYPES[words.types[0]].itemsize
    function = {"shl": np.left_shift, "shr": np.right_shift}[words.name]

    def shifted(x: Array, by: Array) -> Array:
        result = function(x, np.minimum(by, np.uint32(bits - 1)).astype(x.dtype))
        return result if words.kind == "s" else np.where(by < bits, result, x.dtype.type(0))

    return Operation(shifted, (words.types[0], "u32"), words.types[0])


def _logic(words: Words) -> Operation | None:
    if not words.only() or words.kind not in "bp":
        return None
    return _uniform(np.invert, words, 1) if words.name == "not" else _uniform(LOGIC[words.name], words, 2)


# Comparison, selection, moves


def _comparison(word: str, kind: str) -> Compute | None:
    """The function of a comparison: of floats, eq to ge and ne fail on NaN, equ to geu and neu hold."""
    if word in ORDERED:
        return ORDERED[word] if kind != "b" or word == "eq" else None
    if word in UNSIGNED_ORDER:
        return UNSIGNED_ORDER[word] if kind == "u" else None
    if kind != "f":
        return np.not_equal if word == "ne" else None
    if word in ("num", "nan"):
        return lambda a, b: (np.isnan(a) | np.isnan(b)) == (word == "nan")
    if word == "ne":
        return lambda a, b: (a < b) | (a > b)
    if word == "neu":
        return np.not_equal
    if word[:2] in ORDERED and word[2:] == "u":
        return lambda a, b: ORDERED[word[:2]](a, b) | np.isnan(a) | np.isnan(b)
    return None


def _set_predicate(words: Words) -> Operation | None:
    """setp: a comparison; with .and, .or, .xor joined to a predicate that stands as the last operand."""
    joins = words.modifiers & set(LOGIC)
    compared = words.modifiers - joins - ({"ftz"} if words.types[0] == "f32" else set())
    compare = _comparison(next(iter(compared)), words.kind) if len(compared) == 1 and words.kind != "p" else None
    if compare is None or len(joins) > 1:
        return None
    modified = _modified(compare, words)
    if not joins:
        return Operation(modified, words.types * 2, "pred")
    join = LOGIC[next(iter(joins))]
    return Operation(lambda a, b, p: join(modified(a, b), p), (*words.types * 2, "pred"), "pred")


def _select(words: Words) -> Operation | None:
    if not words.only() or words.kind == "p":
        return None
    return Operation(lambda a, b, p: np.where(p, a, b), (*words.types * 2, "pred"), words.types[0])


def _move(words: Words) -> Operation | None:
    return _uniform(lambda x: x, words, 1) if words.only() else None


def _convert_address(words: Words) -> Operation | None:
    """cvta: generic and global addresses are the same numbers."""
    known = words.types[0] == "u64" and "global" in words.modifiers and words.only("to", "global")
    return _uniform(lambda x: x, words, 1) if known else None


def _convert(words: Words) -> Operation | None:
    to, source = (TYPES[name] for name in words.types)
    compute = _conversion(words, to, source)
    if compute is None:
        return None
    return Operation(_modified(compute, words) if to.kind == "f" else compute, (words.types[1],), words.types[0])


def _conversion(words: Words, to: np.dtype[Any], source: np.dtype[Any]) -> Compute | None:
    """cvt by the kinds of its types; which rounding each takes is the ISA's table."""
    if bool in (to, source):
        return None
    rounding = words.modifiers - {"ftz", "sat"}
    if len(rounding) > 1 or ("ftz" in words.modifiers and np.float32 not in (to, source)):
        return None
    word = next(iter(rounding), "")
    if source.kind == "f" and to.kind != "f":
        return partial(_to_integer, word, "ftz" in words.modifiers, to) if word in TO_WHOLE else None
    if source.kind != "f" and to.kind == "f":
        return (lambda x: x.astype(to)) if word == "rn" else None
    if source.kind != "f":
        return (partial(_to_other_integer, to, "sat" in words.modifiers)) if not word else None
    if to == source:
        return TO_WHOLE.get(word, None if word else lambda x: x)
    if to.itemsize > source.itemsize:
        return None if word else lambda x: x.astype(to)
    return partial(narrowed, mode=word) if word in ROUNDINGS else None


def _to_integer(word: str, flush: bool, to: np.dtype[Any], x: Array) -> Array:
    """Round, then clamp to the type; NaN is 0, or, of a float64 or to 64 bits, the bit of the sign alone."""
    limits, wide = np.iinfo(to), x.dtype.itemsize == 8 or to.itemsize == 8
    whole = TO_WHOLE[word](_flushed(x) if flush else x).astype(np.float64)
    above, below = whole >= float(limits.max), whole <= float(limits.min)  # float64 rounds the largest of 64 bits up
    inside = np.where(above | below | np.isnan(x), 0.0, whole).astype(to)
    sign_bit = np.array(1 << (8 * to.itemsize - 1), bits_of(to)).view(to)
    limited = np.where(above, to.type(limits.max), np.where(below, to.type(limits.min), inside))
    return np.where(np.isnan(x), sign_bit if wide else to.type(0), limited)


def _to_other_integer(to: np.dtype[Any], saturate: bool, x: Array) -> Array:
    if saturate:
        limits, own = np.iinfo(to), np.iinfo(x.dtype)
        x = np.clip(x, x.dtype.type(max(limits.min, own.min)), x.dtype.type(min(limits.max, own.max)))
    return x.astype(to)


_FLOAT_RULES: dict[str, Callable[[Words], Operation | None]] = {
    **dict.fromkeys(("add", "sub", "mul", "fma"), _rounded),
    **dict.fromkeys(("ex2", "lg2", "sin", "cos", "tanh", "rsqrt"), _approximate),
    **dict.fromkeys(("rcp", "sqrt"), _reciprocal_or_root),
    **dict.fromkeys(("abs", "neg"), _sign),
    **dict.fromkeys(("min", "max"), _extreme),
    "div": _divide,
    "copysign": _copysign,
}
_INTEGER_RULES: dict[str, Callable[[Words], Operation | None]] = {
    **dict.fromkeys(("add", "sub"), _wrapping),
    **dict.fromkeys(("mul", "mad"), _product),
    **dict.fromkeys(("div", "rem"), _quotient),
    **dict.fromkeys(("abs", "neg"), _integer_sign),
    **dict.fromkeys(("min", "max"), _integer_extreme),
    **dict.fromkeys(("shl", "shr"), _shift),
    **dict.fromkeys(("and", "or", "xor", "not"), _logic),
}
_ANY_TYPE_RULES: dict[str, Callable[[Words], Operation | None]] = {
    "setp": _set_predicate,
    "selp": _select,
    "mov": _move,
    "cvta": _convert_address,
}
