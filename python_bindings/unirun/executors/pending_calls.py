"""What a process pool shows as its ``_pending_work_items``, for programs that count or list them."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

from unirun._standard import standard

if TYPE_CHECKING:
    from unirun import _pools


class PendingCalls(Mapping[int, Any]):
    """The calls that have no result yet, by number, each as a work item of the standard pool. Thread: any.

    To be read only: what is in it changes by itself, as in the standard dict.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: _pools.ProcessEngine) -> None:
        self._engine = engine

    def __len__(self) -> int:
        return self._engine.unfinished

    def __getitem__(self, number: int) -> Any:
        return self._snapshot()[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._snapshot())

    def items(self) -> ItemsView[int, Any]:
        return self._snapshot().items()

    def values(self) -> ValuesView[Any]:
        return self._snapshot().values()

    def __repr__(self) -> str:
        return repr(self._snapshot())

    def _snapshot(self) -> dict[int, Any]:
        item: Any = standard("concurrent.futures.process")._WorkItem
        calls = sorted(self._engine.calls(), key=lambda call: call[0])
        return {number: item(future, fn, args, kwargs or {}) for number, future, fn, args, kwargs in calls}
