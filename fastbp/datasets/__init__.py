"""Data sets: the bundled digits, MNIST, and files in IDX, .npz or .csv format.

Examples are columns everywhere. The inputs of n examples form an array x of shape (n_0, n), and there are n labels.
Each column is contiguous in memory. Inputs that are bytes stay uint8 until they are used. A file that can be
memory-mapped is mapped instead of read.
"""

from fastbp.datasets.bundled_digits import digits
from fastbp.datasets.idx import read_idx
from fastbp.datasets.mnist_files import mnist
from fastbp.datasets.rows_and_labels import Examples, Splits
from fastbp.datasets.splits import load
from fastbp.datasets.tables import read_examples, read_inputs

__all__ = ["Examples", "Splits", "digits", "load", "mnist", "read_examples", "read_idx", "read_inputs"]
