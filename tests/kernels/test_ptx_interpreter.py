"""The PTX interpreter that tests the CUDA kernels: each of its instructions, and the errors that it must detect.

The kernels here are written by hand, so these tests need no CUDA compiler.
"""

import ast
import math
import operator
import re
import shutil
import struct
import sys
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptx
from ptx import PTXError, Traffic, parameter_sizes, run, run_at_addresses

pytestmark = pytest.mark.cuda
PACKAGE = Path(ptx.__file__).parent

F32, F64 = np.float32, np.float64
INTEGERS = ["s16", "u16", "s32", "u32", "s64", "u64"]
DTYPES = {
    "f32": F32,
    "f64": F64,
    **{f"{k[0]}{8 * s}": np.dtype(f"{k[1]}{s}") for k in ("si", "uu") for s in (1, 2, 4, 8)},
}


def kernel(parameters, body, registers=""):
    """Return a kernel k with the parameters p0, p1, …; %i is the number of the lane in a one-dimensional grid."""
    declared = ", ".join(f".param .{kind} p{i}" for i, kind in enumerate(parameters))
    return f"""
    .version 7.0 .target sm_75 .address_size 64
    .visible .entry k({declared})
    {{
        .reg .pred %p<4>; .reg .b16 %h<8>; .reg .b32 %r<8>, %i; .reg .f32 %f<8>; .reg .b64 %rd<16>; .reg .f64 %d<8>;
        {registers}
        mov.u32 %r0, %ctaid.x;  mov.u32 %r1, %ntid.x;  mov.u32 %r2, %tid.x;
        mad.lo.s32 %i, %r0, %r1, %r2;
        {body}
    }}"""


def compute(instructions, result, *inputs):
    """Run instructions on %a, %b, %c, one lane per element of the inputs; return %z of all lanes as an array."""
    kinds = [next(kind for kind, dtype in DTYPES.items() if a.dtype == dtype) for a in inputs]
    body, registers = "", f".reg .b{max(16, 8 * np.dtype(DTYPES[result]).itemsize)} %z; .reg .pred %q;"
    for i, kind in enumerate(kinds):
        size = int(kind[1:]) // 8
        registers += f".reg .b{max(16, 8 * size)} %{'abc'[i]};\n"
        body += f"""
            ld.param.u64 %rd1, [p{i}];  mul.wide.u32 %rd2, %i, {size};  add.s64 %rd3, %rd1, %rd2;
            ld.global.{kind} %{"abc"[i]}, [%rd3];"""
    body += f"""{instructions}
        ld.param.u64 %rd1, [p{len(kinds)}];  mul.wide.u32 %rd2, %i, {np.dtype(DTYPES[result]).itemsize};
        add.s64 %rd3, %rd1, %rd2;
        st.global.{result} [%rd3], %z;  ret;"""
    out = np.zeros(len(inputs[0]), DTYPES[result])
    run(kernel(["u64"] * (len(kinds) + 1), body, registers), (1,), (len(out),), *inputs, out)
    return out


def predicate(instruction, *inputs):
    """Run a comparison; return %q of all lanes as a Boolean array."""
    return compute(f"{instruction} selp.u32 %z, 1, 0, %q;", "u32", *inputs) == 1


def same(got, expected):
    """Assert that two arrays have equal bits, also in the signs of zeros. Any NaN equals any other NaN."""
    expected = np.asarray(expected, got.dtype)
    bits = f"u{got.itemsize}"
    alike = got.view(bits) == expected.view(bits)
    if got.dtype.kind == "f":
        alike |= np.isnan(got) & np.isnan(expected)
    assert alike.all(), f"got {got[~alike][:3]}, expected {expected[~alike][:3]}"


def integers(rng, kind, count=200):
    limits = np.iinfo(DTYPES[kind])
    edges = [limits.min, limits.min + 1, limits.max, limits.max - 1, 0, 1, 2, 3, 7]
    drawn = rng.integers(limits.min, limits.max, count - len(edges), dtype=DTYPES[kind], endpoint=True)
    return rng.permutation(np.concatenate([drawn, np.array(edges, DTYPES[kind])]))


def floats(rng, dtype, count=300):
    bits = rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), count, dtype=f"u{np.dtype(dtype).itemsize}")
    special = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, np.finfo(dtype).max, np.finfo(dtype).tiny], dtype
    )
    near = rng.normal(size=count).astype(dtype)
    return rng.permutation(np.concatenate([bits.view(dtype), special, np.nextafter(special, dtype(0)), near]))


def wrapped(value, kind):
    """Return a Python int wrapped to an integer type, modulo 2ⁿ."""
    bits = int(kind[1:])
    value %= 1 << bits
    return value - (1 << bits) if kind[0] == "s" and value >> (bits - 1) else value


# Integers, against Python's


def truncated(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


INTEGER_OPERATIONS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul.lo": operator.mul,
    "min": min,
    "max": max,
    "div": lambda a, b: truncated(a, b),
    "rem": lambda a, b: a - b * truncated(a, b),
}


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("name", INTEGER_OPERATIONS)
def test_integers_wrap_and_divide_towards_zero(rng, name, kind):
    a, b = integers(rng, kind), integers(rng, kind)
    if name in ("div", "rem"):
        b[b == 0] = 5
    got = compute(f"{name}.{kind} %z, %a, %b;", kind, a, b)
    function = INTEGER_OPERATIONS[name]
    same(got, [wrapped(function(int(x), int(y)), kind) for x, y in zip(a, b, strict=True)])


@pytest.mark.parametrize("kind", INTEGERS)
def test_the_lower_half_the_upper_half_and_all_of_a_product(rng, kind):
    a, b = integers(rng, kind), integers(rng, kind)
    exact = [int(x) * int(y) for x, y in zip(a, b, strict=True)]
    same(compute(f"mul.hi.{kind} %z, %a, %b;", kind, a, b), [wrapped(x >> int(kind[1:]), kind) for x in exact])
    c = integers(rng, kind)
    sums = [wrapped(x + int(z), kind) for x, z in zip(exact, c, strict=True)]
    same(compute(f"mad.lo.{kind} %z, %a, %b, %c;", kind, a, b, c), sums)
    if kind[1:] != "64":
        wide = f"{kind[0]}{2 * int(kind[1:])}"
        same(compute(f"mul.wide.{kind} %z, %a, %b;", wide, a, b), exact)
        c = integers(rng, wide)
        sums = [wrapped(x + int(z), wide) for x, z in zip(exact, c, strict=True)]
        same(compute(f"mad.wide.{kind} %z, %a, %b, %c;", wide, a, b, c), sums)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_shifts_by_the_width_or_more_give_zero_or_the_sign(rng, bits):
    by = np.resize(np.array([0, 1, 5, bits - 1, bits, bits + 1, 255, 2**32 - 1], np.uint32), 200)
    for name, kind, function in [
        ("shl.b", f"u{bits}", lambda x, n: x << min(n, 99)),
        ("shr.u", f"u{bits}", lambda x, n: x >> min(n, 99)),
        ("shr.s", f"s{bits}", lambda x, n: x >> min(n, 99)),
    ]:
        x = integers(rng, kind)
        expected = [wrapped(function(int(v), int(n)), kind) for v, n in zip(x, by, strict=True)]
        same(compute(f"{name}{bits} %z, %a, %b;", kind, x, by), expected)


def test_funnel_shifts_move_the_bits_of_two_words(rng):
    by = np.resize(np.array([0, 1, 5, 31, 32, 33, 255, 2**32 - 1], np.uint32), 200)
    low, high = integers(rng, "u32"), integers(rng, "u32")
    for mode, limit in (("wrap", lambda n: n % 32), ("clamp", lambda n: min(n, 32))):
        triples = [(int(a) + (int(b) << 32), limit(int(n))) for a, b, n in zip(low, high, by, strict=True)]
        left = compute(f"shf.l.{mode}.b32 %z, %a, %b, %c;", "u32", low, high, by)
        same(left, [(both << n) >> 32 & 0xFFFFFFFF for both, n in triples])
        right = compute(f"shf.r.{mode}.b32 %z, %a, %b, %c;", "u32", low, high, by)
        same(right, [(both >> n) & 0xFFFFFFFF for both, n in triples])


@pytest.mark.parametrize("bits", [32, 64])
def test_a_field_of_bits_is_inserted(rng, bits):
    """A field that ends beyond the type is cut. Positions and lengths are taken modulo 256."""
    a, b = (rng.integers(0, 2**bits, 60, f"u{bits // 8}") for _ in "ab")
    for position, length in [(0, 0), (0, bits), (7, 9), (bits - 3, 8), (bits, 1), (256 + 5, 256 + 3), (255, 255)]:
        got = compute(f"bfi.b{bits} %z, %a, %b, {position}, {length};", f"u{bits}", a, b)
        expected = []
        for x, y in zip(a, b, strict=True):
            field, result = (f"{int(v):0{bits}b}"[::-1] for v in (x, y))  # the lowest bit first
            end = position % 256 + length % 256
            result = result[: position % 256] + field[: length % 256] + result[end:]
            expected.append(int(result[:bits][::-1], 2))
        same(got, np.array(expected, f"u{bits // 8}"))


def test_bits_signs_and_predicates(rng):
    a, b, wide = integers(rng, "s32"), integers(rng, "s32"), integers(rng, "u64")
    for name, function in [("and", operator.and_), ("or", operator.or_), ("xor", operator.xor)]:
        same(
            compute(f"{name}.b32 %z, %a, %b;", "s32", a, b),
            [function(int(x), int(y)) for x, y in zip(a, b, strict=True)],
        )
        both = f"setp.lt.s32 %q, %a, 7; setp.lt.s32 %p1, %b, 7; {name}.pred %p2, %q, %p1; not.pred %q, %p2;"
        same(predicate(both, a, b), [not function(x < 7, y < 7) for x, y in zip(a, b, strict=True)])
    same(compute("not.b32 %z, %a;", "s32", a), [~int(x) for x in a])
    same(compute("neg.s32 %z, %a;", "s32", a), [wrapped(-int(x), "s32") for x in a])
    same(compute("abs.s32 %z, %a;", "s32", a), [wrapped(abs(int(x)), "s32") for x in a])
    same(compute("popc.b32 %z, %a;", "u32", a.view(np.uint32)), [int(x).bit_count() for x in a.view(np.uint32)])
    same(compute("popc.b64 %z, %a;", "u32", wide), [int(x).bit_count() for x in wide])


def test_division_by_zero_is_an_error():
    with pytest.raises(PTXError, match=r"division by zero: div\.u32"):
        compute("div.u32 %z, %a, %b;", "u32", np.array([1], np.uint32), np.array([0], np.uint32))


# Floating point, against exact fractions


@np.errstate(all="ignore")
def exactly_rounded(x, dtype, mode="rn"):
    """Return a nonzero fraction rounded to a float type, chosen among its neighbours by the rounding mode."""
    try:
        guess = dtype(float(x))
    except OverflowError:
        guess = dtype(np.inf if x > 0 else -np.inf)
    around = [np.nextafter(guess, dtype(-np.inf)), guess, np.nextafter(guess, dtype(np.inf))]
    finfo = np.finfo(dtype)

    def value(c):  # ∞ counts as the power of two after the largest number
        return Fraction(float(c)) if np.isfinite(c) else Fraction(2) ** finfo.maxexp * (1 if c > 0 else -1)

    if mode == "rz":
        mode = "rm" if x > 0 else "rp"
    if mode == "rm":
        return max(c for c in around if c == -np.inf or (c != np.inf and value(c) <= x))
    if mode == "rp":
        return min(c for c in around if c == np.inf or (c != -np.inf and value(c) >= x))
    odd = {c: int(np.asarray(c).view(f"u{finfo.bits // 8}")) % 2 for c in around}
    nearest = min(around, key=lambda c: (abs(value(c) - x), odd[c]))
    return dtype(math.copysign(float(nearest), 1 if x > 0 else -1))


@np.errstate(all="ignore")
def fused_exactly(a, b, c, dtype, mode):
    if not np.isfinite([a, b]).all() or not (a and b):
        return dtype(a * b + c)
    if not np.isfinite(c):
        return c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    return exactly_rounded(exact, dtype, mode) if exact else dtype(0)


@pytest.mark.parametrize(("kind", "mode"), [("f32", "rn"), ("f32", "rm"), ("f32", "rp"), ("f32", "rz"), ("f64", "rn")])
def test_fma_rounds_once(rng, kind, mode):
    dtype = DTYPES[kind]
    with np.errstate(all="ignore"):
        a, b, c = floats(rng, dtype), floats(rng, dtype), floats(rng, dtype)
        c[:4], a[:4], b[:4] = np.inf, np.finfo(dtype).max, [-3, 3, 0, np.inf]
        c[4::2] = (-a * b * (1 + dtype(2) ** rng.integers(-60, 2, len(a))).astype(dtype))[
            4::2
        ]  # sums that nearly cancel
    got = compute(f"fma.{mode}.{kind} %z, %a, %b, %c;", kind, a, b, c)
    same(got, [fused_exactly(*abc, dtype, mode) for abc in zip(a, b, c, strict=True)])


@settings(max_examples=60, deadline=None)
@given(st.data())
@pytest.mark.parametrize("width", [32, 64])
def test_fma_of_any_three_numbers(width, data):
    a, b, c = (np.array([data.draw(st.floats(width=width))], DTYPES[f"f{width}"]) for _ in range(3))
    got = compute(f"fma.rn.f{width} %z, %a, %b, %c;", f"f{width}", a, b, c)
    same(got, [fused_exactly(a[0], b[0], c[0], DTYPES[f"f{width}"], "rn")])


@pytest.mark.parametrize("mode", ["rn", "rm", "rp", "rz"])
def test_sums_and_products_of_float32_use_the_rounding_mode(rng, mode):
    a, b = (x[np.isfinite(x) & (x != 0)][:300] for x in (floats(rng, F32), floats(rng, F32)))
    for name, function in [("add", operator.add), ("sub", operator.sub), ("mul", operator.mul)]:
        exact = [function(Fraction(float(x)), Fraction(float(y))) for x, y in zip(a, b, strict=True)]
        expected = [exactly_rounded(x, F32, mode) if x else F32(0) for x in exact]
        same(compute(f"{name}.{mode}.f32 %z, %a, %b;", "f32", a, b), expected)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_quotients_and_roots_are_exactly_rounded(rng, kind):
    dtype = DTYPES[kind]
    a, b = (x[np.isfinite(x) & (x != 0)][:300] for x in (floats(rng, dtype), floats(rng, dtype)))
    exact = [Fraction(float(x)) / Fraction(float(y)) for x, y in zip(a, b, strict=True)]
    same(compute(f"div.rn.{kind} %z, %a, %b;", kind, a, b), [exactly_rounded(x, dtype) for x in exact])
    same(compute(f"rcp.rn.{kind} %z, %a;", kind, a), [exactly_rounded(1 / Fraction(float(x)), dtype) for x in a])
    with localcontext(prec=60):
        roots = [exactly_rounded(Fraction(Decimal(abs(float(x))).sqrt()), dtype) for x in a]
    same(compute(f"abs.{kind} %z, %a; sqrt.rn.{kind} %z, %z;", kind, a), roots)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0], dtype)
    same(compute(f"sqrt.rn.{kind} %z, %a;", kind, special), [0.0, -0.0, np.inf, np.nan, np.nan, np.nan])
    same(compute(f"rcp.rn.{kind} %z, %a;", kind, special), [np.inf, -np.inf, 0.0, -0.0, np.nan, -1.0])


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("ex2", lambda x: 2**x),
        ("lg2", math.log2),
        ("sin", math.sin),
        ("cos", math.cos),
        ("tanh", math.tanh),
        ("rcp", lambda x: 1 / x),
        ("sqrt", math.sqrt),
        ("rsqrt", lambda x: 1 / math.sqrt(x)),
    ],
)
def test_approximate_functions_are_computed_exactly(rng, name, function):
    x = rng.uniform(0.01, 9, 200).astype(F32)
    expected = np.array([function(float(v)) for v in x])
    got = compute(f"{name}.approx.f32 %z, %a;", "f32", x)
    assert (np.abs(got - expected) <= 0.51 * np.spacing(np.abs(expected).astype(F32))).all()


def test_approximate_exponential_and_logarithm_of_special_values():
    x = np.array([-np.inf, np.inf, np.nan, 128, -150, 0, -0.0], F32)
    same(compute("ex2.approx.ftz.f32 %z, %a;", "f32", x), [0, np.inf, np.nan, np.inf, 0, 1, 1])
    same(compute("ex2.approx.f32 %z, %a;", "f32", np.array([-149, -140], F32)), [2.0**-149, 2.0**-140])
    same(compute("lg2.approx.f32 %z, %a;", "f32", np.array([0, -1, np.inf, 8], F32)), [-np.inf, np.nan, np.inf, 3])


def test_approximate_division_by_a_huge_number_is_zero():
    a, b = np.array([3, -3, np.inf, 6, 3], F32), np.array([2.0**127, 2.0**127, 2.0**127, 3, np.inf], F32)
    same(compute("div.approx.f32 %z, %a, %b;", "f32", a, b), [0.0, -0.0, np.nan, 2, 0])
    same(compute("div.full.f32 %z, %a, %b;", "f32", a[:1], b[:1]), [3 * 2.0**-127])


def test_the_approximate_reciprocal_of_float64_has_twenty_bits(rng):
    x = np.concatenate([rng.normal(size=200), [2.0, -0.5, 1e300]])
    got = compute("rcp.approx.ftz.f64 %z, %a;", "f64", x)
    assert (got.view(np.uint64) & np.uint64(0xFFFFFFFF) == 0).all()
    assert (np.abs(got * x - 1) < 2.0**-18).all()
    same(
        compute("rcp.approx.ftz.f64 %z, %a;", "f64", np.array([0.0, -np.inf, np.nan, 1e-310])),
        [np.inf, -0.0, np.nan, np.inf],
    )


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_extremes_signs_and_nan(kind):
    nan, dtype = np.nan, DTYPES[kind]
    a, b = np.array([1, nan, 2, nan, 0.0, -0.0, -1], dtype), np.array([2, 3, nan, nan, -0.0, 0.0, -2], dtype)
    same(compute(f"min.{kind} %z, %a, %b;", kind, a, b), [1, 3, 2, nan, -0.0, -0.0, -2])
    same(compute(f"max.{kind} %z, %a, %b;", kind, a, b), [2, 3, 2, nan, 0.0, 0.0, -1])
    same(compute(f"max.NaN.{kind} %z, %a, %b;", kind, a, b), [2, nan, nan, nan, 0.0, 0.0, -1])
    same(compute(f"copysign.{kind} %z, %a, %b;", kind, dtype([-1, 1, -0.0]), dtype([5, -5, 7])), [-5, 5, -7])
    same(compute(f"abs.{kind} %z, %a;", kind, dtype([-2, 3, -0.0])), [2, 3, 0.0])
    same(compute(f"neg.{kind} %z, %a;", kind, dtype([-2, 3, 0.0])), [2, -3, -0.0])


def test_ftz_flushes_operands_and_results_and_keeps_their_sign():
    small, tiny = F32(1e-40), np.finfo(F32).tiny
    a = np.array([small, -small, tiny, 1.0], F32)
    same(compute("add.f32 %z, %a, 0f00000000;", "f32", a), a)
    same(compute("add.ftz.f32 %z, %a, 0f80000000;", "f32", a), [0.0, -0.0, tiny, 1.0])
    same(compute("mul.ftz.f32 %z, %a, 0f3F000000;", "f32", a), [0.0, -0.0, 0.0, 0.5])
    same(compute("mul.f32 %z, %a, 0f3F000000;", "f32", a[2:]), [tiny / 2, 0.5])
    same(predicate("setp.gt.ftz.f32 %q, %a, 0f00000000;", a), [False, False, True, True])
    same(predicate("setp.gt.f32 %q, %a, 0f00000000;", a), [True, False, True, True])
    same(compute("cvt.ftz.f64.f32 %z, %a;", "f64", a), [0.0, -0.0, tiny, 1.0])
    same(compute("cvt.rn.ftz.f32.f64 %z, %a;", "f32", np.array([1e-40, -1e-40, 1.0])), [0.0, -0.0, 1.0])


def test_sat_clamps_to_the_unit_interval():
    a = np.array([-1, -0.0, 0.25, 1.5, np.inf, -np.inf, np.nan], F32)
    expected = [0.0, 0.0, 0.25, 1, 1, 0, 0]
    same(compute("cvt.sat.f32.f32 %z, %a;", "f32", a), expected)
    same(compute("add.sat.f32 %z, %a, 0f80000000;", "f32", a), expected)
    same(compute("fma.rn.sat.f32 %z, %a, 0f3F800000, 0f80000000;", "f32", a), expected)


# Conversions

WHOLE = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("source", ["f32", "f64"])
def test_floats_are_rounded_and_clamped_to_integers(rng, source, kind):
    dtype, limits = DTYPES[source], np.iinfo(DTYPES[kind])
    scale = 2.0 ** rng.integers(-2, 66, 200)
    x = np.concatenate(
        [rng.normal(size=200) * scale, [0.5, 1.5, -0.5, -1.5, -0.0, 2.0**63, -(2.0**63), np.inf, -np.inf]]
    )
    x = x.astype(dtype)
    for word, function in WHOLE.items():
        whole = [math.copysign(2**70, v) if np.isinf(v) else function(float(v)) for v in x]
        expected = np.array([min(max(int(v), limits.min), limits.max) for v in whole], DTYPES[kind])
        same(compute(f"cvt.{word}.{kind}.{source} %z, %a;", kind, x), expected)
    sign = np.array([1 << (limits.bits - 1)], f"u{limits.bits // 8}").view(DTYPES[kind])
    not_a_number = compute(f"cvt.rzi.{kind}.{source} %z, %a;", kind, dtype([np.nan]))
    same(not_a_number, sign if limits.bits == 64 or source == "f64" else [0])


@pytest.mark.parametrize("kind", ["u8", *INTEGERS])
@pytest.mark.parametrize("to", ["f32", "f64"])
def test_integers_are_converted_to_the_nearest_floats(rng, to, kind):
    x = integers(rng, kind)
    expected = [exactly_rounded(Fraction(int(v)), DTYPES[to]) if v else 0.0 for v in x]
    same(compute(f"cvt.rn.{to}.{kind} %z, %a;", to, x), expected)


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("to", INTEGERS)
def test_integers_are_truncated_extended_or_clamped(rng, source, to):
    x, limits = integers(rng, source), np.iinfo(DTYPES[to])
    same(compute(f"cvt.{to}.{source} %z, %a;", to, x), [wrapped(int(v), to) for v in x])
    clamped = [min(max(int(v), limits.min), limits.max) for v in x]
    same(compute(f"cvt.sat.{to}.{source} %z, %a;", to, x), clamped)


@pytest.mark.parametrize("mode", ["rn", "rm", "rp", "rz"])
def test_float64_is_converted_to_float32_with_the_rounding_mode(rng, mode):
    x = np.concatenate([rng.normal(size=100) * 10.0 ** rng.integers(-46, 39, 100), [1e39, -1e39, 1 + 2.0**-24]])
    same(compute(f"cvt.{mode}.f32.f64 %z, %a;", "f32", x), [exactly_rounded(Fraction(v), F32, mode) for v in x])
    same(compute("cvt.f64.f32 %z, %a;", "f64", F32([0.1, -np.inf])), [float(F32(0.1)), -np.inf])


def test_floats_are_rounded_to_integral_floats(rng):
    x = np.concatenate([rng.normal(size=50) * 100, [0.5, 2.5, -0.5, 1e30]])
    for word, function in WHOLE.items():
        expected = [math.copysign(function(v), v) for v in x]
        same(compute(f"cvt.{word}.f64.f64 %z, %a;", "f64", x), expected)


# Comparisons

ORDERED = {"eq": operator.eq, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge}


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_ordered_and_unordered_comparisons_of_floats(kind):
    values = [1.0, 2.0, 0.0, -0.0, np.inf, np.nan]
    a, b = (x.reshape(-1).astype(DTYPES[kind]) for x in np.meshgrid(values, values))
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    unordered = [math.isnan(x) or math.isnan(y) for x, y in pairs]
    for word, function in {**ORDERED, "ne": operator.ne}.items():
        plain = [function(x, y) for x, y in pairs]
        same(predicate(f"setp.{word}.{kind} %q, %a, %b;", a, b), np.array(plain) & ~np.array(unordered))
        same(predicate(f"setp.{word}u.{kind} %q, %a, %b;", a, b), np.array(plain) | np.array(unordered))
    same(predicate(f"setp.nan.{kind} %q, %a, %b;", a, b), unordered)
    same(predicate(f"setp.num.{kind} %q, %a, %b;", a, b), ~np.array(unordered))


@pytest.mark.parametrize("kind", INTEGERS)
def test_signed_and_unsigned_comparisons_of_integers(rng, kind):
    a, b = integers(rng, kind), integers(rng, kind)
    a[:20] = b[:20]
    words = {**ORDERED, "ne": operator.ne}
    if kind[0] == "u":
        words |= {"lo": operator.lt, "ls": operator.le, "hi": operator.gt, "hs": operator.ge}
    for word, function in words.items():
        expected = [function(int(x), int(y)) for x, y in zip(a, b, strict=True)]
        same(predicate(f"setp.{word}.{kind} %q, %a, %b;", a, b), expected)


@pytest.mark.parametrize(("join", "function"), [("and", operator.and_), ("or", operator.or_), ("xor", operator.xor)])
def test_a_comparison_is_combined_with_a_predicate(rng, join, function):
    a = integers(rng, "s32")
    first = "setp.gt.s32 %p1, %a, 7;"
    same(predicate(f"{first} setp.lt.{join}.s32 %q, %a, 99, %p1;", a), [function(x < 99, x > 7) for x in a])
    same(predicate(f"{first} setp.lt.{join}.s32 %q, %a, 99, !%p1;", a), [function(x < 99, x <= 7) for x in a])


# Registers, parameters and memory


def test_the_parts_of_a_register_are_lowest_first():
    a = np.array([0x1111222233334444, 0x8000000000000001], np.uint64)
    swapped = "mov.b64 {%r3, %r4}, %a;  mov.b64 %z, {%r4, %r3};"
    same(compute(swapped, "u64", a), [0x3333444411112222, 0x0000000180000000])
    same(compute("mov.b64 {_, %r3}, %a; mov.b32 %z, %r3;", "u32", a), [0x11112222, 0x80000000])


def test_blocks_in_braces_may_declare_registers_again():
    text = """{ .reg .b32 %t; mov.b64 {%t, %r3}, %a; } { .reg .b32 %t; mov.b64 {%t, %r4}, %a; } mov.u32 %z, %t;"""
    same(compute(text, "u32", np.array([7 + (9 << 32)], np.uint64)), [7])


def test_narrow_loads_are_extended_by_their_sign():
    x = np.array([-1, 5, -128, 127], np.int8)
    same(compute("cvt.s32.s8 %z, %a;", "s32", x), x)
    same(compute("mov.b16 %z, %a;", "s16", x), x)
    same(compute("mov.b16 %z, %a;", "u16", x.view(np.uint8)), x.view(np.uint8))


def test_constants_are_read_in_every_base_and_as_bits():
    one = np.array([1], np.uint32)
    for written, value in [("12", 12), ("-1", 2**32 - 1), ("0x1F", 31), ("0x80000000U", 2**31)]:
        same(compute(f"mov.u32 %z, {written};", "u32", one), [value])
    third = struct.pack(">f", 1 / 3).hex()
    same(compute(f"mov.f32 %z, 0f{third};", "f32", one), [F32(1 / 3)])
    same(compute(f"mov.f64 %z, 0d{struct.pack('>d', 1 / 3).hex()};", "f64", one), [1 / 3])


LANE_NUMBERS = kernel(
    ["u64"],
    """
    mov.u32 %r0, %ctaid.z; mov.u32 %r1, %nctaid.y; mov.u32 %r2, %ctaid.y; mad.lo.u32 %r0, %r0, %r1, %r2;
    mov.u32 %r1, %nctaid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r0, %r0, %r1, %r2;
    mov.u32 %r1, %ntid.z; mov.u32 %r2, %tid.z; mad.lo.u32 %r0, %r0, %r1, %r2;
    mov.u32 %r1, %ntid.y; mov.u32 %r2, %tid.y; mad.lo.u32 %r0, %r0, %r1, %r2;
    mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x; mad.lo.u32 %r0, %r0, %r1, %r2;
    ld.param.u64 %rd0, [p0]; mul.wide.u32 %rd1, %r0, 4; add.s64 %rd0, %rd0, %rd1; st.u32 [%rd0], %r0; ret;""",
)


def test_special_registers_in_three_dimensions():
    out = np.zeros(2 * 3 * 4 * 5 * 2 * 3, np.uint32)
    run(LANE_NUMBERS, (2, 3, 4), (5, 2, 3), out)
    same(out, np.arange(len(out)))


COLLATZ = """
    mov.u32 %z, 0;
AGAIN:
    setp.le.u32 %p1, %a, 1;
    @%p1 bra DONE;
    add.u32 %z, %z, 1;
    and.b32 %r3, %a, 1;
    setp.eq.u32 %p2, %r3, 0;
    @!%p2 bra ODD;
    shr.u32 %a, %a, 1;
    bra.uni AGAIN;
ODD:
    mad.lo.u32 %a, %a, 3, 1;
    bra AGAIN;
DONE:
"""


def collatz(n):
    steps = 0
    while n > 1:
        n, steps = (3 * n + 1 if n % 2 else n // 2), steps + 1
    return steps


def test_lanes_that_diverge_in_a_loop_reconverge():
    n = np.arange(1, 200, dtype=np.uint32)
    same(compute(COLLATZ, "u32", n), [collatz(int(v)) for v in n])


def test_a_guarded_instruction_leaves_other_lanes_unchanged():
    a = np.arange(10, dtype=np.int32)
    guarded = "mov.u32 %z, 5; setp.lt.s32 %p1, %a, 3; @%p1 mov.u32 %z, 7; @!%p1 add.s32 %z, %z, %a;"
    same(compute(guarded, "s32", a), [7] * 3 + [5 + v for v in range(3, 10)])
    early = "mov.u32 %z, 1; setp.lt.s32 %p1, %a, 3; @%p1 ret;"
    same(compute(early, "s32", a), [0] * 3 + [1] * 7)


LEAVE = kernel(
    ["u64"],
    """
    ld.param.u64 %rd1, [p0]; mul.wide.u32 %rd2, %i, 4; add.s64 %rd1, %rd1, %rd2;
    mul.lo.s32 %r3, %i, 1000; mov.u32 %r4, 0; mov.u32 %r5, 0;
    AGAIN: setp.gt.u32 %p1, %r4, %i; @%p1 bra DONE;
    add.s32 %r5, %r5, %r4; setp.eq.u32 %p2, %r4, 9; @%p2 add.s32 %r5, %r5, %r3;
    add.s32 %r4, %r4, 1; st.global.u32 [%rd1], %r5; bra AGAIN;
    DONE: ret;""",
)


def test_lanes_that_end_one_after_another():
    """Lane i takes the rounds 0 to i. In round 9, when nine lanes have ended, %r3 is read for the first time."""
    out, i = np.zeros(24, np.uint32), np.arange(24)
    report = run(LEAVE, (2,), (12,), out)
    same(out, i * (i + 1) // 2 + np.where(i >= 9, 1000 * i, 0))
    assert report.instructions == 4 + 6 + 24 * 8 + 2 + 1


def test_lanes_may_end_after_a_barrier():
    out = np.zeros(6, np.uint32)
    text = kernel(["u64"], "ld.param.u64 %rd1, [p0]; setp.gt.u32 %p1, %i, 0; @%p1 bra A; A: bar.sync 0; ret;")
    assert run(text, (2,), (3,), out).instructions == 4 + 5


def test_an_endless_loop_is_an_error(monkeypatch):
    monkeypatch.setattr("ptx.machine.MAX_STEPS", 1000)
    with pytest.raises(PTXError, match="no end after 1000 steps"):
        run(kernel([], "HERE: bra HERE;"), (1,), (1,))


VECTORS = kernel(
    ["u64", "u64"],
    """
    ld.param.u64 %rd0, [p0]; ld.param.u64 %rd1, [p1]; mul.wide.u32 %rd2, %i, 16;
    add.s64 %rd0, %rd0, %rd2; add.s64 %rd1, %rd1, %rd2;
    ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd0];
    st.global.v2.f32 [%rd1+8], {%f1, %f0}; st.global.v2.f32 [%rd1], {%f3, %f2}; ret;""",
)


def aligned(count, dtype):
    """Return zeros whose address is a multiple of 16 bytes, like all memory of a GPU."""
    raw = np.zeros(count * np.dtype(dtype).itemsize + 16, np.uint8)
    start = -raw.ctypes.data % 16
    return raw[start : start + count * np.dtype(dtype).itemsize].view(dtype)


def test_vector_loads_and_stores():
    x, y = aligned(20, F32), aligned(20, F32)
    x[:] = np.arange(20)
    report = run(VECTORS, (1,), (5,), x, y)
    same(y, x.reshape(5, 4)[:, ::-1].reshape(-1))
    assert report.arrays == (Traffic(80, 0, 80, 0), Traffic(0, 80, 0, 80))
    with pytest.raises(PTXError, match="misaligned: an access of 16 bytes"):
        run(VECTORS, (1,), (1,), x[1:17], y)


# A whole kernel: a = max(z + b, 0) over m columns; z and a are (m, n) in C order, b is (n,)

BIAS_RELU = """
.visible .entry bias_relu(.param .u64 z, .param .u64 b, .param .u64 a, .param .u32 n, .param .s64 size)
{
    .reg .pred %p<3>; .reg .b32 %r<6>; .reg .f32 %f<5>; .reg .b64 %rd<14>;
    ld.param.u64 %rd1, [z];
    ld.param.u64 %rd2, [b];
    ld.param.u64 %rd3, [a];
    ld.param.u32 %r1, [n];
    ld.param.s64 %rd4, [size];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    cvt.u64.u32 %rd5, %r4;
    mad.wide.u32 %rd6, %r2, %r3, %rd5;      // i: the number of the lane
    mov.u32 %r5, %nctaid.x;
    mul.wide.u32 %rd7, %r5, %r3;            // the stride: the number of lanes
    cvt.u64.u32 %rd8, %r1;
    bra TEST;
LOOP:
    rem.u64 %rd9, %rd6, %rd8;
    shl.b64 %rd10, %rd9, 2;
    add.s64 %rd11, %rd2, %rd10;
    shl.b64 %rd12, %rd6, 2;
    add.s64 %rd13, %rd1, %rd12;
    ld.global.f32 %f1, [%rd13];
    ld.global.f32 %f2, [%rd11];
    add.f32 %f3, %f1, %f2;
    max.f32 %f4, %f3, 0f00000000;
    add.s64 %rd13, %rd3, %rd12;
    st.global.f32 [%rd13], %f4;
    add.s64 %rd6, %rd6, %rd7;
TEST:
    setp.lt.s64 %p1, %rd6, %rd4;
    @%p1 bra LOOP;
    ret;
}
"""
M, N = 5, 7


def bias_relu(text, arguments=lambda z, b, a: (z, b, a, np.int32(N), M * N), grid=(2,), block=(8,), dtype=F32):
    """Run a variant of the kernel; return a, its correct value, and the report."""
    rng = np.random.default_rng(0)
    z, b = rng.normal(size=(M, N)).astype(dtype), rng.normal(size=N).astype(dtype)
    expected = np.array([[max(z[j, k] + b[k], 0) for k in range(N)] for j in range(M)], dtype)
    a = np.full_like(z, 9)
    report = run(text, grid, block, *arguments(z, b, a))
    return a, expected, report


@pytest.mark.parametrize(
    ("grid", "block"), [((1,), (1,)), ((2,), (8,)), ((5,), (7,)), ((9,), (32,)), ((1, 1, 1), (64, 1))]
)
def test_the_kernel_is_right_in_every_launch(grid, block):
    a, expected, report = bias_relu(BIAS_RELU, grid=grid, block=block)
    same(a, expected)
    size = 4 * M * N
    assert report.arrays == (Traffic(size, 0, size, 0), Traffic(size, 0, 4 * N, 0), Traffic(0, size, 0, size))
    rounds = math.ceil(M * N / (math.prod(grid) * math.prod(block)))
    assert (
        report.instructions == 14 + 14 * rounds + 3
    )  # to the first test, each round with its test, the last test and ret


TEXT_MUTANTS = {  # name: (text, replacement, error message, or None if the result is wrong)
    "no bounds check": ("@%p1 bra LOOP;", "bra LOOP;", "out of bounds"),
    "one too many": ("setp.lt.s64", "setp.le.s64", "out of bounds.*byte 140 of argument 1"),
    "no loop": ("@%p1 bra LOOP;", "", None),
    "a stride too short": (
        "mul.wide.u32 %rd7, %r5, %r3",
        "mul.wide.u32 %rd7, %r5, 4",
        "two lanes write to the same address",
    ),
    "a stride of a block": (
        "mul.wide.u32 %rd7, %r5, %r3",
        "cvt.u64.u32 %rd7, %r3",
        "two lanes write to the same address",
    ),
    "a stride too long": ("mul.wide.u32 %rd7, %r5, %r3", "mul.wide.u32 %rd7, %r3, %r3", None),
    "bias by row": ("rem.u64", "div.u64", None),
    "bias without an index": ("rem.u64 %rd9, %rd6, %rd8", "mov.u64 %rd9, 0", None),
    "bias by lane": ("rem.u64 %rd9, %rd6, %rd8", "mov.u64 %rd9, %rd6", "out of bounds.*argument 2"),
    "all write the first": (
        "add.s64 %rd13, %rd3, %rd12;",
        "mov.u64 %rd13, %rd3;",
        "two lanes write to the same address",
    ),
    "writes to its neighbour's": ("st.global.f32 [%rd13]", "st.global.f32 [%rd13+4]", "out of bounds.*argument 3"),
    "writes into its input": ("add.s64 %rd13, %rd3, %rd12;", "add.s64 %rd13, %rd2, %rd10;", "data race"),
    "reads what is written": ("add.s64 %rd13, %rd1, %rd12", "add.s64 %rd13, %rd3, %rd10", "data race"),
    "a step of two bytes": ("shl.b64 %rd12, %rd6, 2", "shl.b64 %rd12, %rd6, 1", "misaligned: an access of 4 bytes"),
    "two bytes off": ("ld.global.f32 %f1, [%rd13]", "ld.global.f32 %f1, [%rd13+2]", "misaligned"),
    "before the beginning": ("ld.global.f32 %f1, [%rd13]", "ld.global.f32 %f1, [%rd13-4]", "byte -4 of argument 1"),
    "float64 loaded": ("ld.global.f32 %f1", "ld.global.f64 %f1", r"%f1 is \.f32, the instruction \.f64"),
    "float64 added": ("add.f32", "add.f64", r"%f1 is \.f32, the instruction \.f64"),
    "bits of a float64": (
        "0f00000000",
        "0d0000000000000000",
        r"0d0000000000000000 is neither a declared register nor a \.f32",
    ),
    "another operation": ("add.f32", "sub.f32", None),
    "integers added": ("add.f32", "add.s32", None),
    "min for max": ("max.f32", "min.f32", None),
    "no such instruction": ("max.f32", "maximum.f32", r"unknown instruction maximum\.f32"),
    "no such modifier": ("add.f32", "add.rna.f32", r"unknown instruction add\.rna\.f32"),
    "an atomic": (
        "st.global.f32 [%rd13], %f4",
        "red.global.add.f32 [%rd13], %f4",
        r"unknown instruction red\.global\.add",
    ),
    "a shuffle": ("add.f32 %f3,", "shfl.sync.bfly.b32 %f3,", r"unknown instruction shfl\.sync"),
    "shared memory": (".reg .pred", ".shared .align 4 .f32 s[32]; .reg .pred", r"unknown directive: \.shared"),
    "no such register": ("add.f32 %f3", "add.f32 %f9", "%f9 is not a declared register"),
    "no such label": ("bra TEST", "bra TESTS", "label TESTS is not defined"),
    "no such parameter": ("[size]", "[length]", "is not a parameter"),
    "half a parameter": ("ld.param.u32 %r1, [n]", "ld.param.u64 %rd8, [n]", r"\[n\] is not a parameter of \.u64"),
    "a register never set": ("ld.param.u64 %rd2, [b];", "", "%rd2 is read but never written"),
    "an operand too few": ("add.f32 %f3, %f1, %f2", "add.f32 %f3, %f1", "must have 3 operands, got 2"),
    "size unsigned and small": ("ld.param.s64 %rd4, [size]", "ld.param.u8 %rd4, [size+1]", None),
}


@pytest.mark.parametrize("name", TEXT_MUTANTS)
def test_errors_in_the_text_are_detected(name):
    old, new, message = TEXT_MUTANTS[name]
    assert BIAS_RELU.count(old) == 1
    _detected(message, BIAS_RELU.replace(old, new))


def _detected(message, text, **launch):
    if message is None:
        a, expected, _ = bias_relu(text, **launch)
        assert not np.array_equal(a, expected)
    else:
        with pytest.raises(PTXError, match=message):
            bias_relu(text, **launch)


CALL_MUTANTS = {  # name: (arguments, given z, b and a; error message, or None if the result is wrong)
    "z and b swapped": (lambda z, b, a: (b, z, a, np.int32(N), M * N), "out of bounds.*argument 1"),
    "z and a swapped": (lambda z, b, a: (a, b, z, np.int32(N), M * N), None),
    "n and size swapped": (lambda z, b, a: (z, b, a, np.int32(M * N), N), None),
    "another n": (lambda z, b, a: (z, b, a, np.int32(N + 1), M * N), "out of bounds.*argument 2"),
    "another size": (lambda z, b, a: (z, b, a, np.int32(N), M * N + 1), "out of bounds.*argument 1"),
    "one too few": (lambda z, b, a: (z, b, a, np.int32(N)), "takes 5 arguments, got 4"),
    "one too many": (lambda z, b, a: (z, b, a, np.int32(N), M * N, 0), "takes 5 arguments, got 6"),
    "a Python int for 32 bits": (lambda z, b, a: (z, b, a, N, M * N), r"argument 4 packs as int64, .*is \.u32"),
    "a float for an integer": (lambda z, b, a: (z, b, a, np.int32(N), float(M * N)), "argument 5 packs as float64"),
    "32 bits for 64": (lambda z, b, a: (z, b, a, np.int32(N), np.int32(M * N)), r"argument 5 packs as int32, .*\.s64"),
    "a bool": (lambda z, b, a: (z, b, a, True, M * N), "argument 4 packs as bool"),
    "a number for a pointer": (lambda z, b, a: (12, b, a, np.int32(N), M * N), "in none of the arguments"),
    "None": (lambda z, b, a: (z, b, a, None, M * N), "CuPy cannot pass the type NoneType to a kernel"),
    "an int too large": (lambda z, b, a: (z, b, a, np.int32(N), 2**64), "CuPy cannot pass the type int to a kernel"),
    "float64 for float32": (
        lambda z, b, a: (z.astype(F64), b, a, np.int32(N), M * N),
        r"access as f32 through.*float64\[35\]",
    ),
    "float16 for float32": (
        lambda z, b, a: (z, b, a.astype(np.float16), np.int32(N), M * N),
        r"through.*float16\[35\]",
    ),
    "int32 for float32": (lambda z, b, a: (z.view(np.int32), b, a, np.int32(N), M * N), "access as f32 through.*int32"),
    "columns of a larger array": (
        lambda z, b, a: (np.tile(z, 2)[:, :N], b, a, np.int32(N), M * N),
        "argument 1.*contiguous",
    ),
    "one array, shifted": (
        lambda z, b, a: ((both := np.append(z, z))[: M * N], b, both[1 : M * N + 1], np.int32(N), M * N),
        "data race",
    ),
    "a read-only output": (lambda z, b, a: (z, b, np.frombuffer(a.tobytes(), F32), np.int32(N), M * N), "read-only"),
}


@pytest.mark.parametrize("name", CALL_MUTANTS)
def test_errors_in_the_arguments_are_detected(name):
    arguments, message = CALL_MUTANTS[name]
    _detected(message, BIAS_RELU, arguments=arguments)


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((0,), (8,)),
        ((1,), (0,)),
        ((1,), (1025,)),
        ((1,), (32, 33)),
        ((1,), (1, 1, 65)),
        ((1, 65536), (1,)),
        ((2**31,), (1,)),
    ],
)
def test_launches_beyond_the_limits_are_errors(grid, block):
    _detected("limit", BIAS_RELU, grid=grid, block=block)


def test_float64_data_through_float32_pointers_is_an_error():
    _detected("an access as f32 through argument 1", BIAS_RELU, dtype=F64)


# A sum over the 8 lanes of a block, by a tree reduction in shared memory: out[block] = Σ x

BLOCK_SUM = """
.extern .shared .align 8 .b8 part[];
.visible .entry block_sum(.param .u64 x, .param .u64 out)
{
    .reg .pred %p<3>; .reg .b32 %r<6>; .reg .f64 %d<3>; .reg .b64 %rd<9>;
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [out];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.s32 %r4, %r1, %r2, %r3;
    mul.wide.u32 %rd3, %r4, 8;
    add.s64 %rd1, %rd1, %rd3;
    ld.global.f64 %d1, [%rd1];
    mov.u64 %rd4, part;
    mul.wide.u32 %rd5, %r3, 8;
    add.s64 %rd4, %rd4, %rd5;
    st.shared.f64 [%rd4], %d1;
    mov.u32 %r5, 4;
HALVE:
    bar.sync 0;                             // wait for the other lanes
    setp.ge.u32 %p1, %r3, %r5;
    @%p1 bra NEXT;
    mul.wide.u32 %rd6, %r5, 8;
    add.s64 %rd7, %rd4, %rd6;
    ld.shared.f64 %d2, [%rd7];
    add.f64 %d1, %d1, %d2;
    st.shared.f64 [%rd4], %d1;
NEXT:
    shr.u32 %r5, %r5, 1;
    setp.ne.u32 %p2, %r5, 0;
    @%p2 bra HALVE;
    setp.ne.u32 %p1, %r3, 0;
    @%p1 ret;
    ld.shared.f64 %d1, [part];
    mul.wide.u32 %rd8, %r1, 8;
    add.s64 %rd2, %rd2, %rd8;
    st.global.f64 [%rd2], %d1;
    ret;
}
"""


def block_sum(text, shared_bytes=64):
    x, out = np.random.default_rng(0).integers(-99, 99, (3, 8)).astype(F64), np.zeros(3)
    run(text, (3,), (8,), x, out, shared_bytes=shared_bytes)
    return out, [math.fsum(row) for row in x]


def test_a_sum_in_shared_memory():
    same(*block_sum(BLOCK_SUM))
    size = kernel(["u64"], "mov.u32 %r3, %dynamic_smem_size; ld.param.u64 %rd0, [p0]; st.u32 [%rd0], %r3;")
    out = np.zeros(1, np.uint32)
    run(size, (1,), (1,), out, shared_bytes=48)
    same(out, [48])


STATIC_BLOCK_SUM = (
    BLOCK_SUM.replace(".extern .shared .align 8 .b8 part[];", "")
    .replace(
        "mov.u64 %rd4, part;", ".shared .align 1 .b8 before[3]; .shared .align 8 .b8 part[64]; mov.u64 %rd4, part;"
    )
    .replace("ld.shared.f64 %d1, [part]", "mov.u32 %r5, part; ld.shared.f64 %d1, [%r5]")  # an address of 32 bits
)


def test_a_sum_in_static_shared_memory():
    assert ".extern" not in STATIC_BLOCK_SUM
    same(*block_sum(STATIC_BLOCK_SUM, shared_bytes=0))
    with pytest.raises(PTXError, match="byte 88 of the 80 bytes"):  # 72, rounded up for dynamic shared memory
        block_sum(STATIC_BLOCK_SUM.replace("mul.wide.u32 %rd5, %r3, 8", "mul.wide.u32 %rd5, %r3, 16"), shared_bytes=0)
    with pytest.raises(PTXError, match="limit"):
        block_sum(STATIC_BLOCK_SUM, shared_bytes=48 * 1024 - 64)


SHARED_MUTANTS = {
    "no barrier": ("bar.sync 0;", "", "data race: a lane reads what another lane has written"),
    "a barrier for some": ("HALVE:", "setp.ge.u32 %p1, %r3, %r5; @%p1 bra NEXT; HALVE:", "some lanes of a block"),
    "all in one place": ("add.s64 %rd4, %rd4, %rd5;", "", "two lanes write to the same address"),
    "four bytes apart": ("mul.wide.u32 %rd5, %r3, 8", "mul.wide.u32 %rd5, %r3, 4", "misaligned"),
    "sixteen bytes apart": ("mul.wide.u32 %rd5, %r3, 8", "mul.wide.u32 %rd5, %r3, 16", "byte 64 of the 64 bytes"),
    "one beyond": ("ld.shared.f64 %d2, [%rd7]", "ld.shared.f64 %d2, [%rd7+32]", "byte 64 of the 64 bytes"),
    "global for shared": ("ld.shared.f64 %d2", "ld.global.f64 %d2", "in none of the arguments"),
    "shared for global": ("st.global.f64", "st.shared.f64", "out of bounds"),
    "begins halfway": ("mov.u32 %r5, 4", "mov.u32 %r5, 2", None),
    "never written": ("st.shared.f64 [%rd4], %d1;\n    mov", "mov", None),
    "a guarded barrier": ("bar.sync 0;", "setp.ge.u32 %p1, %r3, 0; @%p1 bar.sync 0;", r"instruction bar\.sync"),
    "another barrier": ("bar.sync 0;", "bar.sync 1, 64;", r"unknown instruction bar\.sync"),
}


@pytest.mark.parametrize("name", SHARED_MUTANTS)
def test_errors_with_shared_memory_are_detected(name):
    old, new, message = SHARED_MUTANTS[name]
    assert BLOCK_SUM.count(old) == 1
    if message is None:
        out, expected = block_sum(BLOCK_SUM.replace(old, new))
        assert not np.array_equal(out, expected)
    else:
        with pytest.raises(PTXError, match=message):
            block_sum(BLOCK_SUM.replace(old, new))


@pytest.mark.parametrize(
    ("size", "message"), [(56, "byte 56 of the 56 bytes"), (-1, "limit"), (48 * 1024 + 1, "limit")]
)
def test_the_launch_sets_the_size_of_shared_memory(size, message):
    with pytest.raises(PTXError, match=message):
        block_sum(BLOCK_SUM, shared_bytes=size)


# Arrays that share memory, views, and empty arrays


def test_an_update_in_place_is_not_a_race():
    a, expected, report = bias_relu(BIAS_RELU, lambda z, b, a: (_copied(z, a), b, a, np.int32(N), M * N))
    same(a, expected)
    assert report.arrays[0].read == report.arrays[2].written == 4 * M * N


def _copied(z, a):
    a[:] = z
    return a


def test_only_the_bytes_of_a_view_are_in_bounds():
    whole = np.zeros(100, F32)
    part = whole[30 : 30 + M * N]
    a, expected, _ = bias_relu(BIAS_RELU, lambda z, b, a: (_copied(z.reshape(-1), part), b, a, np.int32(N), M * N))
    same(a, expected)
    for size in (M * N + 1, 100):
        with pytest.raises(PTXError, match=r"out of bounds.*argument 1 \(float32\[35\]\)"):
            bias_relu(BIAS_RELU, lambda z, b, a, size=size: (part, b, np.zeros(100, F32), np.int32(N), size))


def test_empty_arrays():
    empty = np.zeros((0, N), F32)
    report = run(BIAS_RELU, (1,), (8,), empty, np.zeros(N, F32), empty, np.int32(N), 0)
    assert report.arrays == (Traffic(0, 0, 0, 0),) * 3
    with pytest.raises(PTXError, match=r"out of bounds.*float32\[0\]"):
        run(BIAS_RELU, (1,), (8,), empty, np.zeros(N, F32), empty, np.int32(N), 1)


def test_fortran_order_is_accepted():
    z = np.asfortranarray(np.arange(M * N, dtype=F32).reshape(N, M))
    a = np.zeros_like(z, order="F")
    run(BIAS_RELU, (1,), (8,), z, np.ones(N, F32), a, np.int32(N), M * N)
    same(a, z + 1)


def test_races_between_items_of_different_widths_are_detected():
    text = kernel(
        ["u64", "u64"],
        """
        ld.param.u64 %rd0, [p0]; mul.wide.u32 %rd1, %i, 8; add.s64 %rd0, %rd0, %rd1; st.global.u64 [%rd0], 1;
        ld.param.u64 %rd2, [p1]; cvt.u64.u32 %rd3, %i; add.s64 %rd2, %rd2, %rd3; ld.global.u8 %h0, [%rd2]; ret;""",
    )
    wide = np.zeros(4, np.uint64)
    with pytest.raises(PTXError, match="a lane reads what another lane has written"):
        run(text, (1,), (4,), wide, wide.view(np.uint8))
    run(text, (1,), (1,), wide, wide.view(np.uint8))
    run(text, (1,), (4,), wide, np.zeros(4, np.uint8))


@pytest.mark.parametrize(
    ("kind", "value", "bits"),
    [
        ("s64", -3, np.int64(-3)),
        ("u64", 2**63 + 1, np.uint64(2**63 + 1)),
        ("f64", 0.1, np.float64(0.1)),
        ("f32", F32(0.1), F32(0.1)),
        ("s16", np.int16(-3), np.int16(-3)),
        ("u8", True, np.uint8(1)),
        ("b32", F32(0.1), F32(0.1)),
    ],
)
def test_scalars_are_packed_as_by_cupy(kind, value, bits):
    size = 8 * bits.itemsize
    body = f"ld.param.b{size} %v, [p0]; ld.param.u64 %rd0, [p1]; st.b{size} [%rd0], %v;"
    text = kernel([kind, "u64"], body, f".reg .b{max(16, size)} %v;")
    out = np.zeros(1, bits.dtype)
    run(text, (1,), (1,), value, out)
    same(out, bits)


def test_a_text_must_have_one_kernel():
    for text in ("", BIAS_RELU + BIAS_RELU, BIAS_RELU.rstrip()[:-1], BIAS_RELU.replace("u64 z", "u128 z")):
        with pytest.raises(PTXError):
            run(text, (1,), (1,))


# Kernels at the addresses of this process.

STRIDED = """
    .version 7.0 .target sm_75 .address_size 64
    .visible .entry strided(.param .align 8 .b8 x[24], .param .u64 .ptr .global .align 8 out)
    {
        .reg .pred %p; .reg .b32 %r<2>; .reg .b64 %rd<8>; .reg .f64 %d;
        mov.u32 %r0, %tid.x;  cvt.u64.u32 %rd0, %r0;
        ld.param.u64 %rd1, [x];  ld.param.u64 %rd2, [x+8];  ld.param.u64 %rd3, [x+16];  ld.param.u64 %rd4, [out];
        setp.ge.u64 %p, %rd0, %rd2;
        @%p ret;
        mul.lo.s64 %rd5, %rd0, %rd3;  add.s64 %rd1, %rd1, %rd5;
        ld.global.f64 %d, [%rd1];
        shl.b64 %rd6, %rd0, 3;  add.s64 %rd4, %rd4, %rd6;
        st.global.f64 [%rd4], %d;
        ret;
    }"""
"""Copies the items of an array, which is a structure of an address, a number of items and their distance in bytes."""


def strided(x, out, count, stride, *, blocks=None, size=16):
    known = [x, out] if blocks is None else blocks

    def find(address):
        for array in known:
            if 0 <= address - array.ctypes.data < array.nbytes:
                return array.ctypes.data, array.nbytes
        raise PTXError(f"no block has address {address}")

    structure = struct.pack("<QQQ", x.ctypes.data, count, stride)
    run_at_addresses(STRIDED, (1,), (size,), [structure, struct.pack("<Q", out.ctypes.data)], find)


def test_a_structure_with_an_address():
    x, out = np.arange(20.0), np.full(10, np.nan)
    strided(x, out, 10, 16)
    assert out.tolist() == x[::2].tolist()
    assert parameter_sizes(STRIDED) == [24, 8]
    with pytest.raises(PTXError, match="strided: argument 1 is a structure, which only `run_at_addresses` takes"):
        run(STRIDED, (1,), (1,), x, out)
    with pytest.raises(PTXError, match=r"strided takes parameters of \[24, 8\] bytes, got \[16, 8\]"):
        run_at_addresses(STRIDED, (1,), (1,), [bytes(16), bytes(8)], None)


@pytest.mark.parametrize(
    ("count", "stride", "message"),
    [(11, 16, "no block has address"), (10, 4, "misaligned"), (1, 16, None)],
)
def test_accesses_outside_the_blocks_are_errors(count, stride, message):
    memory = np.zeros(64)  # the blocks are parts of one array, so that no access outside them leaves it
    x, out = memory[:20], memory[32:42]
    if message is None:
        with pytest.raises(PTXError, match="across the end"):
            strided(x, out, count, stride, blocks=[x[:1].view(np.uint8)[:4], out])
    else:
        with pytest.raises(PTXError, match=message):
            strided(x, out, count, stride)


# The package.


def test_the_package_imports_only_the_standard_library_and_numpy():
    """So that it can be copied into another project."""
    imported = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition(".")[0])
    assert imported - sys.stdlib_module_names == {"numpy"}


def test_the_package_works_without_the_rest(run_python, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "alone" / "ptx")
    (example,) = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.S)
    (said,) = re.findall(r"^print\(.*#(.*)$", example, re.M)
    source = f"import sys\nsys.path.insert(0, 'alone')\n{example}\nassert not [n for n in sys.modules if 'fastbp' in n]"
    done = run_python(source, PYTHONPATH="")
    assert done.stdout.strip() == said.strip(), done.stderr
