"""What training can fail with.

    TrainingError         the tree's root; the CLI prints it as one line
      DataError           a shard or a persona that cannot be read, or nothing to train on
      CheckpointError     a weights file or checkpoint that is truncated, foreign, or of another architecture; no room to write one
      DivergedError       a loss or a gradient that is not finite
"""

from __future__ import annotations


class TrainingError(Exception):
    """Training cannot go on; the message says what was expected, what was found, and the way out."""


class DataError(TrainingError):
    """The training set is not what it should be."""


class CheckpointError(TrainingError):
    """A file of weights cannot be read or written."""


class DivergedError(TrainingError):
    """A value is not finite. Nothing was saved after it."""
