"""The images that a Kubernetes cluster runs, and those that it ran until lately."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from image_syncer.image_sources.cluster_client import open_cluster
from image_syncer.image_sources.cluster_pods import images_of_pods
from image_syncer.image_sources.foreign_yaml import ValueMap
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.image_lists import ClusterScope, FoundImage, FoundImages


class ClusterMemory(Struct, frozen=False):
    """When each image of a scope was last seen, by a process that lists clusters repeatedly."""

    _seen: dict[ClusterScope, dict[FoundImage, datetime]] = field(
        default_factory=dict[ClusterScope, dict[FoundImage, datetime]]
    )

    async def find(self, scope: ClusterScope) -> FoundImages:
        """Return the images of the pods in *scope*, and those seen within its grace; raises `StoreError`."""
        pods: list[ValueMap] = []
        async with open_cluster(scope) as cluster:
            for namespace in scope.namespaces or (None,):
                pods += (await cluster.list_pods(namespace)).pods
        now = datetime.now(UTC)
        found = images_of_pods(pods, scope, now)
        return replace(found, images=(*found.images, *self.remember(scope, found.images, now)))

    def remember(self, scope: ClusterScope, images: Sequence[FoundImage], now: datetime) -> list[FoundImage]:
        """Record that *images* run *now*; return the others that ran within the grace of *scope*.

        Each keeps its tag only while no running image has it.
        """
        if not scope.grace_seconds:
            return []
        oldest = now - timedelta(seconds=scope.grace_seconds)
        seen = {image: at for image, at in self._seen.get(scope, {}).items() if at > oldest}
        self._seen[scope] = seen | dict.fromkeys(images, now)
        names = {(image.reference.repository, image.tag or image.reference.tag) for image in images}
        contents = {image.reference for image in images}
        gone: list[FoundImage] = []
        for image in sorted(seen, key=lambda one: seen[one], reverse=True):
            if image.reference in contents:
                continue
            contents.add(image.reference)
            name = image.reference.repository, image.tag
            gone.append(replace(image, tag=None) if name in names else image)
            names.add(name)
        return gone
