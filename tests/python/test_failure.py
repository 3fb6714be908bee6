"""An exception as text: what `traceback` would say, however often it is said."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from unirun import _failure


def plain() -> None:
    raise LookupError("no such job")


def without_words() -> None:
    raise KeyError


def in_answer_to_another() -> None:
    try:
        plain()
    except LookupError as error:
        raise OSError("cannot go on") from error


def while_another_is_handled() -> None:
    try:
        plain()
    except LookupError:
        raise OSError("cannot go on")  # noqa: B904


def instead_of_another() -> None:
    try:
        plain()
    except LookupError:
        raise OSError("cannot go on") from None


def with_a_note() -> None:
    error = ValueError("odd")
    error.add_note("it was Tuesday")
    raise error


def a_group() -> None:
    raise ExceptionGroup("several", [ValueError("one"), OSError("two")])


def syntax() -> None:
    compile("a = = 1", "made_up.py", "exec")


def misspelt() -> None:
    value = 1
    print(valeu)  # type: ignore[name-defined]  # noqa: F821
    del value


def deep(depth: int = 50) -> None:
    if depth:
        deep(depth - 1)
    plain()


def raised_by(fails: Callable[[], None]) -> BaseException:
    try:
        fails()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    "fails",
    [
        plain,
        without_words,
        in_answer_to_another,
        while_another_is_handled,
        instead_of_another,
        with_a_note,
        a_group,
        syntax,
        misspelt,
        deep,
    ],
)
def test_it_says_what_traceback_says_each_time(fails: Callable[[], None]) -> None:
    for _ in range(2):
        error = raised_by(fails)
        assert _failure.describe(error)["traceback"] == "".join(traceback.format_exception(error))


def test_what_is_remembered_of_frames_is_bounded() -> None:
    for number in range(_failure.MAX_REMEMBERED_FRAMES + 10):
        namespace: dict[str, Callable[[], None]] = {}
        exec(f"def fails():\n    raise ValueError({number})", namespace)
        text = _failure.describe(raised_by(namespace["fails"]))["traceback"]
        assert text.endswith(f"ValueError: {number}\n")
    assert len(_failure._frames) <= _failure.MAX_REMEMBERED_FRAMES
