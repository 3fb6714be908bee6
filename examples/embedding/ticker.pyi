from collections.abc import Callable
from typing import TypedDict

class Report(TypedDict):
    ticks: int
    calls: int
    failed: int
    late: float

def start(function: Callable[[], object], seconds: float, /) -> None: ...
def stop() -> Report: ...
