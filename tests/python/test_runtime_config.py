"""RuntimeConfig: its words, the environment, and which goes before which."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import unirun
from scopes import fresh, in_a_new_process
from unirun import RuntimeConfig
from unirun.scheduler import Scheduler

pytestmark = pytest.mark.usefixtures("fresh")
__all__ = ["fresh"]

SAID = {
    "UNIRUN_MODE": "process",
    "UNIRUN_AUTO": "0",
    "UNIRUN_CPU_BOUND": "yes",
    "UNIRUN_IO_BOUND": "no",
    "UNIRUN_PREFERS_SUBINTERPRETERS": "true",
    "UNIRUN_MAX_WORKERS": "2",
    "UNIRUN_THREAD_MODE": "nogil",
    "UNIRUN_FORCE_THREADS": "1",
    "UNIRUN_FORCE_PROCESS": "off",
    "UNIRUN_ENGINE": "stdlib",
    "UNIRUN_PICKLER": "CloudPickle",
    "UNIRUN_ON_WORKER_CRASH": "replace",
    "UNIRUN_TASK_TIMEOUT": "2.5",
    "UNIRUN_MODULES": "json, os.path",
    "UNIRUN_PROGRESS": "on",
}


def test_the_defaults_decide_nothing() -> None:
    assert dataclasses.asdict(RuntimeConfig()) == {
        "mode": "auto",
        "cpu_bound": None,
        "io_bound": None,
        "prefers_subinterpreters": None,
        "max_workers": None,
        "auto": True,
        "thread_mode": "auto",
        "force_threads": False,
        "force_process": False,
        "engine": None,
        "pickler": None,
        "on_worker_crash": None,
        "task_timeout": None,
        "modules": None,
        "progress": None,
    }


def test_every_field_has_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(SAID) == len(dataclasses.fields(RuntimeConfig))
    for variable, text in SAID.items():
        monkeypatch.setenv(variable, text)
    assert RuntimeConfig.from_env() == RuntimeConfig(
        mode="process",
        auto=False,
        cpu_bound=True,
        io_bound=False,
        prefers_subinterpreters=True,
        max_workers=2,
        thread_mode="nogil",
        force_threads=True,
        force_process=False,
        engine="stdlib",
        pickler="cloudpickle",
        on_worker_crash="replace",
        task_timeout=2.5,
        modules=("json", "os.path"),
        progress=True,
    )


def test_an_empty_environment_is_the_default() -> None:
    assert RuntimeConfig.from_env() == RuntimeConfig()


@pytest.mark.parametrize(
    ("variable", "text", "choices"),
    [
        ("UNIRUN_MODE", "fibers", "one of auto, thread, process, subinterpreter, none"),
        ("UNIRUN_THREAD_MODE", "both", "one of auto, gil, nogil"),
        ("UNIRUN_ENGINE", "diesel", "one of native, stdlib"),
        ("UNIRUN_MAX_WORKERS", "0", "a whole number greater than 0"),
        ("UNIRUN_MAX_WORKERS", "many", "a whole number greater than 0"),
        ("UNIRUN_ON_WORKER_CRASH", "cry", "one of break, replace"),
        ("UNIRUN_TASK_TIMEOUT", "soon", "a number of seconds greater than 0"),
        ("UNIRUN_TASK_TIMEOUT", "0", "a number of seconds greater than 0"),
        ("UNIRUN_CPU_BOUND", "perhaps", "one of 1, true, yes, on, 0, false, no, off"),
    ],
)
def test_a_wrong_value_counts_as_not_set_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, choices: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.warns(RuntimeWarning, match=f"{variable}='{text}' .* it is not {choices}") as caught:
        assert RuntimeConfig.from_env() == RuntimeConfig()
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "fibers"}, "mode: 'fibers' is not one of auto, thread, process, subinterpreter, none"),
        ({"mode": None}, "mode: None is not one of"),
        ({"thread_mode": "x"}, "thread_mode: 'x' is not one of auto, gil, nogil"),
        ({"engine": "x"}, "engine: 'x' is not one of native, stdlib"),
        ({"pickler": "x"}, "pickler: 'x' is not one of pickle, cloudpickle"),
        ({"on_worker_crash": "x"}, "on_worker_crash: 'x' is not one of break, replace"),
        ({"task_timeout": 0}, "task_timeout must be a number of seconds greater than 0, not 0"),
        ({"max_workers": 0}, "max_workers must be greater than 0"),
    ],
)
def test_a_wrong_field_is_told_the_choices(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^RuntimeConfig.{message}"):
        RuntimeConfig(**wrong)


# ---- Precedence: the call, the configuration, the environment, the capabilities ----


def test_what_a_configuration_leaves_open_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIRUN_MAX_WORKERS", "3")
    monkeypatch.setenv("UNIRUN_ENGINE", "stdlib")
    monkeypatch.setenv("UNIRUN_FORCE_PROCESS", "1")
    config = Scheduler(config=RuntimeConfig(max_workers=2)).config
    assert (config.max_workers, config.engine, config.force_process) == (2, "stdlib", False)


def test_each_level_goes_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(**said: Any) -> int | None:
        scope = unirun.Run(flavor="threads", **said)
        with scope:
            assert scope.trace is not None
            return scope.trace.max_workers

    capable = unirun.detect_capabilities().suggested_io_workers
    assert size() == capable
    monkeypatch.setenv("UNIRUN_MAX_WORKERS", "3")
    assert size() == capable, "the environment is looked at once"
    unirun.reset()
    assert size() == 3
    unirun.configure(RuntimeConfig(max_workers=4))
    assert size() == 4
    assert size(config=RuntimeConfig(max_workers=5)) == 5
    assert size(config=RuntimeConfig(max_workers=5), max_workers=6) == 6


def test_the_environment_turns_native_engines_off() -> None:
    done = in_a_new_process(
        "import concurrent.futures, unirun\n"
        "with unirun.Run(flavor='threads') as one, unirun.Run(flavor='processes') as other:\n"
        "    print(type(one) is concurrent.futures.ThreadPoolExecutor)\n"
        "    print(type(other) is concurrent.futures.ProcessPoolExecutor)\n",
        UNIRUN_ENGINE="stdlib",
    )
    assert (done.stdout.split(), done.stderr) == (["True", "True"], "")


def test_configure_takes_a_configuration() -> None:
    with pytest.raises(TypeError, match="takes a RuntimeConfig, not dict"):
        unirun.configure({})  # type: ignore[arg-type]
