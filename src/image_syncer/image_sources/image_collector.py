"""Collects the references of one list of images, each once, with the place that names it."""

from collections.abc import Sequence
from typing import Final

from image_syncer.errors import InvalidReference
from image_syncer.oci import Reference, Repository
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.image_lists import FoundImage, FoundImages, InvalidImage
from image_syncer.sync.image_text import has_placeholder, parse_image

IMAGES_LIMIT: Final = 100_000
"""Most images of one list."""

LONGEST: Final = 1024
"""Longest text that is read as a reference."""

_SHOWN: Final = 200
_LISTED: Final = 20


class ImageCollector(Struct, frozen=False):
    """The images found so far. An image that is found again stays where it was found first, but may become certain."""

    warnings: list[str] = field(default_factory=list[str])
    _images: dict[tuple[Reference, str | None], FoundImage] = field(
        default_factory=dict[tuple[Reference, str | None], FoundImage]
    )
    _invalid: dict[str, InvalidImage] = field(default_factory=dict[str, InvalidImage])
    _unfilled: dict[str, str] = field(default_factory=dict[str, str])
    _is_full: bool = False

    def add(self, text: str, why: str, *, certain: bool = True, is_guess: bool = False) -> bool:
        """Add the image in *text*, which *why* names; whether it is one.

        *is_guess*: *text* may be something else, so it needs a tag or a digest to be certain, and may be no reference.
        """
        if len(text) > LONGEST:
            if certain and not is_guess:
                self._invalid.setdefault(text[:_SHOWN], InvalidImage(text[:_SHOWN], why, "too long for a reference"))
            return False
        if has_placeholder(text):
            self._unfilled.setdefault(text.strip()[:_SHOWN], why)
            return False
        try:
            parsed = parse_image(text)
        except InvalidReference as error:
            if certain and not is_guess:
                self._invalid.setdefault(text[:_SHOWN], InvalidImage(text[:_SHOWN], why, error.message))
            return False
        sure = certain and (parsed.explicit or not is_guess)
        self.add_image(FoundImage(parsed.reference, why, sure, parsed.tag))
        return True

    def add_image(self, image: FoundImage) -> None:
        """Add *image*, unless it is one too many."""
        key = image.reference, image.tag
        known = self._images.get(key)
        if known is None and len(self._images) >= IMAGES_LIMIT:
            self._is_full = True
        elif known is None or (image.certain and not known.certain):
            self._images[key] = image

    def fail(self, text: str, message: str) -> None:
        """Add the failure to read *text*, a file or a place of files."""
        self._invalid.setdefault(text[:_SHOWN], InvalidImage(text[:_SHOWN], "", message))

    def has_certain(self, repository: Repository) -> bool:
        """Whether an image of *repository* is known for certain."""
        return any(image.certain and image.reference.repository == repository for image in self._images.values())

    def found(self) -> FoundImages:
        """Return all that was found."""
        warnings = list(self.warnings)
        if self._unfilled:
            named = [f"{text} ({why})" for text, why in list(self._unfilled.items())[:_LISTED]]
            more = f" and {len(self._unfilled) - _LISTED} more" if len(self._unfilled) > _LISTED else ""
            warnings.append(f"not copied, since a part is still to be filled in: {', '.join(named)}{more}")
        if self._is_full:
            warnings.append(f"more than {IMAGES_LIMIT} images; the others are left out")
        images, moved = give_tags(list(self._images.values()))
        return FoundImages(images, tuple(self._invalid.values()), (*warnings, *moved))


def give_tags(images: Sequence[FoundImage]) -> tuple[tuple[FoundImage, ...], tuple[str, ...]]:
    """Return *images* so that each tag belongs to one of them, and warnings about those that go without.

    The image that names the tag alone has it, then the first one with a digest; others keep their digest alone.
    """
    owners: dict[Reference, FoundImage] = {
        image.reference: image for image in images if image.reference.tag is not None
    }
    given: list[FoundImage] = []
    warnings: list[str] = []
    for image in images:
        if image.tag is None:
            given.append(image)
            continue
        owner = owners.setdefault(image.reference.repository.tag(image.tag), image)
        given.append(image if owner is image else replace(image, tag=None))
        if owner is not image and owner.tag is not None:
            warnings.append(
                f"{image} ({image.why}) is copied by its digest alone: {owner.why} has another digest for the tag"
            )
    return tuple(given), tuple(warnings)
