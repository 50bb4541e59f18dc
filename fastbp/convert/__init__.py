"""Convert networks of other programs to a `Network` and back.

A network can be converted from and to three formats: the files of `network2` in M. Nielsen's book *Neural Networks and
Deep Learning*, the estimators of scikit-learn, and the models and state dicts of PyTorch. The converted network makes the same
predictions up to rounding errors, and training can continue with the same cost. If a format cannot represent a
network, `InputError` is raised.

`training_to_sklearn` and `training_from_sklearn` convert the options of training. The book's options need no
conversion, because η, λ and n have the same meaning in the book and in `Network.train`.
"""

from fastbp.convert.book import from_book, to_book
from fastbp.convert.pytorch import from_torch, to_torch, to_torch_module
from fastbp.convert.scikit_learn import from_sklearn, to_sklearn, training_from_sklearn, training_to_sklearn

__all__ = [
    "from_book",
    "from_sklearn",
    "from_torch",
    "to_book",
    "to_sklearn",
    "to_torch",
    "to_torch_module",
    "training_from_sklearn",
    "training_to_sklearn",
]
