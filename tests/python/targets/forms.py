"""Targets of every form, for test_worker.py. Each tells by status() what it saw."""

import asyncio
import functools
import itertools
import logging
import os
import signal
import sys
import threading
import time

from unirun import Cancelled, Ignore, Service, ServiceContext, _current_service, _daemons


class Polite(Service):
    def run(self, context):
        context.ready()
        context.cancellation.wait()
        context.status("asked to stop")


class Async(Service):
    async def run_async(self, context):
        context.ready()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            context.status("cancelled")
            raise


class Neither(Service):
    pass


class Nested:
    class Inner(Service):
        def run(self, context):
            context.status("inner")


class NotAService:
    pass


instance_of_service = Polite()
not_callable = 42


def without_context():
    print("ran")


def with_context(context):
    context.status(f"{context.path} {context.id} {context.instance} {dict(context.config)}")


def with_arguments(context, first, second):
    context.status(f"{first} {second}")


def with_any(*args):
    context, *rest = args
    context.status(f"any {rest}")


def decorate(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@decorate
def decorated():
    print("decorated")


partly = functools.partial(with_arguments, first="a", second="b")


class Callable:
    def __call__(self, context):
        context.status("called")

    def method(self, context):
        context.status("method")


callable_object = Callable()
bound_method = Callable().method


async def async_function(context):
    context.ready()
    await asyncio.sleep(3600)


async def async_without_context():
    print("started")
    await asyncio.sleep(3600)


async def async_returns(context):
    context.status("async done")


async def async_shields_itself(context):
    context.ready()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        context.status("finished anyway")


async def async_cancels_itself(context):
    raise asyncio.CancelledError("my own")


def sleeps_without_context():
    try:
        print("asleep")
        time.sleep(3600)
    except Cancelled:
        print("woken")
        raise


def waits_for_a_lock_without_context():
    print("waiting")
    threading.Event().wait()


def cleans_up_slowly():
    try:
        print("started")
        time.sleep(3600)
    finally:
        for _ in range(20):
            time.sleep(0.01)
        print("cleaned")


class Strike:
    """Sends the signal of a stop before one statement of those that are run while it is entered.

    Which one of those that ``is_meant`` says it of by their code, counted from 0, the service's configuration says.
    """

    def __init__(self, is_meant):
        self.struck = False
        self._is_meant = is_meant
        self._left = _current_service.current().config["statement"]

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def tell(self):
        print("struck" if self.struck else "not struck")

    def _trace(self, frame, event, _argument):
        if event == "line" and self._is_meant(frame.f_code):
            if self._left == 0:
                self.struck = True
                signal.raise_signal(signal.SIGTERM)
            self._left -= 1
        return self._trace


def is_stopped_within_a_stop():
    strike = Strike(lambda _: True)
    try:
        with strike:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(3600)
    finally:
        strike.tell()


def is_stopped_while_it_logs():
    # One that strikes before the sending has begun ends the call, as it may end any.
    strike = Strike(lambda code: code.co_filename.endswith("_channel.py") and code.co_name != "send")
    try:
        with strike:
            logging.warning("said once")
        if strike.struck:
            time.sleep(3600)
    finally:
        strike.tell()


def is_stopped_while_it_starts_a_thread():
    strike = Strike(lambda code: code.co_filename.endswith("_daemons.py"))
    try:
        with strike:
            _daemons.start(lambda: None)
    finally:
        strike.tell()


def logs_for_ever():
    for number in itertools.count():
        logging.warning("%d", number)


def is_stopped_while_its_callback_runs():
    def call_back():
        signal.raise_signal(signal.SIGTERM)
        print("called back")

    _current_service.current().cancellation.add_callback(call_back)
    try:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(3600)
    finally:
        print("stopped")


def is_stopped_in_a_finalizer():
    class Finalized:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)
            print("finalized")

    try:
        Finalized()
        time.sleep(3600)
    finally:
        print("stopped")


def loses_the_first_signal():
    """As if it had come just before the system call that it was to end."""
    ours = signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, ours))
    print("started")
    time.sleep(3600)


def is_stopped_while_it_imports():
    """The module is there once two signals were heard, the second while the first's handler runs."""
    from slow_module import SlowModule, struck_machinery, wait_until_it_imports

    def tell(thread):
        wait_until_it_imports(thread)
        print("started")

    with SlowModule("imported_slowly") as module:
        ours = signal.getsignal(signal.SIGTERM)
        heard = 0

        def hear(number, frame):
            nonlocal heard
            heard += 1
            ours(number, frame)
            if heard == 1:  # The next comes on top of this one.
                while heard == 1:
                    time.sleep(0.001)
                module.finish.set()

        signal.signal(signal.SIGTERM, hear)
        threading.Thread(target=tell, args=(threading.get_ident(),)).start()
        try:
            import imported_slowly

            time.sleep(3600)
        except Cancelled as struck:
            print("struck the machinery:", struck_machinery(struck))
            raise


def raises():
    raise ValueError("no such job")


def raises_chained(context):
    try:
        raises()
    except ValueError as error:
        raise KeyError("outer") from error


class StrangeError(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


def raises_strange():
    raise StrangeError


def exits(context):
    sys.exit(context.config["code"])


def ignores():
    raise Ignore("no such device here")


def segfaults(context):
    context.ready()
    import faulthandler

    begun = threading.Event()
    threading.Thread(target=idle_in_a_thread, args=(begun,), daemon=True).start()
    begun.wait()
    faulthandler._sigsegv()


def idle_in_a_thread(begun):
    begun.set()
    time.sleep(3600)


def hangs(context):
    context.ready()
    while True:
        time.sleep(3600)


def aborts():
    os.abort()


def logs(context):
    import logging

    logging.getLogger("shop.orders").info("placed %d", 7)
    logging.getLogger("shop").debug("too fine")
    try:
        raises()
    except ValueError:
        context.logger.exception("failed")


def logs_while_formatting():
    import logging

    class Noisy:
        def __str__(self):
            logging.getLogger().warning("from within")
            return "noisy"

    logging.getLogger().warning("outer %s", Noisy())


def floods(context):
    context.ready()
    import logging

    for number in range(int(context.config["count"])):
        logging.getLogger("flood").info("%d %s", number, "x" * 1000)
    print("flooded", flush=True)
    context.cancellation.wait()


def beats(context):
    for _ in range(200_000):
        context.heartbeat()


def crashes_with_a_thread_left():
    threading.Thread(target=time.sleep, args=(3600,)).start()
    raise ValueError("main is gone")


def thread_outlives_main():
    threading.Thread(target=lambda: (time.sleep(0.05), print("thread done"))).start()


def forks(context):
    pid = os.fork()
    if pid == 0:
        context.status("from the child")  # Must not reach the host's stream.
        signal.pause()
    print("child", pid)
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    context.status(f"child ended by signal {os.WTERMSIG(status)}")


def square(number):
    return number * number


def uses_threads(context):
    with context.run(flavor="threads", max_workers=2) as pool:
        context.status(str(list(pool.map(square, range(4)))))


def uses_processes(context):
    with context.run(flavor="processes", max_workers=2) as pool:
        context.status(str(list(pool.map(square, range(4)))))


def wrong_flavor(context):
    context.run(flavor="fibers")


async def uses_threads_async(context):
    async with context.run(flavor="threads") as pool:
        loop = asyncio.get_running_loop()
        context.status(str(await loop.run_in_executor(pool, square, 5)))


def environment(context):
    context.status(str(sorted(name for name in os.environ if name in ("UNIRUN_CONTROL_FD", "UNIRUN_FAULT_FD"))))


def typed(context: ServiceContext) -> None:
    context.status("typed")


class Both(Service):
    def run(self, context):
        context.status("run")

    async def run_async(self, context):
        context.status("run_async")


class FailsInInit(Service):
    def __init__(self):
        raise ValueError("no device")

    async def run_async(self, context):
        context.ready()


async def async_raises():
    await asyncio.sleep(0)
    raise ValueError("no such job")
