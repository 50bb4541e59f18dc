"""The kernel that trains a small network in one launch, executed as PTX and compared with loops over examples."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from cuda_against_cpu import execute, with_fault
from one_block_cases import EDGES, compare, drawn, make

from fastbp.activations import gelu, sigmoid
from fastbp.costs import output_rule, quadratic
from fastbp_kernels.cuda import one_block
from fastbp_kernels.cuda.compilation import ARCHITECTURES
from fastbp_kernels.cuda.listing import registers_of
from ptx import PTXError, run

pytestmark = pytest.mark.cuda
BARRIER = "bar.sync \t0;"


@pytest.mark.parametrize("sizes_and_m", EDGES, ids=str)
def test_sizes_around_those_of_tiles(sizes_and_m):
    compare(make(), drawn(*sizes_and_m, steps=2))


@pytest.mark.parametrize(
    ("kind", "source", "weighted"),
    [("tanh, cross-entropy", "float32", False), ("no activation at the end", "uint8", True)],
)
def test_formulas_weights_and_dtypes_of_examples(kind, source, weighted):
    kernel = make(kind, source=source, weighted=weighted)
    compare(kernel, drawn((40, 9, 7), 8, steps=3, source=source), kind, weighted=weighted)


def test_a_network_without_biases():
    kernel = make(source="float32", weighted=True, bias=False)
    compare(kernel, drawn((40, 9, 7), 8, steps=3, source="float32"), weighted=True, bias=False)


@settings(max_examples=8, deadline=None)
@given(
    st.tuples(st.integers(1, 140), st.integers(1, 20), st.integers(1, 20)), st.integers(1, 12), st.integers(0, 2),
    st.integers(0, 2**32),
)  # fmt: skip
def test_any_sizes(sizes, m, steps, seed):
    assume(one_block.fits(m, *sizes[1:]))
    compare(make(), drawn(sizes, m, steps, seed=seed))


def test_steps_in_two_launches_have_the_bits_of_one_launch():
    whole, halves = (drawn((40, 9, 7), 8, steps=4) for _ in range(2))
    execute(make(), *whole.values())
    for first, count in ((8, 1), (16, 3)):
        execute(make(), *(halves | {"first": first, "count": count}).values())
    for name in ("w_1", "b_1", "w_2", "b_2", "total"):
        assert whole[name].tobytes() == halves[name].tobytes()


@pytest.mark.parametrize("activation", [sigmoid, gelu], ids=["sigmoid", "gelu"])
def test_each_gpu_can_run_a_block_of_it(activation):
    """A block has 512 threads, and no GPU has more than 128 registers for each of them."""
    rule = output_rule(activation, quadratic)
    kernel = one_block.train_in_one_block(
        activation.f, "float32", prime=activation.prime, f_output=activation.f, error=rule.error, cost=rule.cost,
        source="uint8", weighted=False, bias=True,
    )  # fmt: skip
    assert ".f64" not in kernel.ptx
    for architecture in ARCHITECTURES:
        _, log = kernel.link(architecture, "-v")
        stored, loaded = map(int, re.search(r"\b(\d+) bytes spill stores, (\d+) bytes spill loads", log).groups())
        assert stored + loaded <= 64, (architecture, log)  # few of its 80 numbers in registers
        assert registers_of(log) <= 128


@pytest.mark.parametrize(("m", "n_1", "n_2"), [(14, 30, 10), (16, 10, 15), (5, 60, 40), (1, 400, 3)])
def test_what_fits_is_within_the_shared_memory(m, n_1, n_2):
    """The interpreter refuses an access beyond the shared memory that the launch asks for."""
    assert one_block.fits(m, n_1, n_2)
    compare(make(), drawn((5, n_1, n_2), m, steps=1))


# Planted faults.


@pytest.mark.parametrize("number", range(4))
def test_without_one_of_its_barriers_it_has_a_race(number):
    before, *after = make().ptx.split(BARRIER)
    assert len(after) == 4
    text = BARRIER.join([before, *after[:number]]) + BARRIER.join(after[number:])

    def launch(kernel, *arguments):
        grid, block, shared_bytes = kernel.geometry(*arguments[-2:])
        run(text, grid, block, *kernel.packed(*arguments), shared_bytes=shared_bytes)

    with pytest.raises(PTXError, match="data race"):
        compare(make(), drawn((200, 9, 7), 8, steps=3), by=launch)


FAULTS = {
    "the next targets over the present ones": ("a_2 + uint64(2) * m * n_2\n", "a_2 + m * n_2\n"),
    "no bound of neurons": ("i < m and j < n_out:", "i < m:"),
    "columns that no warp updates": ("k += uint64(WARP)\n            part", "k = n_in\n            part"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_detected(name):
    module = with_fault(one_block, *FAULTS[name])
    kind = "tanh, cross-entropy"
    kernel = make(kind, module, weighted=True)
    with pytest.raises((AssertionError, PTXError)):
        compare(kernel, drawn((200, 9, 7), 8, steps=3), kind, weighted=True)
