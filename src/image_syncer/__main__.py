"""Makes `python -m image_syncer` and the command `image-syncer` the same thing."""

# ruff: noqa: PLC0415 - the version is written before the command line is imported

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process and return the exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        return _write_version()
    from image_syncer.cli.main import main as run

    return run()


def _write_version() -> int:
    """Write the version as the command line does, and return the exit code."""
    from image_syncer import __version__
    from image_syncer.cli.console import PROGRAM, complain, open_streams, write_result
    from image_syncer.errors import ImageSyncerError

    open_streams()
    try:
        write_result([f"{PROGRAM} {__version__}\n"])
    except ImageSyncerError as error:
        complain(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
