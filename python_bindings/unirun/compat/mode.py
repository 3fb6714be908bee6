"""The mode of `unirun.compat`: ``managed``, or ``passthrough``. Read once, when compat is first imported."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Mode: TypeAlias = Literal["managed", "passthrough"]

VARIABLE = "UNIRUN_COMPAT_MODE"
WORDS: dict[str, Mode] = {
    "managed": "managed",
    "passthrough": "passthrough",
    "std": "passthrough",
    "stdlib": "passthrough",
    "pass": "passthrough",
}


def _read() -> Mode:
    text = os.environ.get(VARIABLE, "").strip()
    found = WORDS.get(text.lower() or "managed")
    if found is None:
        from unirun._warn import warn_caller

        warn_caller(f"{VARIABLE}={text!r} counts as managed: it is not one of {', '.join(WORDS)}")
        return "managed"
    return found


MODE: Mode = _read()
