"""What Python code sees of the C++ program that runs it; there is no such module in an ordinary process."""

from asyncio import Future
from typing import Any, Protocol

def call(name: str, /, *args: object, **kwargs: object) -> Any: ...
def async_call(name: str, /, *args: object, **kwargs: object) -> Future[Any]: ...

class _Functions(Protocol):
    def __getattr__(self, name: str) -> Any: ...

functions: _Functions
