"""What is told of the interpreter and the machine is so."""

from __future__ import annotations

import dataclasses
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from scopes import in_a_new_process
from unirun.capabilities import cpu_quota, detect_capabilities, usable_cores


def test_the_interpreter_is_this_one() -> None:
    found = detect_capabilities()
    assert found.python_version == sys.version_info[:3]
    assert found.python_release == ".".join(str(part) for part in sys.version_info[:3])
    assert found.free_threading_build is (sysconfig.get_config_var("Py_GIL_DISABLED") == 1)
    assert found.gil_enabled is getattr(sys, "_is_gil_enabled", lambda: True)()
    assert found.supports_subinterpreters is (sys.version_info >= (3, 12))
    assert found.subinterpreters_safe is (sys.version_info >= (3, 14) and found.gil_enabled)


def test_sizes_follow_the_cores() -> None:
    found = detect_capabilities()
    assert 1 <= found.cpu_count <= found.machine_cpu_count
    assert found.suggested_io_workers == min(32, found.cpu_count + 4)
    assert found.suggested_cpu_workers == found.suggested_process_workers == found.cpu_count
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.cpu_count = 3  # type: ignore[misc]


def test_affinity_counts() -> None:
    done = in_a_new_process(
        "import os, unirun\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "print(unirun.detect_capabilities().cpu_count)"
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


@pytest.mark.parametrize(("quota", "cores"), [(0.5, 1), (1.0, 1), (1.5, 2), (10_000.0, None), (None, None)])
def test_a_quota_is_rounded_up_and_never_adds_a_core(quota: float | None, cores: int | None) -> None:
    mine = usable_cores(None)
    assert usable_cores(quota) == min(mine, mine if cores is None else cores)
    assert mine <= (os.cpu_count() or 1)


# ---- cgroups ----


def write(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return str(root)


V2 = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = "31 25 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


def test_the_least_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/mountinfo": "24 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + V2,
            "proc/self/cgroup": "0::/user/app\n",
            "sys/fs/cgroup/user/app/cpu.max": "max 100000\n",
            "sys/fs/cgroup/user/cpu.max": "150000 100000\n",
        },
    )
    assert cpu_quota(root) == 1.5


def test_a_quota_of_the_first_hierarchy_counts(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/cpu,cpuacct/jobs/one/"
    root = write(
        tmp_path,
        {
            "proc/self/mountinfo": V1.format(root="/"),
            "proc/self/cgroup": "4:memory:/other\n3:cpu,cpuacct:/jobs/one\n",
            group + "cpu.cfs_quota_us": "50000\n",
            group + "cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cpu_quota(root) == 0.5


def test_in_a_container_the_mount_shows_a_part_of_the_tree(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/mountinfo": V1.format(root="/docker/abc"),
            "proc/self/cgroup": "3:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cpu_quota(root) == 2.0


@pytest.mark.parametrize("text", ["max 100000\n", "", "nonsense\n", "1 2 3\n", "100000 0\n"])
def test_what_is_no_quota_is_none(tmp_path: Path, text: str) -> None:
    files = {"proc/self/mountinfo": V2, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text}
    assert cpu_quota(write(tmp_path, files)) is None


def test_without_cgroups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(str(tmp_path)) is None
    assert cpu_quota(write(tmp_path, {"proc/self/mountinfo": "short\n- -\n", "proc/self/cgroup": "x\n"})) is None
