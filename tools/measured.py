"""Run a command and write its cost: wall and CPU seconds, peak memory in KiB, exit code.

python measured.py RESULT COMMAND [ARGUMENT]...

CPU seconds are those of the whole process tree. So is the memory: the peak of the sum over all processes, sampled, but
at least the exact peak of the largest one. It is a small separate process: the kernel's peak for a child starts at the
size of its parent.
"""

import json
import os
import sys
import time
from pathlib import Path
from threading import Event, Thread

_SAMPLE_SECONDS = 0.1


class TreePeak(Thread):
    """Samples the memory of the process *pid* and its descendants; pages that several share count once."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.kib = 0
        self.ended = Event()
        self._pid = pid

    def run(self) -> None:
        """Sample until *ended*. A single process is left alone: the kernel knows its peak."""
        while not self.ended.wait(_SAMPLE_SECONDS):
            tree = _tree(self._pid)
            if len(tree) > 1:
                self.kib = max(self.kib, sum(map(_proportional_kib, tree)))


def _tree(pid: int) -> list[int]:
    """Return *pid* and all its descendants that run now."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text(encoding="ascii").split())
        except OSError:
            continue  # The process ended meanwhile.
    return found


def _proportional_kib(pid: int) -> int:
    """Return the memory of a process, with its share of common pages; 0 if it ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main() -> None:
    """Run the command in this process's arguments; it inherits stdout and stderr."""
    result, *command = sys.argv[1:]
    started = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    tree = TreePeak(pid)
    tree.start()
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - started
    tree.ended.set()
    tree.join()
    cost = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_kib": max(usage.ru_maxrss, tree.kib),
        "code": os.waitstatus_to_exitcode(status),
    }
    Path(result).write_text(json.dumps(cost), encoding="utf-8")


if __name__ == "__main__":
    main()
