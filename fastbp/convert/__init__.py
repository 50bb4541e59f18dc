"""Networks of others as fastbp's, and back: the book's files, scikit-learn's estimators, PyTorch's state dicts.

Predictions agree to rounding, and training goes on with the same cost. What the other side has no word for is refused.
`training_to_sklearn` and `training_from_sklearn` translate how to train; the book's η, λ and n mean what
`Network.train`'s do.
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
