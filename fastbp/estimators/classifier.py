"""`MLPClassifier`: two classes, several classes, or several labels per example."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from fastbp.backends import BackendLike
from fastbp.errors import InputError, brief
from fastbp.estimators.base import BaseMLP, check_sample_weight
from fastbp.estimators.epochs import Dataset
from fastbp.estimators.parameter_checks import HiddenActivation, LearningRate, Solver

Array = npt.NDArray[Any]
_COSTS = {"logistic": "cross-entropy", "softmax": "log-likelihood"}


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A neural network for classification: scikit-learn's `MLPClassifier`, trained by fastbp.

    Each mini-batch of m examples takes a step that lowers C = (1/m) Σ C_x + (α/2m) Σ ‖W‖². Three or more classes have a
    softmax output layer and the log-likelihood cost C_x = −ln a_y. Two classes have one sigmoid output, the probability
    of the second class, and the cross-entropy cost. If y has columns of 0 and 1 (multilabel, any number of 1s in a
    row), each column has one sigmoid output with the cross-entropy cost.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Number of neurons in each hidden layer. The input and output layers are not listed; `()` gives a network without
        hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"} or a sequence of these, default="relu"
        Activation function of all hidden layers, or one for each of them. "logistic" is fastbp's "sigmoid".
    solver : {"sgd", "adam"}, default="adam"
        Optimizer: stochastic gradient descent, with momentum if `momentum` > 0, or Adam.
    alpha : float, default=0.0001
        Strength α of the L2 regularization, see the formula above. Biases are not regularized.
    batch_size : int or "auto", default="auto"
        Number m of examples in a mini-batch. "auto" is the smaller of 200 and the number of training examples.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Learning-rate schedule of "sgd". "constant" keeps η = `learning_rate_init`. "invscaling" sets
        η = `learning_rate_init` / (`t_` + 1)^`power_t` after each epoch. "adaptive" divides η by 5 whenever training
        would stop for lack of improvement, and stops when η is 1e-6 or less.
    learning_rate_init : float, default=0.001
        Initial learning rate η.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Largest number of epochs in one call of `fit`.
    shuffle : bool, default=True
        Whether to put the training examples in a new random order in each epoch.
    random_state : int, numpy.random.RandomState or None, default=None
        Source of the initial parameters, the held-out examples and the order of the examples. An int makes repeated
        calls give the same result.
    tol : float, default=1e-4
        Smallest change of the training loss, or of the validation score with `early_stopping`, that counts as an
        improvement.
    verbose : bool or int, default=False
        Whether to print the loss, and with `early_stopping` the validation score, of each epoch.
    warm_start : bool, default=False
        Whether `fit` starts from the present parameters instead of new random ones.
    momentum : float, default=0.9
        Momentum μ of "sgd", 0 ≤ μ < 1.
    nesterovs_momentum : bool, default=True
        Whether "sgd" uses Nesterov's form of momentum.
    early_stopping : bool, default=False
        Whether to hold out part of the examples, stop when the score on them no longer improves, and return to the
        parameters of the best epoch.
    validation_fraction : float, default=0.1
        Fraction of the examples that `early_stopping` holds out, between 0 and 1.
    beta_1 : float, default=0.9
        Decay rate β₁ of Adam's first moment, 0 ≤ β₁ < 1.
    beta_2 : float, default=0.999
        Decay rate β₂ of Adam's second moment, 0 ≤ β₂ < 1.
    epsilon : float, default=1e-8
        Constant ε in the denominator of Adam's step.
    n_iter_no_change : int or math.inf, default=10
        Training stops after more than this number of epochs in a row without an improvement of at least `tol`.
    backend : str, array module or None, default=None
        Backend to compute on: a name from `fastbp.backends.available()`, "auto", or the module of an array library.
        None is the current backend.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by which the weights of its examples are multiplied. "balanced" makes the classes count
        alike: n/(number of classes · examples of the class).

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weight matrix of each layer. Predictions use the present `coefs_` and `intercepts_`, so you can assign others.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer.
    loss_ : float
        Training loss of the last epoch, L2 term included.
    loss_curve_ : list of float
        Training loss of each epoch.
    best_loss_ : float or None
        Smallest training loss; None with `early_stopping`.
    validation_scores_ : list of float or None
        Accuracy of the held-out examples after each epoch; None without `early_stopping`.
    best_validation_score_ : float or None
        Largest validation score; None without `early_stopping`.
    n_iter_ : int
        Number of epochs of the last call of `fit` or `partial_fit`.
    t_ : int
        Number of examples used for training so far, each counted once per epoch.
    n_layers_ : int
        Number of layers, the input and output layers included.
    n_outputs_ : int
        Number of outputs.
    out_activation_ : str
        Activation function of the output layer: "softmax" or "logistic".
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, if it has names.

    See Also
    --------
    MLPRegressor : The same network for real-valued targets.
    fastbp.convert.from_sklearn : Turn a fitted estimator into a `fastbp.Network`.

    Notes
    -----
    X of dtype float32 is trained on in float32, any other dtype in float64. Sparse X is converted to CSR, and made
    dense one mini-batch at a time.

    Differences from scikit-learn:

    * The solver "lbfgs", which does not use mini-batches, and its parameter `max_fun` are not available.
    * `backend`, `class_weight`, and a list for `activation` are additions.
    * Results agree to rounding, apart from the differences below: the same `random_state` gives the same initial
      parameters, held-out examples and mini-batches as in scikit-learn 1.9.
    * `sample_weight` is divided by its average over all training examples, in scikit-learn by the average over each
      mini-batch. Here an example counts in proportion to its weight in every mini-batch; there a mini-batch of small
      weights takes as large a step as any other. α is divided by the same average and by the size of the mini-batch, so
      that a weight of 2 is the same as having the example twice.
    * Held-out examples are stratified by class, also for three or more classes, as scikit-learn documents. If a class
      is too small to be split, the split is not stratified.
    * `loss_` is computed from z, without clipping probabilities as scikit-learn does. Its L2 term assumes that ‖W‖²
      changes linearly during an epoch.
    * Training that diverges raises `fastbp.DivergedError`.

    References
    ----------
    Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks" (initial
    parameters). Kingma and Ba 2015, "Adam: a method for stochastic optimization".

    Examples
    --------
    >>> import fastbp
    >>> (x, labels), (x_test, labels_test) = fastbp.datasets.digits()
    >>> net = MLPClassifier((30,), tol=0.01, random_state=0).fit(x.T, labels)  # rows are examples here
    >>> net.score(x_test.T, labels_test) > 0.9
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: HiddenActivation | Sequence[HiddenActivation] = "relu",
        *,
        solver: Solver = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: LearningRate = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        backend: BackendLike | None = None,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
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
        """Train on X and y, from new random parameters, or from the present ones with `warm_start`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.
        y : array-like of shape (n,) or (n, n_outputs)
            The class of each example, or columns of 0 and 1.
        sample_weight : array-like of shape (n,), optional
            Weight of each example, 0 or more. A weight of 2 is the same as having the example twice in a mini-batch.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the input is invalid. `fastbp.InputError` is a ValueError.
        fastbp.DivergedError
            If the loss is no longer finite.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If training reached `max_iter` epochs without converging.
        UserWarning
            If Ctrl-C ended training, or `batch_size` is more than the number of training examples.

        Examples
        --------
        >>> MLPClassifier((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], ["no", "yes"]).classes_.tolist()
        ['no', 'yes']
        """
        return self._train(X, y, sample_weight, None, partial=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """Train for one epoch on X and y, continuing from the present parameters and optimizer state.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.
        y : array-like of shape (n,) or (n, n_outputs)
            The class of each example, or columns of 0 and 1.
        sample_weight : array-like of shape (n,), optional
            Weight of each example, 0 or more.
        classes : array-like of shape (n_classes,), optional
            All classes that y may contain in this and later calls. Required in the first call, unless y has columns of
            0 and 1.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            Like `fit`, and with `early_stopping=True` or `class_weight="balanced"`.
        fastbp.DivergedError
            If the loss is no longer finite.

        Examples
        --------
        >>> net = MLPClassifier((3,), random_state=0).partial_fit([[0.0], [1.0]], [0, 1], classes=[0, 1, 2])
        >>> net.predict_proba([[0.5]]).shape
        (1, 3)
        """
        if isinstance(self.class_weight, str):
            raise InputError(
                "class_weight must be a dict or None for partial_fit, got 'balanced', which needs all examples at once"
            )
        return self._train(X, y, sample_weight, classes, partial=True)

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            The classes. If y had columns of 0 and 1 in `fit`, columns of 0 and 1: 1 where the probability is above 0.5.

        Examples
        --------
        >>> net = MLPClassifier((3,), "tanh", learning_rate_init=0.3, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> net.predict([[-1.0], [2.0]]).tolist()
        [3, 7]
        """
        indices = self._class_indices(self._outputs(X))
        if self._multilabel:
            return indices
        return np.asarray(self.classes_[np.minimum(indices[:, 0], len(self.classes_) - 1)])  # there may be one class

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class for each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.

        Returns
        -------
        ndarray of shape (n, n_classes)
            The probabilities, in the order of `classes_`, in the dtype of training.

        Examples
        --------
        >>> net = MLPClassifier((3,), tol=0.1, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> net.predict_proba([[-1.0], [2.0]]).shape
        (2, 2)
        """
        a = self._outputs(X)
        if a.shape[1] > 1 or self._multilabel:
            return a
        return np.hstack([1.0 - a, a])[:, : len(self.classes_)]

    def predict_log_proba(self, X: Any) -> Array:
        """Return the natural logarithm of the probability of each class for each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.

        Returns
        -------
        ndarray of shape (n, n_classes)
            ln of `predict_proba(X)`, −∞ for a probability of 0.

        Examples
        --------
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

    def _train(self, x: Any, y: Any, sample_weight: Any, classes: Any, *, partial: bool) -> "MLPClassifier":
        rows, labels = self._check_input(x, y, partial=partial)
        labels = _check_labels(labels)
        if self._starts_fresh(partial=partial):
            self.classes_ = _classes_of(labels, classes, partial=partial)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            given = brief(np.unique(classes).tolist())
            raise InputError(f"classes must be those of the first call, {brief(self.classes_.tolist())}, got {given}")
        w = check_sample_weight(sample_weight, rows)
        if self.class_weight is not None:
            class_weights = compute_sample_weight(self.class_weight, labels)
            w = check_sample_weight(class_weights if w is None else class_weights * w, rows)
        targets = _targets(labels, self.classes_).astype(rows.dtype)
        several_classes = labels.ndim == 1 and len(self.classes_) > 2
        self._fit(Dataset(rows, targets, w), "softmax" if several_classes else "logistic", partial=partial)
        return self

    def _class_indices(self, a: Array) -> Array:
        """Return the index of the largest of softmax outputs a, (n, 1), or whether each logistic output is above 0.5.

        a may also be targets.
        """
        return a.argmax(axis=1)[:, None] if self.out_activation_ == "softmax" else np.asarray(a > 0.5, np.int64)

    def _cost(self, out_activation: str) -> str:
        return _COSTS[out_activation]

    def _loss(self, cost: float) -> float:
        return cost

    def _stratify_labels(self, y: Array) -> Array | None:
        return None if self._multilabel else self._class_indices(y)[:, 0]

    def _validation_score(self, y: Array, a: Array, w: Array | None) -> float:
        return float(np.average((self._class_indices(a) == self._class_indices(y)).all(axis=1), weights=w))


def _check_labels(y: Any) -> Array:
    """Return labels (n,), or columns of 0 and 1, (n, n_L); raise ValueError for anything else."""
    labels = y.toarray() if sparse.issparse(y) else y
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    check_classification_targets(labels)
    if labels.ndim == 2 and type_of_target(labels) != "multilabel-indicator":
        raise InputError("y must have one class per example, or columns of 0 and 1, got several columns of classes")
    return np.asarray(labels)


def _classes_of(labels: Array, classes: Any, *, partial: bool) -> Array:
    """Return the sorted classes: the given ones, or the distinct labels."""
    if labels.ndim == 2:
        return np.arange(labels.shape[1])
    if classes is not None:
        return np.unique(classes)
    if partial:
        raise InputError(
            "classes must list all classes in the first call of partial_fit, got None; pass np.unique(y), for example"
        )
    return np.unique(labels)


def _targets(labels: Array, classes: Array) -> Array:
    """Return targets (n, n_L): for two classes one column, 1 for the second class; for more classes unit rows."""
    if labels.ndim == 2:
        return labels
    index = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    unknown = np.flatnonzero(classes[index] != labels)
    if unknown.size:
        given = f"{brief(labels[unknown[0]].item())} (example {unknown[0]})"
        raise InputError(f"y must contain only the known classes {brief(classes.tolist())}, got {given}")
    if len(classes) <= 2:
        return index[:, None]
    return index[:, None] == np.arange(len(classes))  # type: ignore[no-any-return]
