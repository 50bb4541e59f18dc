"""The kernels for CUDA, compiled by Numba and loaded by CuPy."""
