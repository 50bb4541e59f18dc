"""MLPRegressor: columns of real numbers, by a squared error."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from fastbp.estimators.base import Perceptron, checked_weights
from fastbp.estimators.epochs import Examples

Array = npt.NDArray[Any]


class MLPRegressor(RegressorMixin, Perceptron):  # type: ignore[misc]
    """A network for real numbers: scikit-learn's `MLPRegressor`, trained by fastbp, rows as examples.

    The cost is C_x = ½ ‖y − a‖² of an identity output layer. With L2 each mini-batch of m examples lowers
    C = (1/m) Σ C_x + (α/2m) Σ ‖W‖². Of several outputs C_x is the sum, here and in scikit-learn, whose `loss_` is
    nevertheless the mean over the outputs; so is this one, that the two can be compared, and its gradient is that of
    ½ ‖y − a‖², not that of `loss_`.

    For parameters, attributes and what is meant otherwise than in scikit-learn see `MLPClassifier`; there is no
    `class_weight` here, and the one loss is "squared_error".

    >>> import numpy as np
    >>> X = np.linspace(-1.0, 1.0, 100)[:, None]
    >>> net = MLPRegressor((20,), batch_size=10, learning_rate_init=0.01, random_state=0).fit(X, X[:, 0] ** 2)
    >>> net.score(X, X[:, 0] ** 2) > 0.95
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Train on rows X (n, n_features) with targets y, (n,) or (n, n_outputs); return self.

        It begins with fresh parameters, or with `warm_start` with those there are; see `MLPClassifier.fit`.

        >>> MLPRegressor((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], [[0.0, 1.0], [1.0, 0.0]]).n_outputs_
        2
        """
        return self._trained(X, y, sample_weight, partial=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPRegressor":
        """Train for one epoch on more examples, the optimizer going on from where it was; return self.

        >>> MLPRegressor((3,), random_state=0).partial_fit([[0.0], [1.0]], [0.0, 1.0]).t_
        2
        """
        return self._trained(X, y, sample_weight, partial=True)

    def predict(self, X: Any) -> Array:
        """Return the outputs, (n,) where there is one an example, else (n, n_outputs).

        >>> MLPRegressor((3,), random_state=0).partial_fit([[0.0], [1.0]], [0.0, 1.0]).predict([[0.5]]).shape
        (1,)
        """
        a = self._outputs(X)
        return a[:, 0] if a.shape[1] == 1 else a

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _trained(self, x: Any, y: Any, sample_weight: Any, *, partial: bool) -> "MLPRegressor":
        rows, targets = self._checked(x, y, partial=partial, y_numeric=True)
        columns = np.ascontiguousarray(targets.reshape(len(targets), -1), rows.dtype)
        self._fit(Examples(rows, columns, checked_weights(sample_weight, rows)), "identity", partial=partial)
        return self

    def _cost(self, out_activation: str) -> str:
        return "quadratic"

    def _loss(self, cost: float) -> float:
        return cost / int(self.n_outputs_)

    def _groups(self, y: Array) -> Array | None:
        return None

    def _score_of(self, y: Array, a: Array, w: Array | None) -> float:
        return float(r2_score(y, a, sample_weight=w))
