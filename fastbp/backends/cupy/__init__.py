"""The CUDA backend: the equations on a GPU, through CuPy."""
