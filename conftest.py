"""Set-up for the whole test run: what is collected from the packages, and how `pytest -n 2` shares the tests out."""

from importlib.util import find_spec

collect_ignore = []
if find_spec("numba_cuda") is None:  # without numba-cuda, the examples of the CUDA kernels cannot run
    collect_ignore += ["kernels/fastbp_kernels/cuda.py", "kernels/fastbp_kernels/cuda_listing.py"]


def pytest_configure(config):
    """Keep the tests of an `xdist_group` in one worker, which `-n 2` alone does not."""
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"
