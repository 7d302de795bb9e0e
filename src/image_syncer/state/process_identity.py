"""The identity of a process, and whether a process with a recorded identity has ended.

Process ids are comparable only on the same machine, since the same boot, and in the same PID namespace (containers have
their own). The fate of any other process is unknown.
"""

import os
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = Path("/proc/self/ns/pid")
_ENDED: Final = frozenset("ZX")  # zombie and dead


def this_process() -> str:
    """Return the identity of this process among all that use a state; empty if the system cannot tell."""
    namespace = _namespace()
    return f"{namespace} {os.getpid()} {_start_time(os.getpid())}" if namespace else ""


def is_gone(holder: str) -> bool:
    """Whether the process *holder* has certainly ended; False if that cannot be known here."""
    namespace, _, process = holder.rpartition(" ")[0].rpartition(" ")
    started = holder.rpartition(" ")[2]
    if not namespace or namespace != _namespace() or not process.isdecimal():
        return False
    return _start_time(int(process)) != started


def _namespace() -> str:
    try:
        return f"{_BOOT.read_text(encoding='ascii').strip()} {_NAMESPACE.readlink()}"
    except OSError:
        return ""


def _start_time(process: int) -> str:
    """Return the start time of *process* in ticks since boot; empty if it has ended (proc(5), `stat`)."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in _ENDED else fields[19]
