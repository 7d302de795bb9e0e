"""What is pushed of an image: its root, and what a rule changed of it or leaves out."""

from collections.abc import Mapping
from typing import Final

from image_syncer.errors import CopyFailed, TooLarge
from image_syncer.oci import Digest, RawManifest
from image_syncer.structs import Struct

DEPTH_LIMIT: Final = 4
"""The maximum nesting of indexes; builders produce at most 2 levels."""


class Trimmed(Struct):
    """The root manifest to push, and the rewritten manifests below it by digest.

    *skipped* are entries of a sparse index whose manifests are not pushed.
    """

    root: RawManifest
    rewritten: Mapping[Digest, RawManifest]
    skipped: frozenset[Digest] = frozenset()


def check_depth(depth: int, raw: RawManifest) -> None:
    """Refuse indexes that are nested more deeply than builders do; `CopyFailed`."""
    if depth > DEPTH_LIMIT:
        error = TooLarge(f"{raw.digest}: indexes nested deeper than {DEPTH_LIMIT} levels")
        raise CopyFailed(error, side="source", step="read manifest")
