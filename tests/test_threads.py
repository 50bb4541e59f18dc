"""How many threads the products use, by every way to say so; and that the same number gives the same bits."""

import os

import numpy as np
import pytest
from click.testing import CliRunner

import fastbp
from fastbp import cli, threads

TRAIN = """
import hashlib
import numpy as np
import fastbp
from fastbp import threads
rng = np.random.default_rng(0)
net = fastbp.Network([300, 200, 10], rng=0)
net.train(rng.random((300, 512)), rng.integers(0, 10, 512), epochs=2, mini_batch_size=256, progress=False)
print(set(threads.in_use().values()), hashlib.sha256(b"".join(w.tobytes() for w in net.weights)).hexdigest())
"""


@pytest.mark.parametrize("count", [1, 2])
def test_the_environment_limits_blas_and_the_same_number_gives_the_same_bits(run_python, count):
    first, second = (run_python(TRAIN, FASTBP_THREADS=str(count)) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith(f"{{{count}}} ")


def test_a_block_limits_and_gives_back():
    fastbp.Network([2, 2]).feedforward(np.zeros(2))  # BLAS is loaded
    before = threads.in_use()
    with fastbp.use_threads(1):
        assert set(threads.in_use().values()) == {1}
    assert threads.in_use() == before


@pytest.mark.parametrize("count", [0, -1, 1.5, "two", True])
def test_no_number_of_threads(count):
    said = r"threads is .*; wanted is a whole number of at least 1"
    with pytest.raises(fastbp.InputError, match=said), fastbp.use_threads(count):
        pass


@pytest.mark.parametrize("text", ["none", "0", "-2", "1.5"])
def test_an_environment_that_says_no_number(run_python, text):
    done = run_python("import fastbp; fastbp.Network([2, 2])", FASTBP_THREADS=text)
    assert f"InputError: FASTBP_THREADS is {text!r}; wanted is a whole number of at least 1" in done.stderr


def test_the_option_is_the_environments_and_goes_before_it(monkeypatch):
    monkeypatch.setenv("FASTBP_THREADS", "7")
    done = CliRunner().invoke(cli.fastbp, ["check", "--threads", "1", "--backend", "nowhere"])
    assert isinstance(done.exception, fastbp.InputError)
    assert os.environ["FASTBP_THREADS"] == "1"
