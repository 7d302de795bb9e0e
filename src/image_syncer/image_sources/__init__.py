"""Find the images that charts, Compose files, Kubernetes manifests, text files and clusters name.

The finder imports what a kind of list needs when a rule has one.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from image_syncer.roles import Stores
from image_syncer.sync.image_lists import FoundImages, ImageList

if TYPE_CHECKING:
    from image_syncer.image_sources.cluster_images import ClusterMemory


class RegistryImageFinder:
    """Finds images in local files, in artifacts of *stores*, and in clusters.

    *environment* has the variables of Compose files; None: those of this process.
    """

    def __init__(self, stores: Stores, environment: Mapping[str, str] | None = None) -> None:
        self._stores = stores
        self._environment = os.environ if environment is None else environment
        self._memory: ClusterMemory | None = None

    async def find(self, wanted: ImageList) -> FoundImages:
        """Return the images of *wanted* as of now; raises `StoreError`."""
        if wanted.cluster is not None:
            from image_syncer.image_sources.cluster_images import ClusterMemory  # noqa: PLC0415 - an extra

            memory = self._memory = self._memory or ClusterMemory()
            return await memory.find(wanted.cluster)
        from image_syncer.image_sources.image_reader import read_images  # noqa: PLC0415 - YAML is slow to import

        return await read_images(wanted, self._stores, self._environment)
