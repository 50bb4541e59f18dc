"""Every example of an epoch is one rank's, and every mini-batch has as many examples as on one process. Threads."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from thread_ranks import ThreadRanks

from fastbp.backends.numpy.threads import libraries
from fastbp.training.ranks import on_ranks
from fastbp.training.shares import shares_of_columns, shares_of_shards


def sizes_of(shares):
    """Return the number of a rank's examples in each mini-batch, and the size of each mini-batch."""
    assert [run.start for run in shares.runs] == np.cumsum([0, *[r.batches * r.columns for r in shares.runs]])[
        :-1
    ].tolist()
    return (
        [run.columns for run in shares.runs for _ in range(run.batches)],
        [run.m for run in shares.runs for _ in range(run.batches)],
    )


def expected_sizes(n, m):
    return [m] * (n // m) + ([n % m] if n % m else [])


@given(n=st.integers(1, 60), m=st.integers(1, 20), ranks=st.integers(1, 7))
def test_columns_of_a_mini_batch_are_divided(n, m, ranks):
    order, epoch = np.random.default_rng(0).permutation(n), []
    all_shares = [shares_of_columns(n, m, rank, ranks) for rank in range(ranks)]
    for start, size in zip(range(0, n, m), expected_sizes(n, m), strict=True):
        for rank, shares in enumerate(all_shares):
            (run,) = shares.within(start // m, start // m + 1)
            own = shares.own_order(order)[run.start : run.start + run.columns]
            assert run.columns in (size // ranks, -(-size // ranks)), (rank, run)
            epoch += own.tolist()
    assert epoch == order.tolist()


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=6), m=st.integers(1, 20))
def test_shards_are_read_in_proportion(counts, m):
    n = sum(counts)
    columns, sizes = zip(*(sizes_of(shares_of_shards(counts, m, r)) for r in range(len(counts))), strict=True)
    assert all(each == expected_sizes(n, m) for each in sizes)
    assert np.sum(columns, axis=0).tolist() == expected_sizes(n, m)
    assert np.sum(columns, axis=1).tolist() == counts
    for numbers, count in zip(columns, counts, strict=True):
        for k, number in enumerate(numbers):
            assert 0 <= number <= sizes[0][k]
            assert abs(number - sizes[0][k] * count / n) < len(counts) + 1


def test_equal_mini_batches_follow_one_another():
    """Two ranks with sizes 1:2 have two kinds of full mini-batches of 16, so at most four runs with the last one."""
    assert len(shares_of_shards([300, 600], 16, 0).runs) <= 4


def test_runs_within_some_mini_batches():
    shares = shares_of_columns(70, 10, 1, 2)
    assert [(run.first, run.batches, run.start) for run in shares.within(2, 5)] == [(2, 3, 10)]
    assert list(shares.within(7, 9)) == []


def test_the_environment_limits_the_threads_of_a_rank(monkeypatch):
    before = [(library, library.threads()) for library in libraries()]
    monkeypatch.setenv("FASTBP_THREADS", "1")
    try:
        with on_ranks(ThreadRanks(1).rank(0)):
            assert {library.threads() for library in libraries()} == {1}
    finally:
        for library, count in before:
            library.set_threads(count)
