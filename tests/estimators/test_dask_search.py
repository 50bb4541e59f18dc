"""A grid search on a cluster is the work of dask: many small trainings, each on one process (`docs/scaling.md`)."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

pytest.importorskip("distributed", reason="dask is not installed: pip install dask distributed")

from fastbp.estimators import MLPClassifier

pytestmark = [
    pytest.mark.mpi,  # runs in the environment of the tests of several processes
    pytest.mark.filterwarnings("default", "ignore:training reached max_iter"),
]


def test_a_grid_search_over_dask_finds_what_a_serial_one_finds():
    import joblib
    from dask.distributed import Client, LocalCluster

    x, y = load_digits(return_X_y=True)
    x, y = x[:400] / 16, y[:400]

    def search():
        return GridSearchCV(MLPClassifier((8,), random_state=0, max_iter=3), {"alpha": [1e-4, 1.0]}, cv=2)

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster), joblib.parallel_backend("dask"):
        found = search().fit(x, y)
    expected = search().fit(x, y)
    scores = [fitted.cv_results_["mean_test_score"] for fitted in (found, expected)]
    np.testing.assert_allclose(*scores, atol=0.02)  # a worker may use another number of BLAS threads
    assert found.best_params_ == expected.best_params_
