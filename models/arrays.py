"""Type names for the arrays that functions take and return."""

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int8]  # 0 and 1
Probabilities = NDArray[np.float32]
Decisions = NDArray[np.bool_]
Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]
