"""Training: a loop that measures itself, and stops and goes on without losing a bit.

Read in this order:

    trainer      what a user calls                    loop       the way of an epoch, and of a batch
    run          where training stands, save, resume  compute    a model, a batch, a better model
    batches      what is accepted from a loader       metrics    exact means over an epoch
    history      the table they end up in             callbacks  code of your own, early stopping
    losses       a loss that is not a number          interrupt  Ctrl-C between two steps
    checkpoint   files that are whole or not there    state      what they hold
    position     a place in data and random numbers   setup      short forms of the arguments
    progress     the bar of an epoch                  augment    moving the images of a batch
    ranks        training on several ranks
    results      confusion and worst mistakes        batch_size  batches that grow in training
    trial        does a batch of this size fit?
"""

from dlkit.trainer.batch_size import BatchSizeScheduler
from dlkit.trainer.callbacks import Callback, EarlyStopping, StepInfo
from dlkit.trainer.checkpoint import CheckpointError
from dlkit.trainer.history import History
from dlkit.trainer.losses import NonFiniteLossError
from dlkit.trainer.trainer import Trainer
from dlkit.trainer.trial import trial_step

__all__ = [
    "BatchSizeScheduler",
    "Callback",
    "CheckpointError",
    "EarlyStopping",
    "History",
    "NonFiniteLossError",
    "StepInfo",
    "Trainer",
    "trial_step",
]
