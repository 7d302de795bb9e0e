"""Run a command and write its cost: wall and CPU seconds, peak resident KiB, exit code.

python measured.py RESULT COMMAND [ARGUMENT]...

It is a small separate process: the kernel's peak for a child starts at the size of its parent.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the command in this process's arguments; it inherits stdout and stderr."""
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
