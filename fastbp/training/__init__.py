"""Training and inference.

Training consists of its set-up, the loop over epochs and mini-batches, checkpoints and reports of progress. Inference
computes the outputs for many columns.
"""

from fastbp.errors import CheckpointError, DivergedError, RankError
from fastbp.training.history import Epoch, History

__all__ = ["CheckpointError", "DivergedError", "Epoch", "History", "RankError"]
