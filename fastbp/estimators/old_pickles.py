"""The state of pickled estimators: the version that wrote them, and what estimators of older versions lack."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import sklearn
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.preprocessing import LabelBinarizer

import fastbp
from fastbp.estimators.solver_state import SolverState

_OLD_NAMES = {"_waited": "_no_improvement_count"}
_VERSIONS = {"_fastbp_version": fastbp.__version__, "_sklearn_version": sklearn.__version__}


def stamped(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of an estimator for a pickle, with the versions of fastbp and scikit-learn."""
    return {**state, **_VERSIONS}


def current(kind: type, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state in a pickle as it would be in an estimator of this version.

    Warn if a later version of fastbp has written it. Pickles of earlier versions are supported.
    """
    written_by = state.get("_fastbp_version", "0")
    if _numbers(written_by) > _numbers(fastbp.__version__):
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=kind.__name__,
                current_sklearn_version=fastbp.__version__,
                original_sklearn_version=written_by,
            ),
            stacklevel=3,
        )
    defaults = kind().get_params(deep=False)
    new = {**defaults, **{_OLD_NAMES.get(name, name): value for name, value in state.items() if name not in _VERSIONS}}
    if "_memory" in new or "_eta" in new:
        _add_solver_state(new)
    if "classes_" in new and "_label_binarizer" not in new:
        multilabel = new["out_activation_"] == "logistic" and new["n_outputs_"] > 1
        new["_label_binarizer"] = LabelBinarizer().fit(
            np.eye(new["n_outputs_"], dtype=int) if multilabel else new["classes_"]
        )
    return new


def _add_solver_state(state: dict[str, Any]) -> None:
    """Replace the optimizer's state of versions up to 0.1 by a `SolverState`."""
    snapshot, eta = state.pop("_memory", None), state.pop("_eta")
    if snapshot is not None:
        schedule = state["learning_rate"] if state["solver"] == "sgd" else None
        solver = SolverState(snapshot.optimizer, state["learning_rate_init"], schedule, state["power_t"])
        solver.learning_rate, solver.snapshot = eta, snapshot
        state["_optimizer"] = solver


def _numbers(version: str) -> list[int]:
    """Return the leading numbers of a version.

    >>> _numbers("0.12.1.dev3")
    [0, 12, 1]
    """
    parts = version.split(".")
    return [int(part) for part in parts[:3] if part.isdigit()]
