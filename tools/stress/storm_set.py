"""The images of `storm`: many kinds and sizes, with shared content."""

from collections.abc import Mapping
from typing import Final

from image_syncer.testing.content import Blob, Image
from image_syncer.testing.images import attested, helm_chart, multi, nested, single

_KIB: Final = 1024
_IMAGES_PER_REPOSITORY: Final = 5
_KINDS: Final = 10


def storm_images(count: int, *, docker: bool) -> Mapping[tuple[str, str], Image]:
    """Return *count* images by repository and tag, the same each time; with *docker* Docker's types as well."""
    base = Blob.generated("storm/base", 200 * _KIB)
    return {
        (f"storm/app{number // _IMAGES_PER_REPOSITORY}", f"v{number}"): _image(number, base, docker=docker)
        for number in range(count)
    }


def _image(number: int, base: Blob, *, docker: bool) -> Image:
    """Return image *number*: every tenth has a layer large enough to be streamed."""
    seed = f"storm/{number}"
    match number % _KINDS:
        case 1:
            return multi(seed)
        case 3:
            return nested(seed)
        case 5:
            return attested(seed)
        case 6:
            return helm_chart(seed)
        case 7:
            return single(seed, layers=[base, 3_000 * _KIB])
        case kind:
            return single(seed, layers=[base, 40 * _KIB, 700], docker=docker and kind % 2 == 0)
