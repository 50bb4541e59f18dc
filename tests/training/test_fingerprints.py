"""Fingerprints of data and formulas: equal for equal content in any layout, and bounded in time and memory."""

import numpy as np
import pytest

import fastbp
from fastbp.training import fingerprints
from fastbp.training.fingerprints import HASHED_WHOLE, of_examples, of_schedule

ROWS = np.arange(60, dtype=np.float32).reshape(12, 5)


@pytest.mark.parametrize(
    "other",
    [
        np.asfortranarray(ROWS),
        ROWS[::-1].copy()[::-1],
        np.repeat(ROWS, 2, axis=1)[:, ::2],
        ROWS.astype(">f4"),
        np.frombuffer(ROWS.tobytes(), np.float32).reshape(12, 5),
    ],
    ids=["Fortran", "reversed", "every other", "foreign", "read-only"],
)
def test_layout_and_byte_order_do_not_matter(other):
    assert of_examples(other, np.asarray) == of_examples(ROWS, np.asarray)


@pytest.mark.parametrize(
    "other",
    [
        ROWS.astype(np.float64),
        ROWS.reshape(6, 10),
        np.where(ROWS == 59, np.nextafter(np.float32(59), np.float32(60)), ROWS),
        ROWS[::-1],
        ROWS[:-1],
    ],
    ids=["dtype", "shape", "a last digit", "order", "one example fewer"],
)
def test_values_shape_dtype_and_order_matter(other):
    assert of_examples(other, np.asarray) != of_examples(ROWS, np.asarray)


def test_backends_agree(backend):
    where = fastbp.backends.get(backend)
    assert of_examples(where.upload(ROWS.copy()), where.to_host) == of_examples(ROWS, np.asarray)


@pytest.mark.parametrize("width", [1000, 100_000, 2**23])
def test_large_data_are_sampled_in_bounded_pieces(width):
    read = []

    def to_host(piece):
        read.append(piece.nbytes)
        return piece

    column = np.arange(2**31 // width, dtype=np.uint32).astype(np.uint8)[:, None]
    rows = np.broadcast_to(column, (len(column), width))
    one = of_examples(rows, to_host)
    assert sum(read) <= HASHED_WHOLE + width
    assert max(read) <= max(2**20, width)
    for place in (0, -1):
        other = column.copy()
        other[place] ^= 1
        assert of_examples(np.broadcast_to(other, rows.shape), np.asarray) != one


def test_a_schedule_that_fails_or_counts_its_calls_is_not_disturbed():
    class Counting:
        calls = 0

        def __call__(self, epoch, epochs):
            self.calls += 1
            return 1.0 / (3 - epoch)

    schedule = Counting()
    assert of_schedule(schedule, 5) == of_schedule(schedule.__call__, 5) != of_schedule(schedule, 1)
    assert schedule.calls == 0
    assert of_schedule(lambda epoch, epochs: 1.0, 10**15) != of_schedule(lambda epoch, epochs: 2.0, 10**15)


FORMULAS = """
import fastbp
from fastbp.training import fingerprints
from fastbp_kernels.words import exp

SOURCE = '''
NAMES, TABLE = frozenset(["a", "b", "c"]), {"k": [1.0, 2.0]}

def inner(z):
    return exp(z) * TABLE["k"][0] if "a" in NAMES else z

thing = object()

def f(z):
    return inner(z) + (0.0 if thing is None else 1.0)
'''

for source in (SOURCE, SOURCE.replace("[1.0, 2.0]", "[1.5, 2.0]"), SOURCE.replace("exp(z)", "exp(-z)")):
    names = {"exp": exp}
    exec(source, names)
    own = fastbp.Activation("own", names["f"], lambda z, a: a)
    print(fingerprints.of_formulas(fastbp.Network([2, 1], own, backend="numpy-plain")._plan))
"""


def test_the_fingerprint_of_a_formula_depends_on_its_content_only(run_python):
    one, other = (run_python(FORMULAS, PYTHONHASHSEED=seed) for seed in "12")
    assert one.stderr == other.stderr == ""
    assert one.stdout == other.stdout
    assert len(set(one.stdout.splitlines())) == 3


def test_built_in_formulas_and_generators_without_a_constant_part_have_no_fingerprint():
    assert fingerprints.of_formulas(fastbp.Network([2, 1])._plan) == {}
    assert fingerprints.of_generator(np.random.MT19937(0).state) == ""
    one, other = (fingerprints.of_generator(np.random.Philox(seed).state) for seed in (0, 1))
    assert one != other
