"""The model of training on several ranks, and the command that measures its constants."""

from pathlib import Path

import pytest
from mpi_runs import mpiexec, over_mpi

from fastbp.bench.scaling_model import LINKS, Link, Step, fit_link, fit_step

STEP = Step(2e-3, 1e-4, 8_000_000)


def test_constants_are_found_from_times_that_follow_the_model():
    columns = [512, 256, 128, 32, 8]
    found = fit_step(columns, [STEP.fixed + STEP.per_column * m for m in columns], STEP.size)
    assert (found.fixed, found.per_column) == pytest.approx((STEP.fixed, STEP.per_column))
    link = Link("here", 3e-6, 2e9)
    for ranks in (2, 3, 8):
        again = fit_link("here", ranks, link.sum_seconds(ranks, 0), link.sum_seconds(ranks, 10**7), 10**7)
        assert (again.latency, again.bandwidth) == pytest.approx((link.latency, link.bandwidth))


def test_a_negative_fixed_time_is_not_accepted():
    found = fit_step([10, 100], [0.5, 11.0], 8)
    assert found.fixed == 0.0
    assert 0.05 < found.per_column < 0.11


def test_one_rank_sums_nothing_and_infinitely_fast_links_share_the_columns():
    ideal = Link("ideal", 0.0, 1e30)
    assert STEP.seconds(512, 1, LINKS[0]) == pytest.approx(2e-3 + 512e-4)
    assert Step(0.0, 1e-4, 8).speedup(512, 64, ideal) == pytest.approx(64)
    assert STEP.speedup(10**9, 64, ideal) == pytest.approx(64, rel=1e-3)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
@pytest.mark.parametrize("ranks", [2, 16, 1024])
def test_least_columns_is_where_training_begins_to_pay(link, ranks):
    m = STEP.least_columns(ranks, link)
    assert STEP.speedup(m, ranks, link) >= ranks / 2
    assert m == ranks or STEP.speedup(m // 2, ranks, link) < ranks / 2


def test_the_table_in_the_documents_is_the_models():
    step, here = Step(3.277e-3, 129.12e-6, 7_455_784), Link("this machine", 7.0e-6, 3.08e9)
    text = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    for ranks in (2, 4, 16, 64, 256, 1024):
        pairs = [(step.speedup(128 * ranks, ranks, link), step.least_columns(ranks, link)) for link in (here, *LINKS)]
        cells = [f"{speed:,.1f} ({least:,})" for speed, least in pairs]
        assert f"| {ranks:,} | {' | '.join(cells)} |" in text
    for link in LINKS:
        assert f"{1e6 * link.latency:.0f} µs | {link.bandwidth / 1e9:g} GB/s" in text


@over_mpi
def test_the_command_measures_and_extrapolates():
    done = mpiexec(2, "-m", "fastbp", "bench", "--mpi", "--sizes", "20-16-3", "--mini-batch-size", 64)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    measured = [row for row in rows if row[:1] in (["strong"], ["weak"])]
    assert [(row[0], row[1], row[3]) for row in measured] == [("strong", "2", "64"), ("weak", "2", "128")]
    assert all(float(row[4]) > 0 and row[-1].endswith("%") for row in measured)
    assert "The rest is a model, not a measurement" in done.stdout
    assert [row[0] for row in rows if row and row[0] in ("2", "16", "1024")] == ["2", "16", "1024"]


@over_mpi
def test_one_rank_and_other_options_are_refused():
    one = mpiexec(1, "-m", "fastbp", "bench", "--mpi")
    assert one.returncode == 2
    assert "mpiexec -n 2 fastbp bench --mpi" in one.stderr
    both = mpiexec(2, "-m", "fastbp", "bench", "--mpi", "--quick")
    assert both.returncode == 2
    assert "--mpi can be combined with" in both.stderr
