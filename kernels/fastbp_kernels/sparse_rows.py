"""The memory layout of sparse examples."""

from typing import Any, NamedTuple

Array = Any


class SparseRows(NamedTuple):
    """Sparse examples. Only some of their inputs, called entries, are stored. All other inputs are zero.

    The entries of example i are those from `starts[i]` to `starts[i + 1]`, as in SciPy's CSR format. `inputs` holds the
    index of the input of each entry, and `values` its value. `starts` has the dtype int64, and `inputs` int32.
    """

    starts: Array
    inputs: Array
    values: Array

    @property
    def width(self) -> int:
        """The length of a row in a block of these examples (see `fastbp_kernels.cpu.sparse_products`)."""
        most = int((self.starts[1:] - self.starts[:-1]).max(initial=0))
        return 1 + 2 * most
