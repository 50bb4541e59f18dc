"""The kernels of backpropagation for the CPU and for CUDA: loops over arrays, compiled from scalar formulas by Numba.

`words` contains the functions to write formulas with. `specialize` replaces these by the functions of a target (CPU or
CUDA). `cpu` and `cuda` compile loops around formulas. This package does not depend on networks and imports nothing from
fastbp.
"""
