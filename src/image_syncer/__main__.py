"""Makes `python -m image_syncer` and the command `image-syncer` the same thing."""

import sys

from image_syncer.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
