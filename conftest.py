"""Configuration of the test run: files that are not collected, and how `pytest -n 2` distributes the tests."""

from importlib.util import find_spec

import pytest

collect_ignore = []
if find_spec("numba_cuda") is None:  # without numba-cuda, the examples of the CUDA kernels cannot run
    collect_ignore += ["kernels/fastbp_kernels/cuda"]

THREADED = {f"tests/backends/test_{name}.py" for name in ("forks", "interrupts", "threads", "work_sharing")}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each file to one worker, which compiles and loads its kernels once; all tests of threads go to the same."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "threads" if file in THREADED else file

    return ByFile(config, log)
