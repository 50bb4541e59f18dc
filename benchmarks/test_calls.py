"""Check that the comparison of calls runs. It is no timing: `python -m benchmarks.calls` is."""

import pytest

from benchmarks import calls
from fastbp.bench.timing import spread


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_both_sides_of_every_call_run():
    for call in (*calls.calls_of_network((64, 30, 10), 12, "float32"), *calls.calls_of_estimators()):
        call.ours()
        call.theirs()


def test_a_bound_is_met_if_the_better_quartile_meets_it():
    assert spread([1.0, 1.2, 1.3]).meets(upper=1.1)
    assert not spread([1.0, 1.2, 1.3]).meets(upper=1.05)
