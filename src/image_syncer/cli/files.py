"""Files that a command writes: atomically, and checked before the work begins."""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from image_syncer.errors import ImageSyncerError, UsageError


def check_writable(path: Path, option: str) -> None:
    """Raise `UsageError`, which names *option*, if `write` cannot write *path*; leave no file behind."""
    try:
        target = path.resolve()
        if not _must_write_in_place(target):
            temporary, descriptor = _create_beside(target)
            os.close(descriptor)
            temporary.unlink()
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be written: {_reason(error)}") from error


def write(path: Path, chunks: Iterable[str]) -> None:
    """Replace *path* by the text of *chunks*: a reader sees the old content or the new one, never a part.

    Pipes, devices and files in a read-only directory are written in place, since no rename can replace them.
    """
    try:
        target = path.resolve()
        if _must_write_in_place(target):
            with target.open("w", encoding="utf-8") as file:
                file.writelines(chunks)
        else:
            _replace(target, chunks)
    except OSError as error:
        raise ImageSyncerError(f"{path}: cannot be written: {_reason(error)}") from error


def is_cwd_removed() -> bool:
    """Whether the working directory of this process does not exist any more."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _must_write_in_place(target: Path) -> bool:
    """Whether *target* must be written in place; `OSError` if it cannot be written at all."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not stat.S_ISREG(mode):
        return True
    with target.open("ab"):  # Fails for a read-only file, which a rename could replace: respect its mode.
        pass
    return not os.access(target.parent, os.W_OK | os.X_OK)


def _replace(target: Path, chunks: Iterable[str]) -> None:
    temporary, descriptor = _create_beside(target)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path
            file.writelines(chunks)
            file.flush()
            os.fsync(descriptor)
        try:
            temporary.replace(target)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            import shutil  # noqa: PLC0415 - slow to import, and rarely needed

            shutil.copyfile(temporary, target)  # A file mounted into a container cannot be replaced.
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _create_beside(target: Path) -> tuple[Path, int]:
    """Create an empty file in the directory of *target*, with the mode that *target* has or would get."""
    temporary = target.with_name(f".{target.name[:200]}.{os.urandom(4).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with suppress(FileNotFoundError):
        os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
    return temporary, descriptor


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the working directory was removed" if is_cwd_removed() else "its directory does not exist"
    return error.strerror or str(error)
