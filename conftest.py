"""What is collected from the packages: without numba-cuda, the examples of the CUDA kernels cannot run."""

from importlib.util import find_spec

collect_ignore = []
if find_spec("numba_cuda") is None:
    collect_ignore += ["kernels/fastbp_kernels/cuda.py", "kernels/fastbp_kernels/cuda_listing.py"]
