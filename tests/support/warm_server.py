"""A process that has imported image-syncer and forks itself for each request: see `warm_process`.

It gets a socket as its standard input. A request is the JSON of arguments, directory and environment, with the three
standard streams; the response is the pid. The new process belongs to the requester, as its own child.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import socket
import sys
import threading
import time
import warnings
from typing import Any

import image_syncer.cli
import image_syncer.daemon
from image_syncer.__main__ import main

_MOST_BYTES = 200_000


def serve(requests: socket.socket) -> list[str] | None:
    """Return the arguments in each new process; None in this one, when the requester has gone."""
    while True:
        request, streams, _, _ = socket.recv_fds(requests, _MOST_BYTES, 3)
        if not request:
            return None
        parent_end, child_end = os.pipe()
        middle = os.fork()
        if middle == 0:
            pid = os.fork()
            if pid == 0:
                os.close(child_end)
                os.read(parent_end, 1)  # Ends with the process in the middle: from then on the requester is the parent.
                os.close(parent_end)
                requests.close()
                return _become(json.loads(request), streams)
            requests.send(str(pid).encode())
            os._exit(0)
        os.close(parent_end)
        os.close(child_end)
        os.waitpid(middle, 0)
        requests.send(b"adopted")
        for stream in streams:
            os.close(stream)


def _become(request: dict[str, Any], streams: list[int]) -> list[str]:
    """Take the directory, environment and streams of *request*; return its arguments."""
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    if "PYTHONWARNINGS" in request["environment"]:
        sys.warnoptions.append(request["environment"]["PYTHONWARNINGS"])
        warnings.simplefilter("error")
    # aio-pika does not await the close of a connection attempt that timed out.
    warnings.filterwarnings("ignore", "coroutine 'Connection.close' was never awaited", RuntimeWarning)
    return request["arguments"]


def _import_all() -> None:
    """Import what any command may need, except optional libraries."""
    with warnings.catch_warnings(action="error"):
        for package in (image_syncer.cli, image_syncer.daemon):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)


def _end(code: int) -> None:
    """End as an interpreter does, but leave out taking apart all modules, which is most of the cost of a short run."""
    gc.collect()  # Warns of what was not closed.
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - joins all threads
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # As an interpreter reports it.
    os._exit(code)


if __name__ == "__main__":
    _import_all()
    assert threading.active_count() == 1, "a fork copies no threads"
    gc.collect()
    gc.freeze()
    own = socket.socket(fileno=os.dup(0))
    own.send(b"ready")
    arguments = serve(own)
    if arguments is not None:
        sys.argv = ["image-syncer", *arguments]
        _end(main())
