"""Set-up for the whole test run: what is collected from the packages, and how `pytest -n 2` shares the tests out."""

from importlib.util import find_spec

import pytest

collect_ignore = []
if find_spec("numba_cuda") is None:  # without numba-cuda, the examples of the CUDA kernels cannot run
    collect_ignore += ["kernels/fastbp_kernels/cuda/kernels.py", "kernels/fastbp_kernels/cuda/listing.py"]

THREADED = {f"tests/backends/test_{name}.py" for name in ("forks", "halves", "interrupts", "threads")}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each file to one worker, which compiles and loads its kernels once; tests of threads all to the same one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "threads" if file in THREADED else file

    return ByFile(config, log)
