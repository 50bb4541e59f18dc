"""Fused multiply-add: a product and a sum, rounded once. Also directed roundings to float32.

A float32 result is computed in float64: the product of two float32 numbers is exact there, and a sum *rounded to odd*
keeps everything that a later rounding to float32 needs. A float64 result is computed from error-free parts by the same
idea: S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
odd", IEEE Transactions on Computers 57 (2008). For extreme exponents, where the parts are not error-free, `Fraction` is
used.
"""

import math
from fractions import Fraction

import numpy as np

from .types import Array

SPLITTER = 2.0**27 + 1  # Dekker: splits 53 bits into 26 and 26
ERROR_FREE = (2.0**-900, 2.0**990)  # |a b| for which the rounding error is a float64 and sums are finite


def fused(a: Array, b: Array, c: Array, mode: str = "rn") -> Array:
    """Return a b + c, rounded once: to nearest (rn), or for float32 also down, up or to zero (rm, rp, rz)."""
    if a.dtype == np.float32:
        return narrowed(_sum_to_odd(a.astype(np.float64) * b, c.astype(np.float64)), mode)
    assert mode == "rn"
    return _fused_float64(*np.broadcast_arrays(a, b, c))


def narrowed(x: Array, mode: str = "rn") -> Array:
    """Return float64 numbers as float32, rounded to nearest (rn), down (rm), up (rp) or to zero (rz)."""
    nearest = x.astype(np.float32)
    if mode == "rn":
        return nearest
    down = (x > 0) if mode == "rz" else np.full(x.shape, mode == "rm")
    wrong = np.where(down, nearest > x, nearest < x)
    towards = np.where(down, np.float32(-np.inf), np.float32(np.inf))
    return np.where(wrong, np.nextafter(nearest, towards), nearest)


def _two_sum(x: Array, y: Array) -> tuple[Array, Array]:
    """Return (s, e): s is x + y rounded, and s + e = x + y exactly (Knuth)."""
    s = x + y
    v = s - x
    return s, (x - (s - v)) + (y - v)


def _two_product(x: Array, y: Array) -> tuple[Array, Array]:
    """Return (p, e): p is x y rounded, and p + e = x y exactly (Dekker)."""
    p = x * y
    (xh, xl), (yh, yl) = _split(x), _split(y)
    return p, ((xh * yh - p) + xh * yl + xl * yh) + xl * yl


def _split(x: Array) -> tuple[Array, Array]:
    t = SPLITTER * x
    high = t - (t - x)
    return high, x - high


def _sum_to_odd(x: Array, y: Array) -> Array:
    """Return x + y; if that is not a float64, the neighbour with an odd last bit."""
    s, e = _two_sum(x, y)
    even = (e != 0) & np.isfinite(s) & (s.view(np.uint64) & 1 == 0)
    return np.where(even, np.nextafter(s, np.where(e > 0, np.inf, -np.inf)), s)


def _fused_float64(a: Array, b: Array, c: Array) -> Array:
    product, error = _two_product(a, b)
    high, low = _two_sum(c, error)
    top, rest = _two_sum(product, high)
    result = top + _sum_to_odd(rest, low)
    small, large = ERROR_FREE
    size = np.abs(product)
    finite = np.isfinite(a) & np.isfinite(b) & np.isfinite(c)
    in_range = (size < large) & (np.abs(a) < large) & (np.abs(b) < large) & (np.abs(c) < large)
    one_rounding = ~finite | (a == 0) | (b == 0)  # a b + c is rounded once already, and zeros get the right sign
    plain = np.where(np.isfinite(a) & np.isfinite(b) & np.isinf(c), c, product + c)  # the product may have overflowed
    result = np.where(one_rounding, plain, result)
    for i in np.flatnonzero(~one_rounding & ~(in_range & (size > small))):
        result[i] = _fused_exactly(float(a[i]), float(b[i]), float(c[i]))
    return result


def _fused_exactly(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c  # for the sign of the zero
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
