"""An exception as text, for hosts and records: nothing of the interpreter is held."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType

MAX_MESSAGE_CHARACTERS = 64 << 10
MAX_TRACEBACK_CHARACTERS = 256 << 10
MAX_REMEMBERED_FRAMES = 256
MAX_REMEMBERED_DEPTH = 16

# What stands above a service's own frames explains nothing: this package and asyncio.
_OUR_PLACES = (os.path.dirname(__file__) + os.sep, os.path.dirname(os.__file__) + os.sep + "asyncio" + os.sep)

# Frames as texts, by code and instruction. The code is held, so that its id stays its own.
_frames: dict[tuple[int, int], tuple[CodeType, str]] = {}


def describe(error: BaseException) -> dict[str, str]:
    """``error`` as its type, its message, and its traceback from the service's first frame on."""
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
        "traceback": _formatted(error, trace)[-MAX_TRACEBACK_CHARACTERS:],
    }


def _formatted(error: BaseException, trace: TracebackType | None) -> str:
    """What `traceback.format_exception` makes of it, with frames as they were formatted the first time.

    A service that crashes again and again does so in the same places: to read them anew would cost more than its
    restart.
    """
    from traceback import format_exception, format_exception_only

    frames = _remembered(trace) if _is_plain(error) else None
    if not frames:
        return "".join(format_exception(type(error), error, trace))
    return "".join(["Traceback (most recent call last):\n", *frames, *format_exception_only(type(error), error)])


def _is_plain(error: BaseException) -> bool:
    """Whether its traceback shows its own frames, what it says, and nothing else.

    From 3.12 on a `NameError` says what may have been meant, which it learns from its frames.
    """
    context = None if error.__suppress_context__ else error.__context__
    return error.__cause__ is None and context is None and not isinstance(error, BaseExceptionGroup | NameError)


def _remembered(trace: TracebackType | None) -> list[str] | None:
    """The frames as texts; nothing for a deep stack, which may be a recursion, whose repetitions are counted."""
    from traceback import format_tb

    frames: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        key = (id(code), trace.tb_lasti)
        if key not in _frames:
            if len(_frames) == MAX_REMEMBERED_FRAMES:
                _frames.clear()
            _frames[key] = (code, "".join(format_tb(trace, limit=1)))
        frames.append(_frames[key][1])
        if len(frames) > MAX_REMEMBERED_DEPTH:
            return None
        trace = trace.tb_next
    return frames
