"""Where and with what was measured: the processor, the versions, and what limits threads."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "numba", "torch", "jax", "jaxlib", "scikit-learn")
_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "XLA_FLAGS")


def description() -> dict[str, Any]:
    """Date, processor, cores, system, versions of what is installed, NumPy's products and their threads, and the
    variables of the environment that limit threads.
    """
    from threadpoolctl import threadpool_info

    import chainrule

    products = [
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads" for pool in threadpool_info()
    ]
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": _cores(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"Python": platform.python_version(), "chainrule": chainrule.__version__} | _versions(),
        "products": "; ".join(products),
        "limits": {name: os.environ[name] for name in _LIMITS if name in os.environ},
    }


def sentences(made: dict[str, Any]) -> list[str]:
    """The same in words."""
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    load = f"; load before, of the last minute: {made['load'][0]:.2f}" if made["load"] else ""
    lines = [
        f"{made['date']}, {made['cores']} cores of {made['processor']} ({made['system']}){load}.",
        f"{versions}; NumPy's products by {made['products'] or 'an unknown library'}.",
    ]
    if made["limits"]:
        limits = ", ".join(f"{name}={value}" for name, value in made["limits"].items())
        lines.append(f"Threads were limited by the environment: {limits}.")
    return lines


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or "an unknown processor"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
