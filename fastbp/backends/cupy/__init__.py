"""The equations on a GPU, through CuPy."""
