"""``python -m unirun.worker``: the runtime inside a Python worker process.

The host starts it with a control channel on the descriptor ``UNIRUN_CONTROL_FD`` and, for the
stacks of a crash, ``UNIRUN_FAULT_FD``. The first frame says what to run; a ``cancel`` frame, a
SIGTERM or the end of the channel ask it to stop.

Exit codes: 0 after a return, a stop, or ``SystemExit(0)``; n after ``SystemExit(n)``; 1 after an
exception, which the host has then got as a frame with type, message and traceback.
Imports little: what is imported here is what every start of every worker waits for.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from _thread import allocate_lock, get_ident

from unirun import _current_service, _daemons, _logging_bridge, _target
from unirun._channel import Channel
from unirun._failure import describe
from unirun._metrics import Gathered
from unirun.cancellation import CancellationToken, Cancelled
from unirun.service import HEARTBEATS_PER_TIMEOUT, Ignore, ServiceContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine, Sequence
    from types import FrameType
    from typing import Any

    from unirun.streams import OpenQueue, Queue

EXIT_USAGE = 2
CRASH_PATIENCE = 5.0  # Seconds: for the host to take the exception, and for the threads to end.
SHORTEST_PAUSE = 0.001  # Seconds, between two signals that are to end a system call; then twice as
LONGEST_PAUSE = 0.1  # long each time, up to this.


class Worker:
    """One life of one service in this process."""

    def __init__(self, channel: Channel, fault_descriptor: int | None) -> None:
        self._channel = channel
        self._fault_descriptor = fault_descriptor
        self._main_thread = get_ident()
        self._cancellation = CancellationToken()
        self._metrics = Gathered(channel.send)
        # Whether a stop may be raised in the main thread: while importing, and in a target that
        # takes no context and so cannot ask. Raised once, so that its clean-up is left alone.
        self._interruptible = True
        self._hears = False  # Whether the main thread is in the handler of the signal.
        self._asks = False  # Whether the signal is sent until it was heard.
        self._prepared = False  # Whether there is something to run: before that, an error is a failed start.
        self._masks: dict[int, set[int | signal.Signals]] = {}  # Of threads that are forking.
        self._begun = allocate_lock()  # Held until the first frame is here.
        self._begun.acquire()
        self._listens = False

    def set_up(self) -> None:
        """Do what needs no word from the host; a template does it for all that it forks."""
        if self._fault_descriptor is not None:
            os.set_inheritable(self._fault_descriptor, False)
            faulthandler.enable(file=self._fault_descriptor, all_threads=True)
        if hasattr(sys.stdout, "reconfigure"):
            # Line by line, as on a terminal: what a worker printed before it was killed is known.
            sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
        _logging_bridge.install(self._channel, _logging_bridge.DEFAULT_LEVEL)

    def rehearse(self) -> None:
        """Do what can be done before the first frame, and look at what will be needed then.

        What a forked process has not touched yet costs it a page fault each; a standby has the time.
        """
        self._listen()
        self._channel.rehearse({"type": "rehearsal", "config": {}, "arguments": [], "heartbeat": None})
        context = ServiceContext(config={}, heartbeat=1.0, cancellation=CancellationToken())
        _target.bind(lambda _context: None, "rehearsal", context, on_loop=False)

    def say_waiting(self) -> None:
        """Say that all is done that can be done before the first frame."""
        self._channel.send({"type": "waiting"})

    def run(self) -> int:
        """Run what the first frame says. Returns the exit code; `SystemExit` passes through."""
        try:
            start = self._channel.receive()
            if start is None:  # The host ended before it said a word.
                return 0
            if run := start.get("run"):  # A standby was forked before there was one.
                os.environ["UNIRUN_RUN"] = run
            if not self._listens:
                self._listen()
            level = start.get("log_level") or _logging_bridge.DEFAULT_LEVEL
            if level != _logging_bridge.DEFAULT_LEVEL:
                _logging_bridge.set_level(level)
            self._begun.release()
            self._serve(start)
        except Cancelled:
            return 0
        except Ignore:
            self._channel.send({"type": "ignore"})
            return 0
        except SystemExit:
            raise
        except BaseException as error:
            self._report(error)
            return 1
        finally:
            if (context := _current_service.current()) is not None:
                context._end_pools()
            self._metrics.flush()
            self._channel.flush(CRASH_PATIENCE)
        return 0

    def _serve(self, start: dict[str, Any]) -> None:
        name = start["target"]
        context = ServiceContext(
            path=start["path"],
            id=start["id"],
            instance=start.get("instance"),
            config=start.get("config"),
            arguments=start.get("arguments") or (),
            heartbeat=start.get("heartbeat"),
            cancellation=self._cancellation,
            send=self._channel.send,
            metrics=self._metrics,
            open_events=_events_of(start.get("control_socket")),
        )
        on_loop = bool(start.get("on_loop"))
        _current_service.take_process(context)
        call, takes_context = _target.bind(_target.load(name), name, context, on_loop=on_loop)
        self._prepared = True
        self._interruptible = not takes_context and not on_loop
        try:
            self._cancellation.raise_if_cancelled()
            result = call()
        finally:
            self._interruptible = False
        if on_loop:
            self._run_on_loop(result, context, start.get("heartbeat"))
        elif hasattr(result, "__await__"):
            from unirun import _own_loop

            _own_loop.run(result, self._cancellation)

    def _run_on_loop(
        self, coroutine: Coroutine[Any, Any, object], context: ServiceContext, heartbeat: float | None
    ) -> None:
        """Run it on a loop that hears SIGTERM and tells the heartbeat by itself."""
        from unirun import _own_loop

        new_loop = _own_loop.fastest_loop()

        def listening_loop() -> AbstractEventLoop:
            loop = new_loop()
            loop.add_signal_handler(signal.SIGTERM, self._cancellation.cancel)
            return loop

        try:
            _own_loop.run(
                coroutine,
                self._cancellation,
                loop_factory=listening_loop,
                beat=context.heartbeat if heartbeat else None,
                every=(heartbeat or 0.0) / HEARTBEATS_PER_TIMEOUT,
            )
        finally:
            signal.signal(signal.SIGTERM, self._on_stop_signal)  # The loop has taken it along.

    # ---- How a stop arrives ----

    def _listen(self) -> None:
        self._listens = True
        signal.signal(signal.SIGTERM, self._on_stop_signal)
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._become_stranger,
        )
        _daemons.start(self._read_frames)

    def _on_stop_signal(self, _number: int, frame: FrameType | None) -> None:
        """Runs in the main thread, between two of its instructions."""
        if self._hears:  # On top of one that sees to it.
            return
        self._hears = True
        try:
            self._cancellation.cancel()
            if not self._interruptible:
                return
            if self._channel.is_sent_by(frame):
                self._channel.when_sent(self._ask)
                return
            if _is_out_of_reach(frame):
                self._ask_again()
                return
            self._interruptible = False
            self._cancellation.raise_if_cancelled()
        finally:
            self._hears = False

    def _ask_again(self) -> None:
        if not self._asks:
            self._asks = True
            _daemons.start(self._ask_until_heard)

    def _ask_until_heard(self) -> None:
        """Send the signal that ends a system call in the main thread, and raises there.

        One that comes just before the call begins ends nothing, and nobody can tell.
        """
        pause = SHORTEST_PAUSE
        while self._interruptible:
            self._ask()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _ask(self) -> None:
        signal.pthread_kill(self._main_thread, signal.SIGTERM)

    def _read_frames(self) -> None:
        self._begun.acquire()  # The first frame is the main thread's.
        while True:
            frame = self._channel.receive()
            if frame is None or frame.get("type") == "cancel":
                break
        self._cancellation.cancel()
        self._asks = True
        self._ask_until_heard()

    # ---- Forked children are not this service, and SIGTERM is to end them ----

    def _before_fork(self) -> None:
        # Python forgets a signal that meets a child before the child is set up.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        self._masks[get_ident()] = mask

    def _after_fork(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(get_ident()))

    def _become_stranger(self) -> None:
        self._channel.abandon()
        self._metrics.abandon()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._after_fork()

    # ---- How it ended ----

    def _report(self, error: BaseException) -> None:
        # A thread that does not end must not hold a crashed service up: after the patience its
        # stack is written for the host, and the process ends.
        descriptor = self._fault_descriptor if self._fault_descriptor is not None else 2
        faulthandler.dump_traceback_later(2 * CRASH_PATIENCE, exit=True, file=descriptor)
        description = describe(error)
        self._channel.send(
            {
                "type": "exception",
                "exception": description,
                "prepared": self._prepared,
                "peak_rss": _peak_memory(),
            }
        )
        if not self._channel.flush(CRASH_PATIENCE):
            print(description["traceback"], file=sys.stderr, end="")


def _is_out_of_reach(frame: FrameType | None) -> bool:
    """Whether it is where an exception would do harm or be lost, or on top of that.

    Raised in Python's import machinery it leaves the lock of a module held for ever, and whoever imports that next
    hangs; raised by the code of a module it goes through the machinery as any error does. What leaves a ``__del__``
    Python prints and forgets. The rule inside a host is is_out_of_reach() in raise_in_thread.h.
    """
    in_module = False
    while frame is not None:
        code = frame.f_code
        in_module = in_module or code.co_name == "<module>"
        if code.co_name == "__del__" or (not in_module and code.co_filename.startswith("<frozen importlib.")):
            return True
        frame = frame.f_back
    return False


def _peak_memory() -> int | None:
    """The most that this process has had in memory, in bytes; getrusage() would tell the host's own."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return None


def _events_of(control_socket: str | None) -> OpenQueue | None:
    """How events are opened: by the host's control socket, if it has one."""
    if control_socket is None:
        return None

    def open_events(kinds: Sequence[str], capacity: int, name: str) -> Queue:
        from unirun.client import SocketQueue  # Imports HTTP.

        return SocketQueue(control_socket, kinds, capacity, name)

    return open_events


def main() -> int:
    """Run the worker that the environment describes."""
    if text := os.environ.pop("UNIRUN_TEMPLATE_FD", None):
        from unirun import _template

        board = os.environ.pop("UNIRUN_BOARD_FD", None)
        return _template.serve(int(text), int(board) if board else None, Worker)
    try:
        channel = Channel(int(os.environ.pop("UNIRUN_CONTROL_FD")))
    except (KeyError, ValueError, OSError) as error:
        print(
            "unirun.worker: a unirun host starts this program, with the descriptor of a control "
            f"channel in UNIRUN_CONTROL_FD ({type(error).__name__}: {error}). "
            "To run a service, name it in a tree and say: unirun up CONFIG",
            file=sys.stderr,
        )
        return EXIT_USAGE
    fault_text = os.environ.pop("UNIRUN_FAULT_FD", None)
    worker = Worker(channel, int(fault_text) if fault_text else None)
    worker.set_up()
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
