"""Warnings that point at the caller's line, however deep in the package they are raised."""

from __future__ import annotations

import os
import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_HERE = os.path.dirname(__file__) + os.sep


def warn_caller(message: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn, at the nearest line outside of this package."""
    # 3.12 has skip_file_prefixes for this.
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and (is_ours(frame) or _imports(frame)):
        level += not _imports(frame)  # `warnings` does not count them either.
        frame = frame.f_back
    warnings.warn(message, category, stacklevel=level)


def is_ours(frame: FrameType) -> bool:
    """Whether it is a line of this package."""
    return frame.f_code.co_filename.startswith(_HERE)


def _imports(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib._bootstrap")
