"""File descriptors: how many connections this process may hold, and errors because it has none left.

Running out of descriptors or threads says nothing about a registry, so it must not open its circuit breaker.
"""

import errno
import os
import resource
from typing import Final

from image_syncer.errors import OutOfResources

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE})
_RESERVED: Final = 128
"""Descriptors for all but connections to registries: files, databases, name resolution, incoming connections."""
_UNLIMITED: Final = 1_000_000
_REMEDY: Final = (
    "raise the limit of open files (ulimit -n; LimitNOFILE= of systemd; --ulimit nofile= of docker), or lower --proc"
)


def connection_limit() -> int:
    """Return how many connections this process may hold: all descriptors but 128, or half of a small number."""
    soft = _soft_limit()
    return max(1, soft // 2, soft - _RESERVED)


def out_of_descriptors(error: BaseException, where: str) -> OutOfResources | None:
    """Return our error for *error* if the process or the system has no free descriptor, otherwise None."""
    number = error.errno if isinstance(error, OSError) else None
    if number not in _EXHAUSTED:
        return None
    whose = "this process has" if number == errno.EMFILE else "the system has"
    return OutOfResources(f"{where}: {whose} no free file descriptor (limit {_soft_limit()})", remedy=_REMEDY)


def no_free_descriptor(where: str) -> OutOfResources | None:
    """Return our error if a new descriptor cannot be had now, otherwise None.

    For libraries that hide the reason: the resolver then says that a name does not exist, and OpenSSL that it cannot
    find an authority.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return out_of_descriptors(error, where)
    return None


def connections_in_use(where: str, seconds: float) -> OutOfResources:
    """Return the error for a request that found no free connection for *seconds*."""
    return OutOfResources(
        f"{where}: all {connection_limit()} connections that this process may open were in use for {seconds:g} s",
        remedy=_REMEDY,
    )


def out_of_threads(error: RuntimeError, where: str) -> OutOfResources | None:
    """Return our error for *error* if the system refuses another thread, otherwise None."""
    if "start new thread" not in str(error):  # Python has no exception of its own for this.
        return None
    return OutOfResources(
        f"{where}: the system refuses another thread",
        remedy="raise the limit of processes and threads (ulimit -u; TasksMax= of systemd; --pids-limit of docker)",
    )


def _soft_limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft
