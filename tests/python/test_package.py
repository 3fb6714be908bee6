"""The package as a whole: what it exports, and that its lists agree with the C++ ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import unirun
from unirun import client, errors, events

ROOT = Path(__file__).resolve().parents[2]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_every_public_name_is_there() -> None:
    for name in unirun.__all__:
        if name not in ("Host", "Runner", "new_event_loop"):  # Needs the native module.
            assert getattr(unirun, name) is not None
    assert set(unirun.__all__) <= set(dir(unirun))
    assert unirun.__all__ == sorted(unirun.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = unirun.nothing


def test_importing_the_package_imports_nothing_else() -> None:
    script = "import sys, unirun; print([m for m in sys.modules if m.startswith('unirun.')])"
    said = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(Path(unirun.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "[]\n"


# ---- Errors ----


def test_there_is_an_error_for_each_word_of_errc() -> None:
    header = read("framework/result.h")
    body = header[header.index("enum class Errc") :]
    words = re.findall(r"^  (\w+),", body[: body.index("};")], re.M)
    assert len(words) > 10
    assert sorted(errors.BY_CODE) == sorted(words)


@pytest.mark.parametrize(("code", "kind"), errors.BY_CODE.items())
def test_an_error_is_a_unirun_error_and_a_builtin(code: str, kind: type[Exception]) -> None:
    error = errors.error_from(code, "what, where, and what is right")
    assert type(error) is kind
    assert error.code == code
    assert str(error) == "what, where, and what is right"
    assert isinstance(error, errors.UnirunError)
    assert any(base.__module__ == "builtins" and base is not Exception for base in kind.__mro__[1:-3])


def test_an_unknown_code_is_still_an_error() -> None:
    error = errors.error_from("of_the_future", "text")
    assert type(error) is errors.UnirunError
    assert error.code == "of_the_future"


def test_a_faulty_configuration_tells_every_fault() -> None:
    error = errors.error_from("invalid_configuration", "2 faults", [{"pointer": "/a"}, {"pointer": "/b"}])
    assert isinstance(error, errors.InvalidConfiguration)
    assert [fault["pointer"] for fault in error.faults] == ["/a", "/b"]


# ---- Events ----


def test_the_kinds_of_events_are_those_of_the_header() -> None:
    header = read("framework/event.h")
    kinds = re.findall(r"^  X\((\w+), (\w+)\)", header[header.index("#define UNIRUN_EVENTS") :], re.M)
    assert len(kinds) > 15
    assert {word: type_ for type_, word in kinds} == {word: kind.__name__ for word, kind in events.BY_KIND.items()}


def test_the_members_of_each_event_are_those_of_its_json() -> None:
    source = read("framework/event.cpp")
    written: dict[str, list[str]] = {kind.__name__: [] for kind in events.BY_KIND.values()}
    for name, type_, member in re.findall(r'Member\{"(\w+)",\s*&(\w+)::(\w+)\}', source):
        assert name == member
        written[type_].append(name)
    common = {"sequence", "time", "monotonic", "path"}
    for kind in events.BY_KIND.values():
        members = [name for name, _ in events._MEMBERS[kind] if name not in common]
        assert members == written[kind.__name__], kind.__name__


def test_the_members_of_an_exit_reason_are_those_of_the_header() -> None:
    header = read("framework/exit_reason.h")
    body = header[header.index("struct ExitReason {") :]
    body = body[: body.index("[[nodiscard]]")]
    members = re.findall(r"^  [\w:<>]+ (\w+)(?: = [\w:]+)?;", body, re.M)
    assert members == [name for name, _ in events._REASON_MEMBERS]
    kinds = header[header.index("enum class ExitKind") :]
    kinds = kinds[: kinds.index("};")]
    assert list(events.ExitKind.__args__) == re.findall(r"^  (\w+),", kinds, re.M)  # type: ignore[attr-defined]


EXITED = {
    "sequence": 7,
    "time": "2026-03-01T12:00:00.123Z",
    "monotonic": 12.5,
    "event": "service_exited",
    "path": "pipeline/ingest",
    "run": 3,
    "pid": 4711,
    "reason": {
        "kind": "exception",
        "exit_code": 1,
        "exception": {"type": "ValueError", "message": "no such job", "traceback": "Traceback ..."},
    },
    "uptime": 1.5,
    "expected": False,
    "was_ready": True,
}


def test_an_event_comes_back_as_it_was_written() -> None:
    event = events.event_from(EXITED)
    assert isinstance(event, events.ServiceExited)
    assert event.reason.exception is not None
    assert event.reason.exception.type == "ValueError"
    assert not event.reason.is_clean
    assert event.time.utcoffset() is not None
    assert event.to_json() == EXITED


def test_an_event_of_the_future_is_read_as_far_as_it_is_known() -> None:
    assert events.event_from({**EXITED, "colour": "red"}) == events.event_from(EXITED)
    unknown = events.event_from({**EXITED, "event": "service_painted"})
    assert type(unknown) is events.Event
    assert unknown.path == "pipeline/ingest"


def test_an_event_without_its_members_is_refused() -> None:
    with pytest.raises(ValueError, match="'service_exited' has no 'uptime'"):
        events.event_from({name: value for name, value in EXITED.items() if name != "uptime"})


@pytest.mark.native
def test_the_version_is_that_of_the_project() -> None:
    assert f'version = "{unirun.__version__}"' in read("pyproject.toml")


@pytest.mark.native
def test_an_event_reads_as_a_line() -> None:
    assert str(events.event_from(EXITED)) == (
        "12:00:00.123 pipeline/ingest exited after 1.5 s: ValueError: no such job"
    )


# ---- Requests ----


def test_the_client_knows_the_routes_of_the_host() -> None:
    source = read("host/control/routes.cpp")
    routes = re.findall(r'\{"(\w+)", "(/[^"]+)", "(\w+)"', source)
    assert len(routes) > 15
    assert {request: (method, path) for method, path, request in routes} == client.ROUTES
