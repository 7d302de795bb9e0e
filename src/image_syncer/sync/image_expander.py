"""Expands rules that have a list of images: finds the images, and pairs them with the targets."""

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import CopyFailed, Refused, StoreError
from image_syncer.oci import Reference
from image_syncer.structs import replace
from image_syncer.sync.image_lists import FoundImages, ImageFinder, ImageList
from image_syncer.sync.image_pairing import STEP, pair_images
from image_syncer.sync.pairing import Facts, Paired
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.plan import RuleFailure
from image_syncer.sync.rule import Rule
from image_syncer.sync.source_digests import SourceDigests


class ImageExpander:
    """Expands rules by what *finder* finds. A list that several rules have is read once.

    *digests* and *date* are for targets whose names have them.
    """

    def __init__(self, finder: ImageFinder | None, digests: SourceDigests, date: str) -> None:
        self._finder = finder
        self._digests = digests
        self._date = date
        self._found: SingleFlight[ImageList, FoundImages] = SingleFlight(keep=True, share_failures=True)

    async def expand(self, rule: Rule, wanted: ImageList, warnings: list[str]) -> Paired:
        """Return the copies of the images in *wanted*; adds to *warnings* what is not copied. `CopyFailed`."""
        finder = self._finder
        try:
            if finder is None:
                raise Refused("images_from: lists of images cannot be read here")
            found = await self._found.do(wanted, lambda: finder.find(wanted))
        except StoreError as error:
            raise CopyFailed(error, side="source", step=STEP) from error
        facts, failures = Facts(date=self._date), dict[Reference, CopyFailed]()
        if any(isinstance(target, TargetTemplate) and target.needs_digest for target in rule.targets):
            resolved = await self._digests.resolve(
                [image.reference for image in found.images if image.certain or wanted.uncertain]
            )
            facts, failures = Facts(resolved.digests, self._date), dict(resolved.failures)
        images = tuple(image for image in found.images if image.reference not in failures)
        result = pair_images(rule, wanted, replace(found, images=images), facts)
        result.paired.failures += [
            RuleFailure(rule.name, str(source), str(target), failure)
            for source, failure in failures.items()
            for target in rule.targets
        ]
        warnings += [f"{rule.origin or rule.name}: {rule.name}: {text}" for text in result.warnings]
        if not found.images and not found.invalid:
            warnings.append(f"{rule.origin or rule.name}: {rule.name} finds no image")
        return result.paired
