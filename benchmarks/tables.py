"""Scores of `fastbp train` on tables, beside those of scikit-learn, all with defaults: `python -m benchmarks.tables`.

Each of six tables is split 20 times into three quarters for training and a quarter for testing. `fastbp train` gets the
file with the training rows and no option but the seed; it uses a fifth of these rows for validation and testing.
scikit-learn's `MLPClassifier` or `MLPRegressor` gets all of the training rows, with `StandardScaler` and
`OneHotEncoder`. The result is the mean difference of accuracy or R² on the test rows, with its standard error. The exit
code is 1 if, for any table, fastbp is worse than scikit-learn by more than one percentage point (0.02 for R²) plus one
standard error.
"""

import contextlib
import io
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.compose import make_column_transformer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastbp
from fastbp.cli import fastbp as command

SPLITS = 20


def tables() -> dict[str, tuple[pd.DataFrame, str]]:
    """Return the tables by name, each with the name of its label column."""
    iris = datasets.load_iris(as_frame=True)
    digits = datasets.load_digits()
    pixels = pd.DataFrame(digits.data.astype(int), columns=[f"pixel{j}" for j in range(64)])
    pixels.insert(0, "label", digits.target)
    return {
        "wine": (datasets.load_wine(as_frame=True).frame, "target"),
        "breast cancer": (datasets.load_breast_cancer(as_frame=True).frame, "target"),
        "iris, text labels": (iris.data.assign(species=iris.target_names[iris.target]), "species"),
        "numbers and text": (mixed(), "survived"),
        "diabetes": (datasets.load_diabetes(as_frame=True).frame, "target"),
        "digits as in Kaggle": (pixels, "label"),
    }


def mixed(rows: int = 800) -> pd.DataFrame:
    """Return a table of numbers, text, integers and booleans whose label follows from them, with noise."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({
        "age": rng.normal(40, 12, rows).round(1),
        "fare": rng.exponential(30, rows).round(2),
        "sex": rng.choice(["male", "female"], rows),
        "port": rng.choice(["S", "C", "Q"], rows, p=[0.7, 0.2, 0.1]),
        "siblings": rng.integers(0, 5, rows),
        "member": rng.random(rows) < 0.5,
    })  # fmt: skip
    logit = -0.04 * (frame.age - 40) + 0.02 * frame.fare + 1.8 * (frame.sex == "female") + 0.6 * (frame.port == "C")
    logit += -0.5 * frame.siblings + 0.4 * frame.member + 1.5 * ((frame.sex == "male") & (frame.age < 20)) - 0.5
    frame["survived"] = np.where(logit + rng.logistic(0, 0.6, rows) > 0, "yes", "no")
    return frame


def of_fastbp(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> float:
    """Return the score of a network that the command trains."""
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder, "train.csv"), Path(folder, "net.safetensors")
        train.to_csv(data, index=False)
        arguments = ["train", "--data", str(data), "--seed", str(seed), "--save", str(model)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            command.main(arguments, standalone_mode=False)
        return fastbp.load(model).score(test)


def of_scikit_learn(train: pd.DataFrame, test: pd.DataFrame, label: str, seed: int) -> float:
    """Return the score of scikit-learn's estimator on prepared inputs."""
    x, y = train.drop(columns=label), train[label]
    numeric = [name for name in x if x[name].dtype.kind in "iufb"]
    text = [name for name in x if name not in numeric]
    prepare = make_column_transformer((StandardScaler(), numeric), (OneHotEncoder(handle_unknown="ignore"), text))
    estimator = MLPRegressor if label == "target" and y.nunique() > 20 else MLPClassifier
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 200 epochs are not always enough
        pipeline = make_pipeline(prepare, estimator(random_state=seed)).fit(x, y)
    return float(pipeline.score(test.drop(columns=label), test[label]))


def main() -> int:
    """Print one line per table; return the exit code."""
    below = False
    print(f"{'table':<20} {'fastbp':>8} {'scikit-learn':>13} {'difference':>11} {'error':>7}")
    for name, (frame, label) in tables().items():
        numbers = frame[label].nunique() > 20
        scores = []
        for seed in range(SPLITS):
            groups = None if numbers else frame[label]
            train, test = train_test_split(frame, test_size=0.25, random_state=seed, stratify=groups)
            scores.append((of_fastbp(train, test, seed), of_scikit_learn(train, test, label, seed)))
        ours, theirs = np.array(scores).T
        difference, error = (ours - theirs).mean(), (ours - theirs).std(ddof=1) / SPLITS**0.5
        below |= bool(difference + error < (-0.02 if numbers else -0.01))
        print(f"{name:<20} {ours.mean():8.4f} {theirs.mean():13.4f} {difference:+11.4f} {error:7.4f}", flush=True)
    return int(below)


if __name__ == "__main__":
    sys.exit(main())
