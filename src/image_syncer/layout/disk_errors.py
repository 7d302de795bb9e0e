"""Errors of the operating system as errors of a store."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from image_syncer.errors import Denied, NotFound, OutOfResources, Refused, Unavailable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DIRECTORY: Final = frozenset({errno.ENOTDIR, errno.EISDIR})
_NO_HANDLES: Final = frozenset({errno.EMFILE, errno.ENFILE})


@contextmanager
def disk_errors(what: str) -> Generator[None]:
    """Turn an `OSError` within the context into a `StoreError` about *what*."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if isinstance(error, FileNotFoundError):
            raise NotFound(f"{what}: not found") from error
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise Denied(f"{what}: {reason}", remedy="check the permissions of the directory and its files") from error
        if error.errno == errno.ELOOP:
            raise Refused(f"{what}: a link; links in a layout are not followed") from error
        if error.errno in _NO_DIRECTORY or isinstance(error, FileExistsError):
            raise Refused(f"{what}: {reason}", remedy="a part of the path is a link, or of another kind") from error
        if error.errno in _NO_HANDLES:
            raise OutOfResources(f"{what}: {reason}", remedy="raise the limit of open files (ulimit -n)") from error
        if error.errno in _FULL:
            raise Unavailable(f"{what}: {reason}", remedy="free space; finished blobs are not copied again") from error
        raise Unavailable(f"{what}: {reason}") from error
