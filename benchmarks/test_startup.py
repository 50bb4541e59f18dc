"""Time the start-up: the imports of NumPy and of fastbp, and a process up to the end of its first mini-batch."""

import pytest

from benchmarks import startup


@pytest.mark.parametrize("what", ["numpy", "fastbp"])
def test_import(benchmark, what):
    benchmark.group = "start-up, import"
    benchmark.pedantic(startup.run, (f"import {what}",), rounds=7, warmup_rounds=1)


def test_first_mini_batch_with_a_warm_cache(benchmark, tmp_path):
    benchmark.group = "start-up, first mini-batch"
    run = (startup.FIRST_MINI_BATCH, str(tmp_path))
    benchmark.pedantic(startup.run, run, rounds=7, warmup_rounds=1)


def test_differences_are_computed_within_each_round():
    rounds = [{"a": 2.0, "b": 1.0}, {"a": 5.0, "b": 4.0}]
    assert startup.difference(rounds, "a", "b").median == 1.0


def test_the_program_of_a_deeper_network_runs(tmp_path):
    assert startup.run(startup.first_mini_batch(5), str(tmp_path)) > 0
