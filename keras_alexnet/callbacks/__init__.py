"""Keras callbacks, used by `model.fit(callbacks=[...])` and by the train command alike.

`schedules`: learning rates; `resume`: checkpoints; `csv_log` and `tensorboard`: logs; `diagnostics`: early signs that a
training goes wrong.
"""

from keras_alexnet.callbacks.csv_log import CSVLog
from keras_alexnet.callbacks.diagnostics import Diagnostics, TrainingDivergedError
from keras_alexnet.callbacks.resume import Resume
from keras_alexnet.callbacks.schedules import CosineSchedule, PlateauSchedule, Schedule, StepSchedule
from keras_alexnet.callbacks.schedules_2012 import HandSchedule, StagedSchedule
from keras_alexnet.callbacks.tensorboard import TensorBoardLog

__all__ = [
    "CSVLog",
    "CosineSchedule",
    "Diagnostics",
    "HandSchedule",
    "PlateauSchedule",
    "Resume",
    "Schedule",
    "StagedSchedule",
    "StepSchedule",
    "TensorBoardLog",
    "TrainingDivergedError",
]
