"""`MLPClassifier` and `MLPRegressor` with scikit-learn's interface, trained by fastbp.

This package needs scikit-learn 1.6 or later. Each row of X is an example, as everywhere in scikit-learn.

>>> from fastbp.estimators import MLPClassifier  # instead of: from sklearn.neural_network import MLPClassifier
>>> net = MLPClassifier(learning_rate_init=0.1, random_state=0).fit([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"])
>>> net.predict([[-1.0], [4.0]]).tolist()
['a', 'b']
"""

try:
    from sklearn.utils.validation import validate_data  # noqa: F401, new in scikit-learn 1.6
except ImportError as error:
    raise ImportError("fastbp.estimators needs scikit-learn 1.6 or later: pip install 'fastbp[sklearn]'") from error

from fastbp.estimators.classifier import MLPClassifier
from fastbp.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
