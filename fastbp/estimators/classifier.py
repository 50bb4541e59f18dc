"""MLPClassifier: classes, two or many, or many at once."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from fastbp.errors import InputError, brief
from fastbp.estimators.base import Perceptron, checked_weights
from fastbp.estimators.epochs import Examples

Array = npt.NDArray[Any]
_COSTS = {"logistic": "cross-entropy", "softmax": "log-likelihood"}


class MLPClassifier(ClassifierMixin, Perceptron):  # type: ignore[misc]
    """A network for classes: scikit-learn's `MLPClassifier`, trained by fastbp, rows as examples.

    The cost is the log-likelihood of a softmax over three classes or more; of one sigmoid output, the second class's,
    over two; and for columns of 0 and 1, of which any number may be 1 in a row, cross-entropy of a sigmoid each.
    With L2 each mini-batch of m examples lowers C = (1/m) Σ C_x + (α/2m) Σ ‖W‖².

    Parameters are scikit-learn's, with its defaults, and two more: `backend`, a name of `fastbp.backends.available()`
    or None for the current one, and `class_weight`, None, "balanced" or a dict. `activation` is "identity", "logistic",
    "tanh" or "relu", or a list of one a hidden layer; `solver` is "adam" or "sgd". "lbfgs" takes no mini-batches and is
    not offered, nor is its `max_fun`.

    After `fit`: `classes_`, `coefs_` (n_in, n_out) and `intercepts_` (n_out,) of each layer, by which predictions are
    made also when you assign them; `loss_`, `loss_curve_`, `best_loss_`; with early stopping `validation_scores_`,
    `best_validation_score_`; `n_iter_`, `t_`, `n_layers_`, `n_outputs_`, `out_activation_`, `n_features_in_`, and
    `feature_names_in_` if X had names.

    float32 X is trained in float32, all other in float64. Sparse X becomes CSR, of which a mini-batch at a time is made
    dense. From the same `random_state` the same numbers are drawn as in scikit-learn 1.9 in the same order, parameters,
    examples held out and mini-batches; so results differ by rounding alone, but for what is meant otherwise:

    * Weights of examples are divided by their average, not by that of their mini-batch: each example counts by its
      weight, in whichever company, where in scikit-learn a mini-batch of light ones takes as long a step as any. α is
      divided by that average too, and by the size of the mini-batch, so that a weight of 2 still is an example twice.
    * Examples that are held out have their share of each class, as scikit-learn documents it, also of three classes or
      more, unless some class is too small for it.
    * `loss_` is computed from z, where scikit-learn clips probabilities, and its L2 term takes ‖W‖² to go straight from
      what it is before an epoch to what it is after.
    * Training that diverges raises `fastbp.DivergedError`.

    >>> import fastbp
    >>> (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    >>> net = MLPClassifier((30,), tol=0.01, random_state=0).fit(x.T, labels)  # rows are examples here
    >>> net.score(x_test.T, labels_test) > 0.9
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        backend: Any = None,
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            backend=backend,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPClassifier":
        """Train on rows X (n, n_features) with labels y (n,), or columns of 0 and 1, (n, n_outputs); return self.

        It begins with fresh parameters, or with `warm_start` with those there are. `sample_weight` is (n,), each 0 or
        more, and a weight of 2 counts like the example twice in a mini-batch. Raises ValueError, of which `InputError`
        is one, for input that cannot be used, and `DivergedError`; warns, as scikit-learn does, if `max_iter` epochs
        have not been enough by `tol`, and on Ctrl-C.

        >>> MLPClassifier((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], ["no", "yes"]).classes_.tolist()
        ['no', 'yes']
        """
        return self._trained(X, y, sample_weight, None, partial=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """Train for one epoch on more examples, the optimizer going on from where it was; return self.

        `classes` are all there will be, wanted at the first call. Raises like `fit`.

        >>> net = MLPClassifier((3,), random_state=0).partial_fit([[0.0], [1.0]], [0, 1], classes=[0, 1, 2])
        >>> net.predict_proba([[0.5]]).shape
        (1, 3)
        """
        if isinstance(self.class_weight, str):
            raise InputError("class_weight is 'balanced', which wants all examples; give partial_fit a dict of weights")
        return self._trained(X, y, sample_weight, classes, partial=True)

    def predict(self, X: Any) -> Array:
        """Return the likeliest class of each row, (n,); where y was columns of 0 and 1, so is this, (n, n_outputs).

        >>> net = MLPClassifier((3,), "tanh", learning_rate_init=0.3, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> net.predict([[-1.0], [2.0]]).tolist()
        [3, 7]
        """
        decided = self._decided(self._outputs(X))
        if self._multilabel:
            return decided
        return np.asarray(self.classes_[np.minimum(decided[:, 0], len(self.classes_) - 1)])  # there may be one

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, (n, n_classes), in the order of `classes_`.

        >>> net = MLPClassifier((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> net.predict_proba([[-1.0], [2.0]]).shape
        (2, 2)
        """
        a = self._outputs(X)
        if a.shape[1] > 1 or self._multilabel:
            return a
        return np.hstack([1.0 - a, a])[:, : len(self.classes_)]

    def predict_log_proba(self, X: Any) -> Array:
        """Return the natural logarithm of `predict_proba`, −∞ where that is 0.

        >>> net = MLPClassifier((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> bool((net.predict_log_proba([[0.5]]) < 0.0).all())
        True
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def _multilabel(self) -> bool:
        return bool(self.out_activation_ == "logistic" and self.n_outputs_ > 1)

    def _trained(self, x: Any, y: Any, sample_weight: Any, classes: Any, *, partial: bool) -> "MLPClassifier":
        rows, labels = self._checked(x, y, partial=partial)
        labels = _checked_labels(labels)
        if self._is_new(partial=partial):
            self.classes_ = _classes_of(labels, classes, partial=partial)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise InputError(
                f"classes are {np.unique(classes).tolist()}; wanted are those before: {self.classes_.tolist()}"
            )
        w = checked_weights(sample_weight, rows)
        if self.class_weight is not None:
            of_class = compute_sample_weight(self.class_weight, labels)
            w = checked_weights(of_class if w is None else of_class * w, rows)
        columns = _columns(labels, self.classes_).astype(rows.dtype)
        several = labels.ndim == 1 and len(self.classes_) > 2
        self._fit(Examples(rows, columns, w), "softmax" if several else "logistic", partial=partial)
        return self

    def _decided(self, a: Array) -> Array:
        """Return, of outputs or targets, the index of the largest, (n, 1), or of each logistic one whether it is 1."""
        return a.argmax(axis=1)[:, None] if self.out_activation_ == "softmax" else np.asarray(a > 0.5, np.int64)

    def _cost(self, out_activation: str) -> str:
        return _COSTS[out_activation]

    def _loss(self, cost: float) -> float:
        return cost

    def _groups(self, y: Array) -> Array | None:
        return None if self._multilabel else self._decided(y)[:, 0]

    def _score_of(self, y: Array, a: Array, w: Array | None) -> float:
        return float(np.average((self._decided(a) == self._decided(y)).all(axis=1), weights=w))


def _checked_labels(y: Any) -> Array:
    """Return labels (n,), or columns of 0 and 1, (n, n_L); raises ValueError for anything else."""
    labels = y.toarray() if sparse.issparse(y) else y
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    check_classification_targets(labels)
    if labels.ndim == 2 and type_of_target(labels) != "multilabel-indicator":
        raise InputError("y has columns of classes; wanted is one class an example, or columns of 0 and 1")
    return np.asarray(labels)


def _classes_of(labels: Array, classes: Any, *, partial: bool) -> Array:
    """Return the classes, sorted: those that are given, or those of the labels."""
    if labels.ndim == 2:
        return np.arange(labels.shape[1])
    if classes is not None:
        return np.unique(classes)
    if partial:
        raise InputError("classes is None; wanted are all classes there will be, at the first call of partial_fit")
    return np.unique(labels)


def _columns(labels: Array, classes: Array) -> Array:
    """Return targets: one column of 0 and 1 for two classes, of which 1 is the second, and unit rows for more."""
    if labels.ndim == 2:
        return labels
    index = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    wrong = np.flatnonzero(classes[index] != labels)
    if wrong.size:
        raise InputError(
            f"y has {brief(labels[wrong[0]].item())} (example {wrong[0]}); valid classes are {brief(classes.tolist())}"
        )
    if len(classes) <= 2:
        return index[:, None]
    return index[:, None] == np.arange(len(classes))  # type: ignore[no-any-return]
