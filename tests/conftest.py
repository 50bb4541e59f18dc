import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(20_240_321)


@pytest.fixture(params=["numpy", "numpy-plain", "array_api_strict", "torch"])
def backend(request):
    """Every backend that is installed, by name."""
    if request.param == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    return request.param


@pytest.fixture
def run_python(tmp_path):
    """Run a script in a process of its own, in a folder of its own; return the finished process."""
    import os
    import subprocess
    import sys

    def run(source, *arguments, name="script.py", timeout=120, **environment):
        script = tmp_path / name
        script.write_text(source, encoding="utf-8")
        command = [sys.executable, "-W", "error", str(script), *arguments]
        merged = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env=merged)

    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB, where mounting one is allowed."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, text=True
        )
    except OSError as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)
