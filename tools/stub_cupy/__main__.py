"""Run the CUDA backend with CuPy's real code, on a machine without a GPU: `python tools/stub_cupy CACHE`.

CuPy's source distribution is built without CUDA (`CUPY_INSTALL_USE_STUB=1`) in an environment of its own, in the folder
CACHE. There, `stub_machine.py` puts two GPUs behind it. The wheel and the environment are kept, so only the first run
builds. It takes a C and a C++ compiler, `nm`, Linux on x86-64, and the package index. Exits with 1 if a step fails.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CUPY = "14.2.0"
PACKAGES = [
    "numba-cuda[cu13]>=0.30.4,<0.31", "cuda-core>=0.7", "numpy<2.5", "nvidia-cuda-nvrtc",
    "pytest", "hypothesis", "scikit-learn", "mpmath", "coverage",
]  # fmt: skip
OF_CUDA = re.compile(r"(?:cuda|cublas|curand|cusolver|cusparse|cutensor|nccl)[A-Z]\w+|_Z\d+(?:cub|thrust)_\w+")
MEASURED = "fastbp/backends/cupy"
TESTS = ["pytest", "-q", "-p", "no:cacheprovider", "-p", "stub_checks"]
LEFT_OUT = (  # of the tests for a GPU
    "hundred_runs",  # all operations of the interpreter are in a fixed order
    "fastbp_check",  # is a step of its own
    "prints_its_table",  # would start a process without the stand-ins
)
STEPS = {
    "public functions on a device, against numpy": [
        *TESTS, "-m", "gpu", "tests/backends/test_gpu.py", "-k", f"not ({' or '.join(LEFT_OUT)})",
    ],
    "fastbp check, on the second device": ["stub_selftest"],
    "everything on the second device": [*TESTS, "tools/stub_cupy/test_two_devices.py"],
    "host time of a step": ["stub_costs"],
}  # fmt: skip
NOT_MEASURED = "stub_costs"  # it would take longer while lines are recorded


def main() -> int:
    """Build what is missing, and run the steps. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python tools/stub_cupy", description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="a folder for the wheel, the environment and the library")
    parser.add_argument("--jobs", type=int, default=1, help="compilations at a time, by default 1")
    arguments = parser.parse_args()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    python = _environment(cache, arguments.jobs)
    library = _library(cache)
    environment = {
        **os.environ, "FASTBP_STUB_LIBRARY": str(library), "COVERAGE_FILE": str(cache / "coverage"),
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in (".", "kernels", "tests", "tools/stub_cupy")),
    }  # fmt: skip
    subprocess.run([python, "-m", "coverage", "erase"], env=environment, check=True)
    failed = [name for name, command in STEPS.items() if not _passes(python, environment, name, command)]
    subprocess.run([python, "-m", "coverage", "report", "--show-missing"], env=environment, cwd=ROOT)
    print("failed: " + ", ".join(failed) if failed else "all steps passed")
    return bool(failed)


def _environment(cache: Path, jobs: int) -> Path:
    """Return the interpreter of the environment. Build CuPy, and install what is missing."""
    python = cache / "venv/bin/python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", cache / "venv"])
    name = f"cupy-{CUPY}-cp{sys.version_info.major}{sys.version_info.minor}-*.whl"
    if not list(cache.glob(name)):
        build = {"CUPY_INSTALL_USE_STUB": "1", "CUPY_NUM_BUILD_JOBS": str(jobs)}
        pip_wheel = [python, "-m", "pip", "wheel", "--no-deps", "--no-binary", "cupy", "--wheel-dir", cache]
        _run([*pip_wheel, f"cupy=={CUPY}"], **build)
    (wheel,) = cache.glob(name)
    _run([python, "-m", "pip", "install", "--quiet", wheel, *PACKAGES, "--editable", ROOT])
    return python


def _library(cache: Path) -> Path:
    """Compile `driver.c`, with a function for each other name of CUDA's that CuPy refers to; return the library.

    Without such a function, CuPy would call its own, which does nothing and reports success.
    """
    names: set[str] = set()
    for path in cache.glob("venv/lib/python*/site-packages/cupy*/**/*.so"):
        names.update(_functions(path))
    compile_ = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC"]
    _run([*compile_, "-c", HERE / "driver.c", "-o", cache / "driver.o"])
    others = sorted(names - _functions(cache / "driver.o"))
    text = "int stand_in_unsupported(const char *name);\n"
    text += "".join(f'int {name}(void) {{ return stand_in_unsupported("{name}"); }}\n' for name in others)
    (cache / "others.c").write_text(text)
    library = cache / "libcublas.so.13"
    _run([
        *compile_, "-shared", f"-Wl,-soname,{library.name}", cache / "driver.o", cache / "others.c", "-o", library,
        "-lpthread",
    ])  # fmt: skip
    # The part of cuBLAS that is loaded before it. Nothing of it is called.
    (cache / "empty.c").write_text("")
    other = "libcublasLt.so.13"
    _run(["cc", "-shared", f"-Wl,-soname,{other}", cache / "empty.c", "-o", cache / other])
    return library


def _functions(path: Path) -> set[str]:
    """Return the names of CUDA's functions that a library or an object file defines."""
    listing = subprocess.check_output(["nm", "--defined-only", "--extern-only", *["-D"] * (path.suffix == ".so"), path])
    names = (line.split()[-1] for line in listing.decode().splitlines())
    return {name for name in names if OF_CUDA.fullmatch(name)}


def _passes(python: Path, environment: dict[str, str], name: str, command: list[str]) -> bool:
    print(f"---- {name}", flush=True)
    start = time.perf_counter()
    recorded = [] if command[0] == NOT_MEASURED else ["coverage", "run", "--append", f"--source={MEASURED}", "-m"]
    done = subprocess.run([python, HERE / "stub_machine.py", *recorded, *command], env=environment, cwd=ROOT)
    seconds, result = time.perf_counter() - start, "FAILED" if done.returncode else "passed"
    print(f"{name}: {result} in {seconds:.0f} s", flush=True)
    return done.returncode == 0


def _run(command: list, **environment: str) -> None:
    subprocess.run(list(map(str, command)), check=True, env={**os.environ, **environment})


if __name__ == "__main__":
    sys.exit(main())
