"""Where a training run stands."""

import dataclasses
import math
from dataclasses import dataclass

Row = dict[str, float]


@dataclass
class Progress:
    """Where a run stands: `step` of `epoch` is the next one to do. Saved with every checkpoint."""

    epoch: int = 0
    step: int = 0
    schedule: dict[str, float] = dataclasses.field(default_factory=dict)
    history: list[Row] = dataclasses.field(default_factory=list)

    def is_best(self) -> bool:
        """Whether an epoch has just ended with a lower `val_top1_error` than all before it."""
        errors = [row["val_top1_error"] for row in self.history if "val_top1_error" in row]
        return self.step == 0 and bool(errors) and errors[-1] < min(errors[:-1], default=math.inf)
