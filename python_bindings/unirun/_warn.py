"""Warnings that point at the caller's line, however deep in the package they are raised."""

from __future__ import annotations

import os
import sys
import warnings

_HERE = os.path.dirname(__file__) + os.sep


def warn_caller(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn, at the nearest line outside of this package."""
    # 3.12 has skip_file_prefixes for this.
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
