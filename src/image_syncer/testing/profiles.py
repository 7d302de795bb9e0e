"""The habits of known registries, as data: each is a `Profile` to use as it is or to `replace` parts of."""

from typing import Final

from image_syncer.testing.profile import Profile

OCI: Final = Profile()
"""The specification as it is written."""
