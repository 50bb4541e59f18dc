"""The measurement of the host's cost of a step, with a driver that does nothing. Times are not tested."""

import pytest

cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'fastbp[cuda13]'")
pytest.importorskip("numba_cuda", reason="numba-cuda is not installed: pip install 'fastbp[cuda13]'")

from fastbp.backends.cupy.replay import MODES

host_cost = pytest.importorskip("benchmarks.host_cost", reason="the folder benchmarks/ is not here")

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize(("optimizer", "calls"), [("sgd", 15), ("adam", 19)])
def test_every_mode_is_timed_without_a_gpu(optimizer, calls, monkeypatch):
    """A step has 6 L + 2 calls, with Adam one more for each parameter, and the kernel that advances the place."""
    monkeypatch.setattr(host_cost, "_STEPS", 40)
    empty = cupy.empty
    with host_cost.null_driver() as make_backend:
        found, figures = host_cost.measured(make_backend, [6, 4, 3], 2, optimizer, 2)
    assert found == calls
    assert list(figures) == list(MODES)
    assert all(seconds.low > 0 for seconds in figures.values())
    assert cupy.empty is empty  # the driver is put back


def test_a_bound_that_is_missed_is_named_and_sets_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(host_cost, "_STEPS", 40)
    monkeypatch.setattr(host_cost, "CASES", [([3, 2], 2, "sgd")])
    monkeypatch.setattr("sys.argv", ["host_cost", "--rounds", "1"])
    for most, code in ((0.0, 1), (1e9, 0)):
        monkeypatch.setattr(host_cost, "MOST_READY", most)
        monkeypatch.setattr(host_cost, "MOST_GRAPH", 1e9)
        with pytest.raises(SystemExit) as done:
            host_cost.main()
        assert done.value.code == code
        said = capsys.readouterr().out
        assert ("3-2 × 2, sgd: ready needs more than 0 µs a step" in said) == bool(code)
        assert ("within the bounds" in said) != bool(code)
