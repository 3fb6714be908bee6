"""What this interpreter and this machine can do: `detect_capabilities` looks, `RuntimeCapabilities` tells.

Facts only, each taken where it holds: the GIL as it is now, the cores that this process may use rather
than those that the machine has. Nothing is imported or started to find them out.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from importlib.util import find_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SAFE_FROM = (3, 14)  # Own-GIL interpreters corrupt memory in 3.12.1 and 3.13.0 with ordinary standard modules.
MOST_THREADS = 32  # As in concurrent.futures: more only helps those who know that it does.


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCapabilities:
    """What the scheduler decides by."""

    python_version: tuple[int, int, int]
    python_release: str
    """The version as a text: ``"3.14.2"``."""

    gil_enabled: bool
    """Whether there is a GIL now; on a free-threaded build an extension may have brought it back."""

    free_threading_build: bool
    """Whether this interpreter was built to run without a GIL."""

    supports_subinterpreters: bool
    """Whether interpreters with a GIL of their own exist here: CPython from 3.12 on."""

    subinterpreters_safe: bool
    """Whether they are used unasked: from 3.14 on, with the GIL.

    Earlier ones corrupt memory; without the GIL, threads do the same twenty times faster.
    """

    cpu_count: int
    """The cores that this process may use, at least 1: the machine's, by affinity and by the quota of its cgroup."""

    machine_cpu_count: int
    """The cores of the machine."""

    cpu_quota: float | None
    """How many cores' worth of time the cgroup allows, or None where it sets no limit."""

    suggested_io_workers: int
    """For threads that mostly wait: the size of the standard `ThreadPoolExecutor`, for the cores that may be used."""

    suggested_cpu_workers: int
    """For threads or interpreters that compute at the same time."""

    suggested_process_workers: int
    """For processes."""


def detect_capabilities() -> RuntimeCapabilities:
    """Look now. The scheduler keeps what it saw until `unirun.reset`. Takes some 0.2 ms. Thread: any."""
    version = (sys.version_info.major, sys.version_info.minor, sys.version_info.micro)
    gil = _gil_enabled()
    has_interpreters = version >= (3, 12) and _has_interpreters()
    quota = cpu_quota()
    cores = usable_cores(quota)
    return RuntimeCapabilities(
        python_version=version,
        python_release=".".join(map(str, version)),
        gil_enabled=gil,
        free_threading_build=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        supports_subinterpreters=has_interpreters,
        subinterpreters_safe=has_interpreters and version >= SAFE_FROM and gil,
        cpu_count=cores,
        machine_cpu_count=os.cpu_count() or 1,
        cpu_quota=quota,
        suggested_io_workers=min(MOST_THREADS, cores + 4),
        suggested_cpu_workers=cores,
        suggested_process_workers=cores,
    )


def _gil_enabled() -> bool:
    asked = getattr(sys, "_is_gil_enabled", None)  # From 3.13 on.
    return True if asked is None else bool(asked())


def _has_interpreters() -> bool:
    if sys.implementation.name != "cpython":
        return False
    return any(find_spec(name) is not None for name in ("_interpreters", "_xxsubinterpreters"))


# ---- Cores ----


def usable_cores(quota: float | None) -> int:
    """The cores of this process's affinity, and no more than ``quota`` rounded up. At least 1."""
    counted = getattr(os, "process_cpu_count", None)  # From 3.13 on; obeys PYTHON_CPU_COUNT too.
    if counted is not None:
        cores = counted() or 1
    elif hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    if quota is not None:
        cores = min(cores, -int(-quota // 1))
    return max(1, cores)


def cpu_quota(root: str = "/") -> float | None:
    """The least quota of this process's cgroup and those around it, in cores; None where there is none.

    Both hierarchies count, v2 (``cpu.max``) and v1 (``cpu.cfs_quota_us``). ``root`` is where /proc and /sys are.
    """
    quotas = [quota for folder in _cgroup_folders(root) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(root: str) -> Iterator[str]:
    """The folders of this process's cpu cgroups, each with those around it, as far as they are mounted here."""
    groups = dict(_groups(root))
    for controller, mounted_group, mount_point in _cgroup_mounts(root):
        group = groups.get(controller)
        if group is None:
            continue
        # In a container the mount shows a part of the tree: its root is the group that is mounted.
        inner = group.removeprefix(mounted_group) if mounted_group != "/" else group
        parts = [part for part in inner.split("/") if part not in ("", "..")]
        for length in range(len(parts), -1, -1):
            yield os.path.join(root, mount_point.lstrip("/"), *parts[:length])


def _groups(root: str) -> Iterator[tuple[str, str]]:
    """The cgroup of this process: under "" that of v2, under "cpu" that of v1."""
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        fields = line.split(":", 2)
        if len(fields) == 3:
            for controller in fields[1].split(","):
                if controller in ("", "cpu"):
                    yield controller, fields[2]


def _cgroup_mounts(root: str) -> Iterator[tuple[str, str, str]]:
    """Controller, mounted group and mount point of every hierarchy that may hold a quota."""
    for line in _lines(os.path.join(root, "proc/self/mountinfo")):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield "", fields[3], fields[4]
        elif kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            yield "cpu", fields[3], fields[4]


def _quota_of(folder: str) -> float | None:
    words = " ".join(_lines(os.path.join(folder, "cpu.max"))).split()
    if not words:
        quota = _lines(os.path.join(folder, "cpu.cfs_quota_us"))
        period = _lines(os.path.join(folder, "cpu.cfs_period_us"))
        words = [*quota, *period]
    try:
        runtime, period_us = (int(word) for word in words)  # "max" is no number: no limit.
    except ValueError:
        return None
    return runtime / period_us if runtime > 0 and period_us > 0 else None


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:  # Not Linux, no such hierarchy, or not ours to read: no limit that we know of.
        return []
