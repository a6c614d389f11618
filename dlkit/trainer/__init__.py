"""Training: a loop that measures itself, and stops and goes on without losing a bit.

Read in this order:

    trainer      the loop, and everything a user calls
    batches      what it accepts from a loader
    metrics      exact means over an epoch            history    the table they end up in
    losses       a loss that is not a number          callbacks  code of your own, early stopping
    checkpoint   files that are whole or not there    state      what they hold
    position     where a run stands in its data       interrupt  Ctrl-C between two steps
    setup        short forms of optimizer, device...  progress   the bar
"""

from dlkit.trainer.callbacks import Callback, EarlyStopping, StepInfo
from dlkit.trainer.checkpoint import CheckpointError
from dlkit.trainer.history import History
from dlkit.trainer.losses import NonFiniteLossError
from dlkit.trainer.trainer import Trainer

__all__ = [
    "Callback",
    "CheckpointError",
    "EarlyStopping",
    "History",
    "NonFiniteLossError",
    "StepInfo",
    "Trainer",
]
