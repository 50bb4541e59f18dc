"""Save the ratios of a run, and compare them with those of another run."""

import argparse

import pytest

from benchmarks import baseline
from fastbp.bench.timing import Spread

BEFORE = {"same": Spread(1.0, 0.9, 1.1, 9), "slow": Spread(1.0, 0.9, 1.1, 9), "fast": Spread(1.0, 0.9, 1.1, 9)}
NOW = {"same": Spread(1.15, 1.05, 1.2, 9), "slow": Spread(1.3, 1.2, 1.4, 9), "fast": Spread(0.5, 0.4, 0.6, 9)}


def options(*arguments):
    """Return the parsed arguments, and the ratios in the baseline."""
    parser = argparse.ArgumentParser(prog="benchmark")
    baseline.add_options(parser)
    parsed = parser.parse_args(list(map(str, arguments)))
    return parsed, baseline.checked(parser, parsed)


def test_a_change_is_named_only_if_the_quartiles_are_apart(tmp_path, capsys):
    file = tmp_path / "before.json"
    assert not baseline.finish(*options("--json", file), BEFORE)
    chosen, before = options("--baseline", file)
    assert before == BEFORE
    assert baseline.finish(chosen, before, NOW)
    same, slow, fast = capsys.readouterr().out.splitlines()[-3:]
    assert same.split() == ["same", "1.00", "1.15"]
    assert slow.split() == ["slow", "1.00", "1.30", "slower"]
    assert fast.split() == ["fast", "1.00", "0.50", "faster"]


def test_what_only_one_run_has_is_not_compared(tmp_path):
    file = tmp_path / "before.json"
    baseline.finish(*options("--json", file), BEFORE)
    assert not baseline.finish(*options("--baseline", file), {"other": Spread(9.0, 9.0, 9.0, 1)})


@pytest.mark.parametrize("content", [None, b"no", b"[1]", b'{"a": 1}', b'{"a": {"median": 1.0}}'])
def test_a_file_that_is_no_baseline_ends_in_one_line_before_anything_is_timed(content, tmp_path, capsys):
    file = tmp_path / "bad.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit):
        options("--baseline", file)
    assert "--baseline must be a file written with --json" in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_that_does_not_exist_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        options("--json", tmp_path / "missing" / "now.json")
    assert "--json must be in a folder that exists" in capsys.readouterr().err
