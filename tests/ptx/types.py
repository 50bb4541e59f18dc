"""The fundamental types of PTX as NumPy dtypes (PTX ISA, "Fundamental Types"), without f16 and the packed types."""

from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TYPES = {
    **{f"u{8 * size}": np.dtype(f"u{size}") for size in (1, 2, 4, 8)},
    **{f"s{8 * size}": np.dtype(f"i{size}") for size in (1, 2, 4, 8)},
    **{f"b{8 * size}": np.dtype(f"u{size}") for size in (1, 2, 4, 8)},
    "f32": np.dtype("f4"),
    "f64": np.dtype("f8"),
    "pred": np.dtype(bool),
}


@cache
def bits_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the unsigned type of the same width, as which registers are stored."""
    return np.dtype(bool) if dtype.kind == "b" else np.dtype(f"u{dtype.itemsize}")


def size_of(parameter: str) -> int:
    """Return the number of bytes of a parameter's type: "f32", or "b8[24]" for a structure."""
    return TYPES[parameter].itemsize if parameter in TYPES else int(parameter.removeprefix("b8[").removesuffix("]"))
