"""What runs in a worker process: the initializer, then calls until the pool says stop."""

from __future__ import annotations

import copyreg
import os
import pickle
from collections import ChainMap
from concurrent.futures import _base
from concurrent.futures.process import _ExceptionWithTraceback
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import TYPE_CHECKING, Any

from unirun import _pools
from unirun.executors import futures  # noqa: F401  # It tells _pools what it builds on.

if TYPE_CHECKING:
    from collections.abc import Callable

PICKLERS = ("pickle", "cloudpickle")


class Channel:
    """The descriptors of one worker: open in both processes while it starts."""

    def __init__(self, *descriptors: int) -> None:
        self.descriptors = descriptors

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, tuple(DupFd(number) for number in self.descriptors)

    def close(self) -> None:
        """In the pool's process, once the worker has them."""
        for number in self.descriptors:
            os.close(number)


def _receive(*handles: Any) -> Channel:
    channel = Channel(*(handle.detach() for handle in handles))
    for number in channel.descriptors:
        os.set_inheritable(number, False)
    return channel


def pickler_maker(name: str) -> tuple[Callable[[Any], Any], bool]:
    """What makes a pickler for a file, and whether one serves for all.

    They know what `multiprocessing` knows to pickle beside Python itself: connections, sockets.
    """
    if name == "pickle":
        standard = ChainMap(ForkingPickler._extra_reducers, copyreg.dispatch_table)  # type: ignore[attr-defined]

        def make(file: Any) -> pickle.Pickler:
            pickler = pickle.Pickler(file, 5, buffer_callback=file.add_buffer)
            pickler.dispatch_table = standard
            return pickler

        return make, True
    if name != "cloudpickle":
        raise ValueError(f"pickler must be one of {', '.join(PICKLERS)}, not {name!r}")
    try:
        import cloudpickle  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ValueError("pickler='cloudpickle': it is not installed; say: pip install cloudpickle") from None

    def make_by_value(file: Any) -> Any:
        pickler = cloudpickle.Pickler(file, 5, buffer_callback=file.add_buffer)
        pickler.dispatch_table = pickler.dispatch_table.new_child(ForkingPickler._extra_reducers)  # type: ignore[attr-defined]
        return pickler

    return make_by_value, False


def main(
    channel: Channel,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
    pickler: str,
) -> None:
    """The target of every worker's `multiprocessing.Process`."""
    pool, memory, event, life, socket, *stacks = channel.descriptors
    if stacks:
        import faulthandler  # Not above: no subinterpreter can load it, and this module can be imported there.

        faulthandler.enable(stacks[0])
    if initializer is not None:
        try:
            initializer(*initargs)
        except BaseException:
            _base.LOGGER.critical("Exception in initializer:", exc_info=True)
            return  # The pool sees the process end and breaks.
    _pools.work(pool, memory, event, life, socket, *pickler_maker(pickler), pickle.loads, _describe)


def _describe(raised: BaseException) -> _ExceptionWithTraceback:
    return _ExceptionWithTraceback(raised, raised.__traceback__)  # type: ignore[arg-type]
