"""Convert networks of other programs to a `Network` and back.

The formats are the files of the book's `network2`, scikit-learn's estimators and PyTorch's state dicts. Predictions
agree to rounding, and training can continue with the same cost. A network that the target cannot represent raises
`InputError`. `training_to_sklearn` and `training_from_sklearn` convert the training options. The book's options need
no conversion: its η, λ and n are those of `Network.train`.
"""

from fastbp.convert.book import from_book, to_book
from fastbp.convert.pytorch import from_torch, to_torch
from fastbp.convert.scikit_learn import from_sklearn, to_sklearn, training_from_sklearn, training_to_sklearn

__all__ = [
    "from_book",
    "from_sklearn",
    "from_torch",
    "to_book",
    "to_sklearn",
    "to_torch",
    "training_from_sklearn",
    "training_to_sklearn",
]
