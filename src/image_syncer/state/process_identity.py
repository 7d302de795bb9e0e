"""Which process works on something that is written down, and whether that process is gone.

Only where its ids are counted: on the same machine since the same boot, and in the same namespace of processes, which
a container has for itself. Of a process elsewhere nothing is known.
"""

import os
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = Path("/proc/self/ns/pid")
_ENDED: Final = frozenset("ZX")  # What is left until somebody asks how it ended.


def this_process() -> str:
    """Return what names this process among all that write to one state; empty where the system cannot tell."""
    here = _here()
    return f"{here} {os.getpid()} {_began(os.getpid())}" if here else ""


def is_gone(holder: str) -> bool:
    """Whether the process *holder* has certainly ended; False where that cannot be known from here."""
    here, _, process = holder.rpartition(" ")[0].rpartition(" ")
    began = holder.rpartition(" ")[2]
    if not here or here != _here() or not process.isdecimal():
        return False
    return _began(int(process)) != began


def _here() -> str:
    try:
        return f"{_BOOT.read_text(encoding='ascii').strip()} {_NAMESPACE.readlink()}"
    except OSError:
        return ""


def _began(process: int) -> str:
    """Return when *process* began, on a clock of the system's own; empty where it has ended (proc(5), `stat`)."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in _ENDED else fields[19]
