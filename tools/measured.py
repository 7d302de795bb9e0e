"""Run a command and write what it cost: wall and CPU seconds, peak resident KiB, exit code.

python measured.py RESULT COMMAND [ARGUMENT]...

A process of its own, and a small one: the peak that the kernel reports for a child begins at the size of its parent.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the command of this process's arguments; its output goes where ours goes."""
    result, *command = sys.argv[1:]
    started = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - started
    cost = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_kib": usage.ru_maxrss,
        "code": os.waitstatus_to_exitcode(status),
    }
    Path(result).write_text(json.dumps(cost), encoding="utf-8")


if __name__ == "__main__":
    main()
