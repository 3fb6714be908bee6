"""An exception as text, for hosts and records: nothing of the interpreter is held."""

from __future__ import annotations

import os

MAX_MESSAGE_CHARACTERS = 64 << 10
MAX_TRACEBACK_CHARACTERS = 256 << 10

# What stands above a service's own frames explains nothing: this package and asyncio.
_OUR_PLACES = (os.path.dirname(__file__) + os.sep, os.path.dirname(os.__file__) + os.sep + "asyncio" + os.sep)


def describe(error: BaseException) -> dict[str, str]:
    """``error`` as its type, its message, and its traceback from the service's first frame on."""
    from traceback import format_exception

    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OUR_PLACES):
        trace = trace.tb_next
    kind = type(error)
    plain = kind.__module__ in ("builtins", "__main__", "__mp_main__")
    try:
        message = str(error)
    except Exception as failure:
        message = f"<str() of it raised {type(failure).__name__}>"
    return {
        "type": kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}",
        "message": message[:MAX_MESSAGE_CHARACTERS],
        # The end of a traceback says more than its beginning.
        "traceback": "".join(format_exception(kind, error, trace))[-MAX_TRACEBACK_CHARACTERS:],
    }
