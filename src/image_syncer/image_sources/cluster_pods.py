"""Images of pods as the API of a cluster describes them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from image_syncer.errors import InvalidReference
from image_syncer.image_sources.foreign_yaml import Value, ValueMap, as_list, as_map, as_text
from image_syncer.image_sources.image_collector import ImageCollector
from image_syncer.oci.reference import split_reference
from image_syncer.structs import Struct
from image_syncer.sync.image_lists import ClusterScope, FoundImages
from image_syncer.sync.image_text import parse_image

_KINDS: Final = (
    ("containers", "containerStatuses"),
    ("initContainers", "initContainerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
)
_ENDED: Final = frozenset({"Succeeded", "Failed"})
_EARLIEST: Final = datetime(1, 1, 1, tzinfo=UTC)
_PULLABLE: Final = "docker-pullable://"


class RunningImage(Struct):
    """An image of a container: the *text* to copy, with the digest that runs as far as it is known; and *why*."""

    text: str
    why: str


def images_of_pods(pods: Sequence[ValueMap], scope: ClusterScope, now: datetime) -> FoundImages:
    """Return the images of *pods*, each once. The newest pod decides which digest has a tag that several have."""
    collector = ImageCollector()
    for pod in sorted(pods, key=_created_at, reverse=True):
        for image in images_of_pod(pod, scope, now):
            collector.add(image.text, image.why)
    return collector.found()


def images_of_pod(pod: ValueMap, scope: ClusterScope, now: datetime) -> Iterator[RunningImage]:
    """Yield the images of *pod*; none if it ended longer ago than the grace of *scope*."""
    status, spec, metadata = as_map(pod.get("status")), as_map(pod.get("spec")), as_map(pod.get("metadata"))
    ended = ended_at(pod)
    if ended is not None and (now - ended).total_seconds() >= scope.grace_seconds:
        return
    name = f"pod {as_text(metadata.get('namespace'))}/{as_text(metadata.get('name'))}"
    for kind, kind_of_status in _KINDS:
        ids = {
            as_text(as_map(entry).get("name")): as_text(as_map(entry).get("imageID"))
            for entry in as_list(status.get(kind_of_status))
        }
        for entry in as_list(spec.get(kind)):
            container = as_map(entry)
            # An init container that is restarted runs beside the others, as a sidecar.
            is_init = kind == "initContainers" and as_text(container.get("restartPolicy")) != "Always"
            image = as_text(container.get("image"))
            if image and (scope.include_init or not is_init):
                title = as_text(container.get("name"))
                yield RunningImage(pin(image, ids.get(title, "")), f"{name}, container {title}")


def pin(image: str, image_id: str) -> str:
    """Return *image* with the digest in *image_id*, if that is one of the same repository.

    A runtime may report the id of a config, or the digest under another name that it pulled the content by.
    """
    reference = image_id.removeprefix(_PULLABLE)
    try:
        wanted, running = parse_image(image), parse_image(reference)
    except InvalidReference:
        return image
    same = wanted.reference.repository == running.reference.repository
    if wanted.reference.digest is not None or running.reference.digest is None or not same:
        return image
    name, tag, _ = split_reference(image)
    return f"{name}:{tag or 'latest'}@{running.reference.digest}"


def ended_at(pod: ValueMap) -> datetime | None:
    """Return when the last container of *pod* ended; None if the pod has not ended."""
    status = as_map(pod.get("status"))
    if as_text(status.get("phase")) not in _ENDED:
        return None
    times = [
        _time(as_map(as_map(as_map(entry).get("state")).get("terminated")).get("finishedAt"))
        for _, kind in _KINDS
        for entry in as_list(status.get(kind))
    ]
    # A pod that was evicted may have no containers.
    return max(times, default=_created_at(pod)) or _created_at(pod)


def _created_at(pod: ValueMap) -> datetime:
    return _time(as_map(pod.get("metadata")).get("creationTimestamp"))


def _time(value: object) -> datetime:
    """Return the time in *value*; the earliest one if it has none."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else _EARLIEST
    except ValueError:
        return _EARLIEST
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def as_pods(items: Value) -> list[ValueMap]:
    """Return the pods in the list *items* of a response."""
    return [item for item in as_list(items) if isinstance(item, Mapping)]
