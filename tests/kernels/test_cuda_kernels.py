"""The CUDA kernels without a GPU: they compile, they link, and executed they do what the CPU's kernels do."""

import re

import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")
pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'fastbp[cuda13]'")

from cuda_against_cpu import PAIRS, SHAPES, compare, execute, few_threads

from fastbp_kernels.cuda import kernels as cuda
from fastbp_kernels.cuda import listing as cuda_listing
from fastbp_kernels.specialize import FormulaError
from fastbp_kernels.words import exp

pytestmark = pytest.mark.cuda
DTYPES = ["float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_a_kernel_compiles_links_and_does_what_the_cpu_does(name, dtype, rng):
    pair = PAIRS[name]
    kernel = pair.make(cuda, dtype)
    assert dtype == "float64" or ".f64" not in kernel.ptx
    for architecture in cuda.ARCHITECTURES:
        code, log = kernel.linked(architecture)
        assert code.startswith(b"\x7fELF")
        assert re.search(r"\b0 bytes spill stores, 0 bytes spill loads", log), (architecture, log)
        assert cuda_listing.registers_of(log) <= 40, (architecture, log)
    for m, n in SHAPES:
        compare(cuda, pair, dtype, pair.arguments(rng, m, n, dtype))
    compare(cuda, pair, dtype, pair.arguments(rng, 33, 40, dtype), few_threads(kernel, 33, 40))


@pytest.mark.parametrize("name", PAIRS)
def test_a_kernel_over_nothing_touches_nothing(name, rng):
    pair = PAIRS[name]
    m, n = (5, 0) if name == "add_column_sums" else (0, 5)  # no sums still make b beta b
    arguments = pair.arguments(rng, 1, 1, "float32")
    report = execute(pair.make(cuda, "float32"), *arguments.values(), m, n)
    assert all(traffic.read == traffic.written == 0 for traffic in report.arrays)


def test_the_listing_has_ratio_1_for_every_kernel(capsys):
    cuda_listing.main()
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2 * len(cuda.KERNELS)
    assert all(line.endswith(" 1.00") for line in lines), "\n".join(lines)


def test_a_formula_that_makes_float64_is_refused():
    def widened(z):
        return exp(z) * (3 / 7 * 10**40)  # Python computes the constant before it is lowered: a float64 beyond float32

    with pytest.raises(FormulaError, match="float64"):
        cuda.activate(widened, "float32", bias=True, keep_z=True)
