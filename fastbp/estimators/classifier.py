"""`MLPClassifier`, for two classes, several classes, or several labels per example."""

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

    Each step of training lowers the cost of a mini-batch of m examples, C = (1/m) Σ C_x + (α/2m) Σ ‖W‖². With three or
    more classes, the output layer is softmax and the cost is the log-likelihood C_x = −ln a_y. With two classes, there
    is one sigmoid output, the probability of the second class, and the cost is the cross-entropy. For multilabel
    classification, y has several columns of 0 and 1, and a row may contain any number of 1s. Each column then has its
    own sigmoid output, and the cost is again the cross-entropy.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Number of neurons in each hidden layer. The input and output layers are not listed; `()` gives a network without
        hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"} or a sequence of these, default="relu"
        One activation function for all hidden layers, or a sequence with one for each of them. "logistic" is called
        "sigmoid" elsewhere in fastbp.
    solver : {"sgd", "adam"}, default="adam"
        Optimizer. "sgd" is stochastic gradient descent, with momentum if `momentum` > 0. "adam" is Adam.
    alpha : float, default=0.0001
        Strength α of the L2 regularization in the formula above. Biases are not regularized.
    batch_size : int or "auto", default="auto"
        Number m of examples in a mini-batch. "auto" is the smaller of 200 and the number of training examples.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Learning-rate schedule of "sgd". "constant" keeps η = `learning_rate_init`. "invscaling" sets
        η = `learning_rate_init` / (`t_` + 1)^`power_t` after each epoch. "adaptive" divides η by 5 whenever training
        would otherwise stop for lack of improvement. Training then stops only if η is already 1e-6 or less.
    learning_rate_init : float, default=0.001
        Initial learning rate η.
    power_t : float, default=0.5
        Exponent in the formula of "invscaling".
    max_iter : int, default=200
        Largest number of epochs in one call of `fit`.
    shuffle : bool, default=True
        Whether to put the training examples in a new random order in each epoch.
    random_state : int, numpy.random.RandomState or None, default=None
        Source of the random numbers for the initial parameters, the held-out examples and the order of the examples.
        With an int, repeated calls give the same result.
    tol : float, default=1e-4
        Smallest decrease of the training loss that counts as an improvement. With `early_stopping`, the smallest
        increase of the validation score that counts.
    verbose : bool or int, default=False
        Whether to print the loss of each epoch. With `early_stopping`, the validation score is printed too.
    warm_start : bool, default=False
        Whether `fit` starts from the present parameters instead of new random ones.
    momentum : float, default=0.9
        Momentum μ of "sgd", 0 ≤ μ < 1.
    nesterovs_momentum : bool, default=True
        Whether "sgd" uses Nesterov's form of momentum.
    early_stopping : bool, default=False
        Whether to hold out part of the examples and to stop when the score on these examples no longer improves. The
        estimator then keeps the parameters of the best epoch.
    validation_fraction : float, default=0.1
        Fraction of the examples to hold out for `early_stopping`, between 0 and 1.
    beta_1 : float, default=0.9
        Decay rate β₁ of Adam's first moment, 0 ≤ β₁ < 1.
    beta_2 : float, default=0.999
        Decay rate β₂ of Adam's second moment, 0 ≤ β₂ < 1.
    epsilon : float, default=1e-8
        Constant ε in the denominator of Adam's step.
    n_iter_no_change : int or math.inf, default=10
        Training stops when more than this number of consecutive epochs have brought no improvement of at least `tol`.
    backend : str, array module or None, default=None
        Backend to compute on: a name from `fastbp.backends.available()`, "auto", or the module of an array library.
        None means the current backend.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class. The weight of every example is multiplied by the weight of its class. "balanced" makes all
        classes count equally. The weight of a class is then n/(number of classes · number of examples of the class),
        where n is the number of all examples.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, sorted.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weight matrix of each layer. Predictions use the present `coefs_` and `intercepts_`, so you can assign other
        arrays to both.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer.
    loss_ : float
        Training loss of the last epoch, including the L2 term.
    loss_curve_ : list of float
        Training loss of each epoch.
    best_loss_ : float or None
        Smallest training loss, or None with `early_stopping`.
    validation_scores_ : list of float or None
        Accuracy of the held-out examples after each epoch, or None without `early_stopping`.
    best_validation_score_ : float or None
        Largest validation score, or None without `early_stopping`.
    n_iter_ : int
        Number of epochs in the last call of `fit` or `partial_fit`.
    t_ : int
        Number of examples used for training so far. Each example is counted once per epoch.
    n_layers_ : int
        Number of layers, including the input and output layers.
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
    Training runs in float32 if X has dtype float32, and in float64 otherwise. A sparse X is converted to the CSR
    format. The backend "numpy" then computes with its entries only. For other backends, X is made dense, one mini-batch
    at a time.

    Differences from scikit-learn:

    * The solver "lbfgs", which does not use mini-batches, and its parameter `max_fun` are not available.
    * The parameters `backend` and `class_weight` are new, and `activation` may be a list.
    * Apart from the differences below, results agree up to rounding errors. The same `random_state` gives the same
      initial parameters, held-out examples and mini-batches as in scikit-learn 1.9.
    * `sample_weight` is divided by its average over all training examples. scikit-learn divides it by its average over
      each mini-batch. Here an example therefore counts in proportion to its weight in every mini-batch. In
      scikit-learn, a mini-batch with small weights takes as large a step as any other. Here α is divided by the same
      average as the weights, and by the size of the mini-batch. A weight of 2 therefore has the same effect as having
      the example twice.
    * Held-out examples are stratified by class for any number of classes, as scikit-learn's documentation says.
      scikit-learn itself stratifies only two classes. If a class is too small to be split, the split is not stratified.
    * `loss_` is computed from the weighted inputs z. scikit-learn computes it from clipped probabilities. The L2 term
      of `loss_` assumes that ‖W‖² changes linearly during an epoch.
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

    classes_: Array

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
        """Train on X and y, starting from new random parameters or, with `warm_start`, from the present ones.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.
        y : array-like of shape (n,) or (n, n_outputs)
            The class of each example, or columns of 0 and 1.
        sample_weight : array-like of shape (n,), optional
            Weight of each example, 0 or more. A weight of 2 has the same effect as having the example twice in a
            mini-batch.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the input is invalid. `fastbp.InputError` is a subclass of ValueError.
        fastbp.DivergedError
            If the loss is no longer finite.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If training reached `max_iter` epochs without converging.
        UserWarning
            If Ctrl-C ended training, or if `batch_size` is larger than the number of training examples.

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
            If a parameter or the input is invalid, `early_stopping` is True, or `class_weight` is "balanced".
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
            The classes. If y had columns of 0 and 1 in `fit`, the result has such columns too. They contain 1 where the
            probability is above 0.5.

        Examples
        --------
        >>> net = MLPClassifier((3,), "tanh", learning_rate_init=0.3, random_state=0).fit([[0.0], [1.0]], [3, 7])
        >>> net.predict([[-1.0], [2.0]]).tolist()
        [3, 7]
        """
        indices = self._class_indices(self._outputs(X))
        if self._multilabel:
            return indices
        # If there is only one class, an index of 1 means this class too.
        return np.asarray(self.classes_[np.minimum(indices[:, 0], len(self.classes_) - 1)])

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class for each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, n_features)
            The examples, one per row.

        Returns
        -------
        ndarray of shape (n, n_classes)
            The probabilities, with one column per class in the order of `classes_`. The dtype is that of training.

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
            ln of `predict_proba(X)`. For a probability of 0 it is −∞.

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
        fresh = self._starts_fresh(partial=partial)
        labels = _check_labels(labels, len(labels) if fresh else len(self.classes_))
        if fresh:
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
        """Return the indices of the predicted or true classes.

        Each row of `a` contains the outputs or the targets of one example. For softmax outputs, the result has shape
        (n, 1) and contains the index of the largest output in each row. For logistic outputs, the result has the shape
        of `a`, with 1 where the output is above 0.5, and 0 elsewhere.
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


def _check_labels(y: Any, most_classes: int) -> Array:
    """Return labels as an array of shape (n,), or columns of 0 and 1 as an array of shape (n, n_L).

    `most_classes` is the largest number of classes that y can have. Raises ValueError for anything else.
    """
    if isinstance(y, np.ndarray) and y.ndim == 1 and y.dtype.kind in "iub" and not _may_be_numbers(y, most_classes):
        return y
    labels = y.toarray() if sparse.issparse(y) else y
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    check_classification_targets(labels)
    if labels.ndim == 2 and type_of_target(labels) != "multilabel-indicator":
        raise InputError("y must have one class per example, or columns of 0 and 1, got several columns of classes")
    return np.asarray(labels)


def _may_be_numbers(y: Array, most_classes: int) -> bool:
    """Return whether scikit-learn has to count the classes, because many of them may mean a regression problem."""
    return len(y) > 20 and 2 * most_classes > len(y)


def _classes_of(labels: Array, classes: Any, *, partial: bool) -> Array:
    """Return the sorted classes: `classes` if it is given, otherwise the distinct labels.

    If the labels are columns of 0 and 1, the classes are the numbers of the columns.
    """
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
    """Return the targets of the network's outputs as an array of shape (n, n_L).

    Labels that are columns of 0 and 1 are returned unchanged. Two classes become one column, with 1 for the second
    class. More classes become one column per class, with 1 in the column of the example's class.
    """
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
