"""The kernels of backpropagation for the CPU and for CUDA: loops over arrays, compiled from scalar formulas by Numba.

`words` holds the functions that formulas are written with, `specialize` replaces them by those of a target, `cpu` and
`cuda` compile loops around formulas. This package does not depend on networks and imports nothing from fastbp.
"""
