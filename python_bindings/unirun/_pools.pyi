from collections.abc import Callable
from typing import Any

class NativeFuture:
    """The state of a future; `unirun.executors.futures.Future` is the class to use."""

def bind(
    future_class: type,
    cancelled_error: type[BaseException],
    invalid_state_error: type[BaseException],
    condition_class: Callable[[], Any],
    log_callback: Callable[[Any, BaseException], None],
    log_unexpected: Callable[[Any, str], None],
) -> None: ...
