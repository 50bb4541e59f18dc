"""The time to accuracy: each library runs on the digits with a low target, and the table and the picture are made.

Nothing here is a measurement: `python -m benchmarks.time_to_accuracy` is.
"""

import io
from importlib.util import find_spec

import numpy as np
import pytest

import fastbp
from benchmarks import time_to_accuracy
from benchmarks.accuracy_runs import RUNS, Part
from benchmarks.time_to_accuracy import PACKAGES

MODULES = {"JAX": "jax", "PyTorch": "torch", "scikit-learn": "sklearn"}


@pytest.fixture(scope="module")
def digits():
    """The bundled digits as bytes, in rows."""
    return [
        Part(np.ascontiguousarray(255 * x.T).astype(np.uint8), labels.astype(np.int64))
        for x, labels in fastbp.datasets.digits()
    ]


@pytest.mark.parametrize("library", RUNS)
def test_a_run_ends_at_its_target_and_reports_its_stages(library, digits, tmp_path):
    if library in MODULES and find_spec(MODULES[library]) is None:
        pytest.skip(f"{library} is not installed: pip install '.[peers]'")
    time_to_accuracy.write_examples(tmp_path, *digits)
    run = time_to_accuracy.run(library, 0, tmp_path, 0.5, tmp_path)
    assert run["accuracy"] >= 0.5
    assert np.isclose(run["seconds"], sum(run["stages"].values()))
    assert list(run["stages"]) == ["NumPy", "reading", "imports", "first epoch", "later epochs"]


def test_the_libraries_run_in_turn_alone_and_beside_a_busy_process(digits, capsys):
    figures = time_to_accuracy.measure(["fastbp"], 1, 0.5, digits)
    assert list(figures) == ["alone", "beside a busy process"]
    assert [len(runs["fastbp"]) for runs in figures.values()] == [1, 1]


def test_a_run_that_misses_its_target_counts_as_endless(digits, tmp_path):
    printed = {"accuracies": [0.5, 0.6], "marks": {"NumPy": 1.0, "later epochs": 2.0}}
    assert time_to_accuracy.summary(0.0, printed, 0.975)["seconds"] == np.inf


def test_the_table_fits_80_columns_and_the_picture_shows_every_library():
    stages = {"NumPy": 0.1, "reading": 0.1, "imports": 0.2, "first epoch": 1.0, "later epochs": 2.0}
    one = {"epochs": 12, "accuracy": 0.976, "stages": stages}
    runs = {library: [{**one, "seconds": 12.5 * number}] for number, library in enumerate(PACKAGES, 1)}
    figures = {"alone": runs, "beside a busy process": runs}
    text = f"{time_to_accuracy.table(figures)}\n{time_to_accuracy.stages_table(runs)}"
    assert max(map(len, text.splitlines())) <= 80
    assert time_to_accuracy.best_ratio(runs)[0] == "JAX"
    figure = time_to_accuracy.draw(figures, "A machine, today.")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(PACKAGES)
    figure.savefig(picture := io.BytesIO(), format="png")
    assert picture.getvalue().startswith(b"\x89PNG")


def test_wrong_arguments_and_missing_data_end_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("FASTBP_DATA", raising=False)
    assert time_to_accuracy.main([]) == 2
    assert capsys.readouterr().err == "FASTBP_DATA must be a folder with MNIST's four IDX files\n"
    (tmp_path / "bad.json").write_text("no")
    assert time_to_accuracy.main(["--from", str(tmp_path / "bad.json")]) == 2
    assert capsys.readouterr().err.startswith("--from must be a file written with --json: ")
    with pytest.raises(SystemExit):
        time_to_accuracy.main(["--seeds", "0"])
    assert "--seeds must be an integer >= 1, got 0" in capsys.readouterr().err
