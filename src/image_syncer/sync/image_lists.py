"""Lists of images that a rule has in place of a source: charts, Compose files, manifests, text files and clusters."""

from typing import Literal, Protocol

from image_syncer.oci import Reference
from image_syncer.structs import Struct

ImageListKind = Literal["helm", "compose", "manifests", "list", "kubernetes"]
"""Where the references come from."""


class ClusterScope(Struct):
    """What of a Kubernetes cluster counts: its pods in *namespaces* (empty: in all).

    *context* is one of the file *kubeconfig*; None: the current one, and the default file. *in_cluster*: this process
    runs in a pod and uses its service account. *include_init*: init containers count too. An image counts for
    *grace_seconds* after its container ended. *watch*: the daemon follows the cluster and runs the rule on changes.
    """

    context: str | None = None
    kubeconfig: str | None = None
    in_cluster: bool = False
    namespaces: tuple[str, ...] = ()
    include_init: bool = True
    grace_seconds: float = 0.0
    watch: bool = True


class ImageList(Struct):
    """Where a rule finds its images: *locations* are paths, globs or `oci://registry/repository:tag`.

    *uncertain*: also take images that are not certain to be used. *include_chart*: also take the charts themselves.
    *paths* are further places of images in manifests; *values* are files of values for charts. *cluster* is set for the
    kind `kubernetes` only.
    """

    kind: ImageListKind
    locations: tuple[str, ...] = ()
    uncertain: bool = False
    include_chart: bool = False
    paths: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    cluster: ClusterScope | None = None

    def __str__(self) -> str:
        if self.cluster is None:
            return f"{self.kind}: {', '.join(self.locations)}"
        if self.cluster.in_cluster:
            return f"{self.kind}: in_cluster"
        return f"{self.kind}: {self.cluster.context or 'current context'}"


class FoundImage(Struct):
    """An image, and *why* it was found: the place that names it.

    *tag* is its name at the target if *reference* has a digest; None: the target keeps the digest. Not *certain*: it
    may be no image, or not the one that is used.
    """

    reference: Reference
    why: str
    certain: bool = True
    tag: str | None = None

    def __str__(self) -> str:
        if self.tag is None:
            return str(self.reference)
        return f"{self.reference.repository}:{self.tag}@{self.reference.digest}"


class InvalidImage(Struct):
    """A *text* at a place of an image, which *why* names, that is no reference: for the reason in *message*."""

    text: str
    why: str
    message: str


class FoundImages(Struct):
    """The images of a list, each once; *warnings* say what could not be read or is not complete."""

    images: tuple[FoundImage, ...] = ()
    invalid: tuple[InvalidImage, ...] = ()
    warnings: tuple[str, ...] = ()


class ImageFinder(Protocol):
    """Finds the images of lists."""

    async def find(self, wanted: ImageList) -> FoundImages:
        """Return the images of *wanted* as of now, uncertain ones included; raises `StoreError`."""
        ...
