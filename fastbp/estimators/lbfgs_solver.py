"""The solver "lbfgs" of the estimators: L-BFGS on all examples, by `scipy.optimize`."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from fastbp.datasets.inputs import as_columns
from fastbp.errors import InputError, brief
from fastbp.estimators.epochs import Dataset
from fastbp.estimators.fitting import check_finite
from fastbp.estimators.from_scikit_learn import warn
from fastbp.operations import Examples, Parameters, Plan, PreparingBackend
from fastbp.parameters import shapes_of
from fastbp.training.dropout import dropout_rates
from fastbp.training.full_batch import FullBatch, Vector, pack
from fastbp.training.lbfgs import minimize, objective_of

Array = npt.NDArray[Any]
_CONVERGED = 0  # the status of SciPy's result


def fit_lbfgs(estimator: Any, plan: Plan, p: Parameters, dataset: Dataset) -> tuple[list[Array], list[Array]]:
    """Search from the parameters `p` for the parameters with the lowest loss; return their coefs and intercepts.

    The loss is C/d + (α/2n) Σ ‖W‖² with d = `_loss_divisor`, where n is the number of examples, or the sum of their
    weights. The coefs and intercepts are in float64, because SciPy computes in float64, also if the loss is computed in
    float32. `n_iter_` and `loss_` are written to the estimator. A `ConvergenceWarning` is issued as in scikit-learn.
    """
    if dropout_rates(estimator.dropout, plan.sizes):
        raise InputError(f"dropout must be 0 with solver 'lbfgs', got {brief(estimator.dropout)}")
    n: float = len(dataset.y)
    if dataset.w is not None:
        n = float(dataset.w.sum())
        dataset = dataset._replace(w=dataset.w * (len(dataset.y) / n))
        plan = replace(plan, formulas=replace(plan.formulas, weighted=True))
    examples, source = _examples(dataset, plan)
    objective = objective_of(FullBatch(plan, examples, source), estimator.alpha / n, estimator._loss_divisor)
    limits = {"iterations": estimator.max_iter, "evaluations": estimator.max_fun, "tol": estimator.tol}
    found = minimize(objective, pack(p, plan), **limits)
    estimator.n_iter_, estimator.loss_ = min(found.nit, estimator.max_iter), float(found.fun)
    if found.status != _CONVERGED:
        _warn(found, estimator)
    coefs, intercepts = _coefs_and_intercepts(found.x, plan)
    check_finite(coefs, intercepts)
    return coefs, intercepts


def _examples(dataset: Dataset, plan: Plan) -> tuple[Examples, str]:
    """Return the examples on the backend, and the source of their inputs. Only "numpy" gets sparse rows."""
    x, y, w = dataset
    upload, source = plan.backend.upload, plan.dtype
    if sparse.issparse(x) and isinstance(plan.backend, PreparingBackend):
        inputs, source = as_columns("X", x.T, plan.sizes[0], plan).rows, "sparse"
    else:
        inputs = upload(x.toarray() if sparse.issparse(x) else x)
    weights = np.empty((len(y), 0)) if w is None else w[:, None]
    return Examples(inputs, upload(y), upload(weights.astype(plan.dtype)), 1.0), source


def _coefs_and_intercepts(theta: Vector, plan: Plan) -> tuple[list[Array], list[Array]]:
    """Return copies of the parameters in a vector, in scikit-learn's layout."""
    shapes, start, arrays = [*shapes_of(plan)[0], *((n,) for n in plan.sizes[1:])], 0, []
    for shape in shapes:
        stop = start + int(np.prod(shape))
        arrays.append(theta[start:stop].reshape(shape).T.copy())
        start = stop
    return arrays[: len(plan.sizes) - 1], arrays[len(plan.sizes) - 1 :]


def _warn(found: Any, estimator: Any) -> None:
    """Warn that L-BFGS has not converged, in scikit-learn's words."""
    advice = ""
    if estimator.n_iter_ == estimator.max_iter:
        advice = f"\nIncrease the number of iterations to improve the convergence (max_iter={estimator.max_iter})."
    warn(
        f"lbfgs failed to converge after {estimator.n_iter_} iteration(s) (status={found.status}):\n{found.message}\n"
        f"{advice}\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html",
        ConvergenceWarning,
    )
