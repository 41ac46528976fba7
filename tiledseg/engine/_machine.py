"""This machine: its cores, and host memory as this process holds it."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from ..budget import parse_bytes

_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup")
_CLEAR = Path("/proc/self/clear_refs")
_M_ARENA_MAX = -8  # glibc, malloc.h
_earlier_peak = 0


def use_few_arenas() -> None:
    """Keep glibc from giving every thread a heap of its own, which memory never leaves again.

    Reading and writing threads come and go with every tile; with glibc's default of eight heaps
    per core the peak of a long run was measured 15 % above that of a short one.
    """
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def cores() -> int:
    """Return the physical cores that this process may use."""
    found = int(psutil.cpu_count(logical=False) or 1)
    if hasattr(os, "sched_getaffinity"):  # a cluster's scheduler may have given fewer
        found = min(found, len(os.sched_getaffinity(0)))
    with suppress(OSError, ValueError):  # a container's share of time (Linux cgroup v2)
        quota, period = map(int, (_CGROUP / "cpu.max").read_text().split())
        found = min(found, -(-quota // period))
    return max(found, 1)


def name(device: torch.device) -> str:
    """Return the processor's name, how many cores of it are used, and the GPU's name."""
    found = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{found}, {cores()} cores{gpu}"


def worker() -> str:
    """Return the name of this process among all that work on a run."""
    return f"{platform.node()}:{os.getpid()}"


def resident() -> int:
    """Return the bytes resident now."""
    return int(psutil.Process().memory_info().rss)


def available() -> int:
    """Return the bytes the system could still give without swapping."""
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # a container's or job's own limit (Linux cgroup v2)
        limit = int((_CGROUP / "memory.max").read_text())
        free = min(free, limit - int((_CGROUP / "memory.current").read_text()))
    return max(free, 0)


def limit(memory: str | None) -> int:
    """Return the bytes that this process may hold.

    Args:
        memory: Like ``6GB``; None: what it holds and half of what is free.

    Raises:
        ConfigError: It is no number of bytes.
    """
    return parse_bytes(memory) if memory else resident() + available() // 2


def peak() -> int:
    """Return the most bytes this process ever held at a time."""
    return max(_earlier_peak, _high_water())


def growth(action: Callable[[], object]) -> int:
    """Return by how many bytes ``action`` raises what the process holds at a time."""
    global _earlier_peak
    _earlier_peak = peak()
    # Linux: forget the high-water mark, so that a new one shows. Elsewhere, or where it is not
    # allowed, the old mark hides small growth.
    with suppress(OSError):
        _CLEAR.write_text("5")
    before = resident()
    action()
    return max(0, _high_water() - before)


def _high_water() -> int:
    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
