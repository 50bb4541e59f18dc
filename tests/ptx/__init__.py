"""Execute PTX on NumPy arrays, without a GPU: `run` takes the text of a kernel, a launch and its arguments.

It follows NVIDIA's manual "Parallel Thread Execution ISA" (9.0). Sections are cited by title, because their numbers
differ between versions. It supports the instructions that element-wise kernels and sums within a block compile to, and
rejects all others.
"""

from .errors import PTXError
from .machine import Report, parameter_sizes, run, run_at_addresses
from .memory import Traffic

__all__ = ["PTXError", "Report", "Traffic", "parameter_sizes", "run", "run_at_addresses"]
