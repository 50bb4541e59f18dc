"""The CUDA kernels without a GPU: they compile and link, and their PTX computes what the CPU kernels compute."""

import re

import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")
pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'fastbp[cuda13]'")

from cuda_against_cpu import PAIRS, SHAPES, compare, execute, few_threads, flat

from fastbp.activations import sigmoid
from fastbp.costs import output_rule, quadratic
from fastbp.optimizers import SGD, Adam
from fastbp_kernels.cuda import kernels as cuda
from fastbp_kernels.cuda import listing
from fastbp_kernels.cuda.compilation import ARCHITECTURES
from fastbp_kernels.specialize import FormulaError
from fastbp_kernels.words import exp

pytestmark = pytest.mark.cuda
DTYPES = ["float32", "float64"]
RULE = output_rule(sigmoid, quadratic)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_a_kernel_compiles_links_and_agrees_with_the_cpu(name, dtype, rng):
    pair = PAIRS[name]
    kernel = pair.make(cuda, dtype)
    assert dtype == "float64" or ".f64" not in kernel.ptx
    for architecture in ARCHITECTURES:
        code, log = kernel.link(architecture, "-v")
        assert code.startswith(b"\x7fELF")
        assert re.search(r"\b0 bytes spill stores, 0 bytes spill loads", log), (architecture, log)
        assert listing.registers_of(log) <= {"float32": 40, "float64": 48}[dtype], (architecture, log)
    for m, n in SHAPES:
        compare(cuda, pair, dtype, pair.arguments(rng, m, n, dtype))
    compare(cuda, pair, dtype, pair.arguments(rng, 33, 40, dtype), few_threads(kernel, 33, 40))


@pytest.mark.parametrize("name", sorted(PAIRS.keys() - {"add_squares"}))  # weights are never empty
def test_a_kernel_on_empty_arrays_accesses_nothing(name, rng):
    pair = PAIRS[name]
    m, n = (5, 0) if name == "add_column_sums" else (0, 5)  # without sums, b becomes beta b
    arguments = pair.arguments(rng, 1, 1, "float32")
    report = execute(pair.make(cuda, "float32"), *flat(arguments), m, n)
    assert all(traffic.read == traffic.written == 0 for traffic in report.arrays)


def test_the_listing_has_ratio_1_for_every_kernel(capsys):
    listing.main()
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2 * len(listing.KERNELS)
    assert all(line.endswith(" 1.00") for line in lines), "\n".join(lines)


SHIPPED = {
    "activate": lambda dtype: cuda.activate(sigmoid.f, dtype, bias=True, keep_z=False),
    "activate, z kept": lambda dtype: cuda.activate(sigmoid.f, dtype, bias=True, keep_z=True),
    "output_error": lambda dtype: cuda.output_error(RULE.error, dtype, weighted=False, bias=True),
    "output_error, weighted": lambda dtype: cuda.output_error(RULE.error, dtype, weighted=True, bias=True),
    "hadamard": lambda dtype: cuda.hadamard(sigmoid.prime, dtype, bias=True),
    "optimizer_step": lambda dtype: cuda.optimizer_step(SGD(0.9).formula, dtype, state=1, constants=1),
    "optimizer_step, Adam": lambda dtype: cuda.optimizer_step(Adam().formula, dtype, state=2, constants=4),
    "add_cost": lambda dtype: cuda.add_cost(RULE.cost, dtype, weighted=False),
    "add_cost, weighted": lambda dtype: cuda.add_cost(RULE.cost, dtype, weighted=True),
}
WITHOUT_FORMULA = {"softmax", "add_column_sums", "add_squares", "gather", "gather from uint8", "add_log_likelihood"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_listing_shows_the_kernels_of_fastbps_own_formulas(dtype):
    """The listing has copies of the formulas, which the kernels' package cannot import."""
    assert SHIPPED.keys() | WITHOUT_FORMULA == listing.KERNELS.keys()
    for name, make in SHIPPED.items():
        assert listing.instructions(listing.KERNELS[name].make(dtype).ptx) == listing.instructions(make(dtype).ptx), (
            name
        )


def test_a_formula_that_computes_in_float64_is_an_error():
    def widened(z):
        return exp(z) * (3 / 7 * 10**40)  # Python folds the constant: it is a float64 out of the range of float32

    with pytest.raises(FormulaError, match="must compute in float32, got float64"):
        cuda.activate(widened, "float32", bias=True, keep_z=True)
