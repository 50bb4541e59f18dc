"""PTX executed on NumPy arrays, without a GPU: `run` takes a kernel's text, a launch and its arguments.

It follows NVIDIA's "Parallel Thread Execution ISA" manual (9.0), whose sections are cited by title: their numbers move
from version to version. It knows the instructions that element-wise kernels and sums within a block compile to, and
refuses all others.
"""

from .errors import PTXError
from .machine import Report, run
from .memory import Traffic

__all__ = ["PTXError", "Report", "Traffic", "run"]
