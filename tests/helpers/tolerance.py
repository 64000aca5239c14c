"""How much predictions may differ between processors, libraries and batches."""

import numpy as np


def rounding(values: np.ndarray) -> float:
    """1e-6 for scores, which are at most 1; for features 4e-6 of the largest, because each is a sum of such terms."""
    return 1e-6 * max(1.0, 4 * float(np.abs(values).max()))
