"""One life of a service inside this process, with a host that is played by the test."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unirun import Child, ServiceContext, _in_process, _target
from unirun._in_process import Life
from worker_host import TARGETS

PATIENCE = 60.0


class Link:
    """What `unirun._core.ServiceLink` is for a service, without a host behind it."""

    def __init__(self, path: str = "tree/one", config: str = "") -> None:
        self.path, self.id, self.config = path, path.rpartition("/")[2], config
        self.instance: int | None = None
        self.said: list[tuple[Any, ...]] = []
        self.ended: list[object] = []
        self.is_ready = threading.Event()
        self._requested = threading.Event()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        return self._requested.is_set()

    def cancel(self) -> None:
        self._requested.set()
        for callback in self._callbacks:
            callback()

    def wait(self, timeout: float | None) -> bool:
        return self._requested.wait(timeout)

    def on_cancel(self, callback: Callable[[], object]) -> None:
        self._callbacks.append(callback)

    def interrupt_on_cancel(self) -> None:
        self.said.append(("interrupt_on_cancel",))

    def tell_ended(self, task: object) -> None:
        self.ended.append(task)

    def ready(self) -> None:
        self.said.append(("ready",))
        self.is_ready.set()

    def heartbeat(self) -> None:
        self.said.append(("heartbeat",))

    def status(self, text: str) -> None:
        self.said.append(("status", text))

    def count(self, name: str, by: float) -> None:
        self.said.append(("count", name, by))

    def gauge(self, name: str, value: float) -> None:
        self.said.append(("gauge", name, value))

    def open_events(self, kinds: list[str], capacity: int, name: str) -> None:
        self.said.append(("open_events", kinds, capacity, name))

    def log(self, level: str, logger: str, message: str, file: str, line: int, extra: dict[str, str]) -> None:
        self.said.append(("log", level, logger, message, Path(file).name, line > 0, extra))


def life_of(target: str, *, arguments: str = "", on_loop: bool = False) -> Life:
    return Life(target, arguments, str(TARGETS), None, on_loop, "info")


def end_of(life: Life, link: Link) -> tuple[str, int, str, str]:
    try:
        life.prepare()
        life.run(link)  # type: ignore[arg-type]
    except BaseException as error:
        return life.outcome(error)[:4]
    return "returned", 0, "", ""


def started(life: Life, link: Link) -> threading.Thread:
    """A thread in which the service has come to be ready."""
    life.prepare()
    thread = threading.Thread(target=life.run, args=(link,))
    thread.start()
    assert link.is_ready.wait(PATIENCE)
    return thread


def test_a_thread_service_is_told_and_tells() -> None:
    link = Link(config='{"who": "you"}')
    thread = started(life_of("shapes:Blocking", arguments="[7]"), link)
    assert ("status", "serving you with [7]") in link.said
    link.cancel()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("target", "end"),
    [
        ("shapes:returns_at_once", ("returned", 0, "", "")),
        ("shapes:returns_at_once_async", ("returned", 0, "", "")),
        ("shapes:raises", ("exception", 1, "LookupError", "no such job")),
        ("shapes:raises_async", ("exception", 1, "LookupError", "no such job")),
        ("shapes:declines", ("declined", 0, "", "")),
        ("shapes:FailsInInit", ("start_failed", 1, "ValueError", "no device")),
        ("broken_import:main", ("start_failed", 1, "ModuleNotFoundError", "No module named 'no_such_dependency'")),
    ],
)
def test_every_end_has_its_word(target: str, end: tuple[str, int, str, str]) -> None:
    assert end_of(life_of(target), Link()) == end


@pytest.mark.parametrize(
    ("code", "end"), [("0", "normal"), ("null", "normal"), ("3", "exit_code"), ('"bye"', "exit_code")]
)
def test_system_exit_is_an_exit_code(code: str, end: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, number, *_ = end_of(life_of("shapes:exits"), Link(config=f'{{"code": {code}}}'))
    assert (kind, number) == (end, {"3": 3, '"bye"': 1}.get(code, 0))
    assert capsys.readouterr().err == ("bye\n" if code == '"bye"' else "")


def test_a_stop_before_the_start_runs_nothing() -> None:
    link = Link(config='{"who": "you"}')
    link.cancel()
    assert end_of(life_of("shapes:function"), link)[0] == "cancelled"
    assert link.said == []


def test_a_target_without_a_context_asks_to_be_interrupted() -> None:
    link = Link()
    assert end_of(life_of("json:dumps", arguments="[1]"), link)[0] == "exception"  # It takes what it gets: a context.
    assert link.said == []
    assert end_of(life_of("time:monotonic"), link)[0] == "returned"
    assert link.said == [("interrupt_on_cancel",)]


def test_log_records_go_to_the_service_whose_thread_makes_them() -> None:
    link = Link(config='{"who": "you"}')
    seen = [link, Link("tree/two", '{"who": "me"}')]
    threads = [started(life_of("shapes:function"), each) for each in seen]
    logging.getLogger("elsewhere").warning("nobody's")
    for each, thread in zip(seen, threads, strict=True):
        each.cancel()
        thread.join(PATIENCE)
    for each, who in zip(seen, ("you", "me"), strict=True):
        logged = [said for said in each.said if said[0] == "log"]
        assert logged == [
            ("log", "WARNING", each.path.replace("/", "."), f"hello from {who}", "shapes.py", True, {"job": "7"})
        ]


def test_a_coroutine_on_the_loop_is_cancelled_and_ends() -> None:
    async def main() -> tuple[str, Link]:
        link = Link(config='{"who": "you"}')
        life = life_of("shapes:Awaiting", on_loop=True)
        life.prepare()
        task = life.begin(link, asyncio.get_running_loop())  # type: ignore[arg-type]
        await asyncio.to_thread(link.is_ready.wait, PATIENCE)
        link.cancel()
        task.cancel()
        await asyncio.wait([task])
        assert link.ended == [task]
        with pytest.raises(asyncio.CancelledError) as caught:
            life.finish(task)
        return life.outcome(caught.value)[0], link

    end, link = asyncio.run(main())
    assert end == "cancelled"
    assert ("status", "saw CancelledError") in link.said


def test_what_only_blocks_does_not_come_near_a_loop() -> None:
    life = life_of("shapes:function", on_loop=True)
    with pytest.raises(ImportError, match="would block the event loop"):
        life.prepare()


def test_a_file_is_loaded_once_beside_the_program(tmp_path: Path) -> None:
    file = tmp_path / "lonely_service.py"
    file.write_text("loaded = []\ndef main():\n    pass\n")
    main = sys.modules["__main__"]
    first = _target.load(f"{file}:loaded", in_process=True)
    assert _target.load(f"{file}:loaded", in_process=True) is first
    assert sys.modules["__main__"] is main
    assert _target.load(f"{file}:main", in_process=True).__module__ == "lonely_service"


def test_any_object_can_be_a_target_inside_this_process() -> None:
    def local(context: ServiceContext) -> None:
        pass

    for target in (local, lambda context: None, Link().status):  # noqa: ARG005
        for executor in ("thread", "async"):
            name = Child("one", target=target, executor=executor).to_json()["python"]
            assert _target.load(name, in_process=True) == target


def test_the_stack_of_a_thread_is_where_it_stands() -> None:
    assert "in test_the_stack_of_a_thread_is_where_it_stands" in _in_process.stack_of(threading.get_ident())
    assert _in_process.stack_of(1) == ""
