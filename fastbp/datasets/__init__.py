"""Data sets: the bundled digits, MNIST, and your own tables, arrays and images.

Each example is a column. The inputs of n examples form an array x of shape (n_0, n), and there are n labels. Each
column is contiguous in memory. Inputs that are bytes stay uint8 until they are used. A file that can be
memory-mapped is mapped instead of read.

Tables have one example per row. A `Preparation` converts the rows of a table to columns of inputs. `prepare` reads a
file, splits its examples and fits a preparation to the training examples. `fit` fits a preparation to a DataFrame.
"""

from fastbp.datasets.bundled_digits import digits
from fastbp.datasets.fit_features import fit
from fastbp.datasets.idx import read_idx
from fastbp.datasets.mnist_files import mnist
from fastbp.datasets.preparation import Feature, Preparation
from fastbp.datasets.prepared import Prepared, prepare
from fastbp.datasets.rows_and_labels import Examples, Splits
from fastbp.datasets.splits import load
from fastbp.datasets.table_files import Table, read_table
from fastbp.datasets.tables import read_examples, read_inputs
from fastbp.datasets.targets import Target

__all__ = [
    "Examples",
    "Feature",
    "Preparation",
    "Prepared",
    "Splits",
    "Table",
    "Target",
    "digits",
    "fit",
    "load",
    "mnist",
    "prepare",
    "read_examples",
    "read_idx",
    "read_inputs",
    "read_table",
]
