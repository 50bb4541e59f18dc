"""fastbp with scikit-learn's habits: `MLPClassifier` and `MLPRegressor`, rows as examples. Needs scikit-learn.

>>> from fastbp.estimators import MLPClassifier  # and not from sklearn.neural_network
>>> net = MLPClassifier(learning_rate_init=0.1, random_state=0).fit([[0.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b"])
>>> net.predict([[-1.0], [4.0]]).tolist()
['a', 'b']
"""

try:
    from sklearn.utils.validation import validate_data  # noqa: F401, it came with 1.6
except ImportError as error:
    raise ImportError("fastbp.estimators needs scikit-learn 1.6 or later: pip install 'fastbp[sklearn]'") from error

from fastbp.estimators.classifier import MLPClassifier
from fastbp.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
