"""What each instruction computes, lane by lane (PTX ISA, "Instruction Set").

It implements the sections Integer Arithmetic, Floating Point, Comparison and Selection, Logic and Shift, and from Data
Movement and Conversion `mov`, `cvt`, `cvta`. The error of `.approx` and `.full` is not modelled: their results are
computed in float64 and rounded once. An instruction with a modifier or type that its rule does not name is unknown.
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
class Mnemonic:
    """The parts of a mnemonic: fma.rn.ftz.f32 has the name fma, the modifiers rn and ftz, the type f32."""

    name: str
    modifiers: frozenset[str]
    types: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The first letter of the last type: u, s, b, f, or p for pred."""
        return self.types[-1][0]

    def only(self, *allowed: str) -> bool:
        return self.modifiers <= set(allowed)


def operation_of(text: str) -> Operation:
    """Return what a mnemonic computes; raises `PTXError` if it is unknown."""
    name, *rest = text.split(".")
    types = tuple(word for word in rest if word in TYPES)
    mnemonic = Mnemonic(name, frozenset(word for word in rest if word not in TYPES), types)
    operation = None
    if len(types) == 1:
        rules = _FLOAT_RULES if mnemonic.kind == "f" else _INTEGER_RULES
        operation = rules.get(name, _unknown)(mnemonic) or _ANY_TYPE_RULES.get(name, _unknown)(mnemonic)
    elif name == "cvt" and len(types) == 2:
        operation = _convert(mnemonic)
    if operation is None or len(mnemonic.modifiers) + len(types) != len(rest):
        raise PTXError(f"unknown instruction {text}")
    return operation


def _unknown(mnemonic: Mnemonic) -> None:
    return None


def _uniform(compute: Compute, mnemonic: Mnemonic, count: int) -> Operation:
    """Return an operation whose operands all have the type of the instruction."""
    return Operation(compute, mnemonic.types * count, mnemonic.types[0])


# Floating point


def _flushed(x: Array) -> Array:
    """Return float32 numbers with subnormals replaced by zeros of their sign; other types are returned unchanged."""
    if x.dtype != np.float32:
        return x
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)


def _clamped(x: Array) -> Array:
    """Return x clamped to [0, 1], and 0 for NaN: the modifier .sat."""
    return np.where(x > 0, np.minimum(x, x.dtype.type(1)), x.dtype.type(0))


def _modified(compute: Compute, mnemonic: Mnemonic) -> Compute:
    """Apply the modifiers .ftz (operands and result) and .sat (result) to a function."""

    def modified(*operands: Array) -> Array:
        if "ftz" in mnemonic.modifiers:
            result = compute(*map(_flushed, operands))
            result = _flushed(result) if result.dtype.kind == "f" else result
        else:
            result = compute(*operands)
        return _clamped(result) if "sat" in mnemonic.modifiers else result

    return modified if mnemonic.modifiers & {"ftz", "sat"} else compute


def _rounded(mnemonic: Mnemonic) -> Operation | None:
    """Return add, sub, mul or fma. With directed rounding, each is computed as a fused multiply-add."""
    mode = next(iter(mnemonic.modifiers & ROUNDINGS), "rn")
    single = mnemonic.types[0] == "f32"
    allowed = mnemonic.only(*ROUNDINGS, "ftz", "sat") if single else mnemonic.only("rn")
    if not allowed or len(mnemonic.modifiers & ROUNDINGS) > 1:
        return None
    if mnemonic.name == "fma":
        return _uniform(_modified(partial(fused, mode=mode), mnemonic), mnemonic, 3)
    nearest = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
    directed = {
        "add": lambda a, b: fused(a, np.ones_like(a), b, mode),
        "sub": lambda a, b: fused(a, np.ones_like(a), -b, mode),
        "mul": lambda a, b: fused(a, b, np.full_like(a, -0.0), mode),
    }
    return _uniform(_modified((nearest if mode == "rn" else directed)[mnemonic.name], mnemonic), mnemonic, 2)


def _approximate_quotient(a: Array, b: Array) -> Array:
    """Return a/b as div.approx does: 0 for a divisor in (2¹²⁶, 2¹²⁸), or NaN if a is also infinite."""
    huge = (np.abs(b) > 2.0**126) & np.isfinite(b)
    with_sign = np.copysign(np.float32(0), a) * np.sign(b)
    return np.where(huge, np.where(np.isfinite(a), with_sign, np.float32(np.nan)), a / b)


def _divide(mnemonic: Mnemonic) -> Operation | None:
    if mnemonic.only("rn") or (mnemonic.types[0] == "f32" and mnemonic.only("rn", "full", "ftz")):
        return _uniform(_modified(np.divide, mnemonic), mnemonic, 2)
    if mnemonic.types[0] == "f32" and mnemonic.only("approx", "ftz"):
        return _uniform(_modified(_approximate_quotient, mnemonic), mnemonic, 2)
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


def _approximate(mnemonic: Mnemonic) -> Operation | None:
    if mnemonic.types[0] == "f32" and "approx" in mnemonic.modifiers and mnemonic.only("approx", "ftz"):
        return _uniform(_modified(_through_float64(_APPROXIMATE[mnemonic.name]), mnemonic), mnemonic, 1)
    return None


def _gross_reciprocal(x: Array) -> Array:
    """Return 1/x of the upper 32 bits of x, in the upper 32 bits: the start of a division by Newton's method."""

    def upper(value: Array) -> Array:
        cut = (value.view(np.uint64) & np.uint64(0xFFFFFFFF00000000)).view(np.float64)
        return np.where(np.abs(cut) < np.finfo(np.float64).tiny, np.copysign(0.0, cut), cut)

    result = np.where(np.isnan(x), np.nan, 1 / upper(x))
    return np.where(np.isnan(result), np.nan, upper(result))


def _reciprocal_or_root(mnemonic: Mnemonic) -> Operation | None:
    if mnemonic.only("rn") or (mnemonic.types[0] == "f32" and mnemonic.only("rn", "ftz")):
        function = {"rcp": np.reciprocal, "sqrt": np.sqrt}[mnemonic.name]
        return _uniform(_modified(function, mnemonic), mnemonic, 1)
    if (mnemonic.name, mnemonic.types[0], mnemonic.modifiers) == ("rcp", "f64", {"approx", "ftz"}):
        return _uniform(_gross_reciprocal, mnemonic, 1)
    return _approximate(mnemonic)


def _sign(mnemonic: Mnemonic) -> Operation | None:
    function = {"abs": np.abs, "neg": np.negative}[mnemonic.name]
    return _uniform(_modified(function, mnemonic), mnemonic, 1) if mnemonic.only("ftz") else None


def _copysign(mnemonic: Mnemonic) -> Operation | None:
    return _uniform(lambda a, b: np.copysign(b, a), mnemonic, 2) if mnemonic.only() else None  # the sign is that of a


def _extreme(mnemonic: Mnemonic) -> Operation | None:
    """Return min or max: if one operand is NaN, the other one, or NaN with .NaN. −0 is less than +0."""
    number, nan_stays = {"min": (np.fmin, np.minimum), "max": (np.fmax, np.maximum)}[mnemonic.name]
    of_zeros = LOGIC[
        "or" if mnemonic.name == "min" else "and"
    ]  # equal numbers have equal bits, except for the sign of 0

    def extreme(a: Array, b: Array) -> Array:
        bits = bits_of(a.dtype)
        tie = of_zeros(a.view(bits), b.view(bits)).view(a.dtype)
        return np.where(a == b, tie, (nan_stays if "NaN" in mnemonic.modifiers else number)(a, b))

    return _uniform(_modified(extreme, mnemonic), mnemonic, 2) if mnemonic.only("ftz", "NaN") else None


# Integers


def _wrapping(mnemonic: Mnemonic) -> Operation | None:
    function = {"add": np.add, "sub": np.subtract}[mnemonic.name]
    return _uniform(function, mnemonic, 2) if mnemonic.only() and mnemonic.kind != "b" else None


def _high_half(a: Array, b: Array) -> Array:
    """Return the upper half of the product of two integers: in 64 bits, or for 64 bits by long multiplication."""
    bits = 8 * a.itemsize
    if bits < 64:
        wide = np.dtype(f"{a.dtype.kind}8")
        return ((a.astype(wide) * b.astype(wide)) >> wide.type(bits)).astype(a.dtype)
    x, y, half, low = a.view(np.uint64), b.view(np.uint64), np.uint64(32), np.uint64(0xFFFFFFFF)
    middle = (x >> half) * (y & low) + (((x & low) * (y & low)) >> half)
    other = (x & low) * (y >> half) + (middle & low)
    high = (x >> half) * (y >> half) + (middle >> half) + (other >> half)
    if a.dtype.kind == "i":  # a negative number x was read as x + 2⁶⁴
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
    return high.view(a.dtype)


def _product(mnemonic: Mnemonic) -> Operation | None:
    """Return mul or mad: .lo is the lower half of the product, .hi the upper half, .wide the whole."""
    narrow = mnemonic.types[0]
    if mnemonic.kind not in "us" or len(mnemonic.modifiers) != 1 or not mnemonic.only("lo", "hi", "wide"):
        return None
    (part,) = mnemonic.modifiers
    if part == "wide" and narrow not in WIDER:
        return None
    result = WIDER[narrow] if part == "wide" else narrow
    wide = TYPES[result]
    multiply = _high_half if part == "hi" else (lambda a, b: a.astype(wide) * b.astype(wide))
    if mnemonic.name == "mul":
        return Operation(multiply, (narrow, narrow), result)
    return Operation(lambda a, b, c: multiply(a, b) + c, (narrow, narrow, result), result)


def _quotient(mnemonic: Mnemonic) -> Operation | None:
    """Return div or rem, rounded towards zero. The ISA leaves division by zero undefined; here it is an error."""

    def quotient(a: Array, b: Array) -> Array:
        if not b.all():
            raise PTXError(f"division by zero: {mnemonic.name}.{mnemonic.types[0]}")
        remainder = np.fmod(a, b)
        return remainder if mnemonic.name == "rem" else (a - remainder) // b

    return _uniform(quotient, mnemonic, 2) if mnemonic.only() and mnemonic.kind in "us" else None


def _integer_sign(mnemonic: Mnemonic) -> Operation | None:
    function = {"abs": np.abs, "neg": np.negative}[mnemonic.name]
    return _uniform(function, mnemonic, 1) if mnemonic.only() and mnemonic.kind == "s" else None


def _integer_extreme(mnemonic: Mnemonic) -> Operation | None:
    function = {"min": np.minimum, "max": np.maximum}[mnemonic.name]
    return _uniform(function, mnemonic, 2) if mnemonic.only() and mnemonic.kind in "us" else None


def _shift(mnemonic: Mnemonic) -> Operation | None:
    """Return shl or shr. Shifting by the width of the type or more gives 0, or the sign of a signed number."""
    if not mnemonic.only() or mnemonic.kind == "p" or (mnemonic.name == "shl" and mnemonic.kind != "b"):
        return None
    bits = 8 * TYPES[mnemonic.types[0]].itemsize
    function = {"shl": np.left_shift, "shr": np.right_shift}[mnemonic.name]

    def shifted(x: Array, by: Array) -> Array:
        result = function(x, np.minimum(by, np.uint32(bits - 1)).astype(x.dtype))
        return result if mnemonic.kind == "s" else np.where(by < bits, result, x.dtype.type(0))

    return Operation(shifted, (mnemonic.types[0], "u32"), mnemonic.types[0])


def _funnel_shift(mnemonic: Mnemonic) -> Operation | None:
    """Return shf: shift the 64 bits with the lower half a and the upper half b; .l takes the upper half, .r the lower.

    .wrap shifts by c modulo 32, and .clamp by at most 32.
    """
    if mnemonic.types != ("b32",) or mnemonic.modifiers not in [{d, m} for d in "lr" for m in ("wrap", "clamp")]:
        return None

    def shifted(a: Array, b: Array, c: Array) -> Array:
        by = (c % 32 if "wrap" in mnemonic.modifiers else np.minimum(c, 32)).astype(np.uint64)
        both, half = (b.astype(np.uint64) << np.uint64(32)) | a, np.uint64(32)
        return ((both << by) >> half if "l" in mnemonic.modifiers else both >> by).astype(np.uint32)

    return Operation(shifted, ("b32", "b32", "u32"), "b32")


def _logic(mnemonic: Mnemonic) -> Operation | None:
    if not mnemonic.only() or mnemonic.kind not in "bp":
        return None
    return _uniform(np.invert, mnemonic, 1) if mnemonic.name == "not" else _uniform(LOGIC[mnemonic.name], mnemonic, 2)


def _insert(mnemonic: Mnemonic) -> Operation | None:
    """Return bfi: b with bits replaced, from position c on, by the lowest d bits of a. Bits beyond the type are cut."""
    if not mnemonic.only() or mnemonic.types[0] not in ("b32", "b64"):
        return None
    bits, kind = 8 * TYPES[mnemonic.types[0]].itemsize, mnemonic.types[0]

    def inserted(a: Array, b: Array, c: Array, d: Array) -> Array:
        results = []
        for a_i, b_i, c_i, d_i in np.broadcast(a, b, c, d):  # Python's integers have no width
            position, ones = int(c_i) & 255, (1 << (int(d_i) & 255)) - 1
            result = int(b_i) & ~(ones << position) | (int(a_i) & ones) << position
            results.append(result & ((1 << bits) - 1))
        return np.array(results, a.dtype)

    return Operation(inserted, (kind, kind, "u32", "u32"), kind)


def _population(mnemonic: Mnemonic) -> Operation | None:
    """Return the number of bits that are 1."""
    if not mnemonic.only() or mnemonic.types[0] not in ("b32", "b64"):
        return None
    return Operation(lambda bits: np.bitwise_count(bits).astype(np.uint32), mnemonic.types, "u32")


# Comparison, selection, moves


def _comparison(word: str, kind: str) -> Compute | None:
    """Return the function of a comparison. On NaN, eq to ge and ne are false, equ to geu and neu are true."""
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


def _set_predicate(mnemonic: Mnemonic) -> Operation | None:
    """Return setp: a comparison; .and, .or or .xor combines it with the last operand, a predicate."""
    joins = mnemonic.modifiers & set(LOGIC)
    compared = mnemonic.modifiers - joins - ({"ftz"} if mnemonic.types[0] == "f32" else set())
    compare = _comparison(next(iter(compared)), mnemonic.kind) if len(compared) == 1 and mnemonic.kind != "p" else None
    if compare is None or len(joins) > 1:
        return None
    modified = _modified(compare, mnemonic)
    if not joins:
        return Operation(modified, mnemonic.types * 2, "pred")
    join = LOGIC[next(iter(joins))]
    return Operation(lambda a, b, p: join(modified(a, b), p), (*mnemonic.types * 2, "pred"), "pred")


def _select(mnemonic: Mnemonic) -> Operation | None:
    if not mnemonic.only() or mnemonic.kind == "p":
        return None
    return Operation(lambda a, b, p: np.where(p, a, b), (*mnemonic.types * 2, "pred"), mnemonic.types[0])


def _move(mnemonic: Mnemonic) -> Operation | None:
    return _uniform(lambda x: x, mnemonic, 1) if mnemonic.only() else None


def _convert_address(mnemonic: Mnemonic) -> Operation | None:
    """Return cvta. Generic and global addresses are the same numbers here."""
    known = mnemonic.types[0] == "u64" and "global" in mnemonic.modifiers and mnemonic.only("to", "global")
    return _uniform(lambda x: x, mnemonic, 1) if known else None


def _convert(mnemonic: Mnemonic) -> Operation | None:
    to, source = (TYPES[name] for name in mnemonic.types)
    compute = _conversion(mnemonic, to, source)
    if compute is None:
        return None
    return Operation(
        _modified(compute, mnemonic) if to.kind == "f" else compute, (mnemonic.types[1],), mnemonic.types[0]
    )


def _conversion(mnemonic: Mnemonic, to: np.dtype[Any], source: np.dtype[Any]) -> Compute | None:
    """Return the function of cvt between two types; the ISA has a table of the roundings that each pair takes."""
    if bool in (to, source):
        return None
    rounding = mnemonic.modifiers - {"ftz", "sat"}
    if len(rounding) > 1 or ("ftz" in mnemonic.modifiers and np.float32 not in (to, source)):
        return None
    word = next(iter(rounding), "")
    if source.kind == "f" and to.kind != "f":
        return partial(_to_integer, word, "ftz" in mnemonic.modifiers, to) if word in TO_WHOLE else None
    if source.kind != "f" and to.kind == "f":
        return (lambda x: x.astype(to)) if word == "rn" else None
    if source.kind != "f":
        return (partial(_to_other_integer, to, "sat" in mnemonic.modifiers)) if not word else None
    if to == source:
        return TO_WHOLE.get(word, None if word else lambda x: x)
    if to.itemsize > source.itemsize:
        return None if word else lambda x: x.astype(to)
    return partial(narrowed, mode=word) if word in ROUNDINGS else None


def _to_integer(word: str, flush: bool, to: np.dtype[Any], x: Array) -> Array:
    """Round, then clamp to the type. NaN gives 0; the sign bit alone if either type has 64 bits."""
    limits, wide = np.iinfo(to), x.dtype.itemsize == 8 or to.itemsize == 8
    whole = TO_WHOLE[word](_flushed(x) if flush else x).astype(np.float64)
    above, below = (
        whole >= float(limits.max),
        whole <= float(limits.min),
    )  # as a float64, the largest 64-bit integer is rounded up
    inside = np.where(above | below | np.isnan(x), 0.0, whole).astype(to)
    sign_bit = np.array(1 << (8 * to.itemsize - 1), bits_of(to)).view(to)
    limited = np.where(above, to.type(limits.max), np.where(below, to.type(limits.min), inside))
    return np.where(np.isnan(x), sign_bit if wide else to.type(0), limited)


def _to_other_integer(to: np.dtype[Any], saturate: bool, x: Array) -> Array:
    if saturate:
        limits, own = np.iinfo(to), np.iinfo(x.dtype)
        x = np.clip(x, x.dtype.type(max(limits.min, own.min)), x.dtype.type(min(limits.max, own.max)))
    return x.astype(to)


_FLOAT_RULES: dict[str, Callable[[Mnemonic], Operation | None]] = {
    **dict.fromkeys(("add", "sub", "mul", "fma"), _rounded),
    **dict.fromkeys(("ex2", "lg2", "sin", "cos", "tanh", "rsqrt"), _approximate),
    **dict.fromkeys(("rcp", "sqrt"), _reciprocal_or_root),
    **dict.fromkeys(("abs", "neg"), _sign),
    **dict.fromkeys(("min", "max"), _extreme),
    "div": _divide,
    "copysign": _copysign,
}
_INTEGER_RULES: dict[str, Callable[[Mnemonic], Operation | None]] = {
    **dict.fromkeys(("add", "sub"), _wrapping),
    **dict.fromkeys(("mul", "mad"), _product),
    **dict.fromkeys(("div", "rem"), _quotient),
    **dict.fromkeys(("abs", "neg"), _integer_sign),
    **dict.fromkeys(("min", "max"), _integer_extreme),
    **dict.fromkeys(("shl", "shr"), _shift),
    "shf": _funnel_shift,
    **dict.fromkeys(("and", "or", "xor", "not"), _logic),
    "bfi": _insert,
    "popc": _population,
}
_ANY_TYPE_RULES: dict[str, Callable[[Mnemonic], Operation | None]] = {
    "setp": _set_predicate,
    "selp": _select,
    "mov": _move,
    "cvta": _convert_address,
}
