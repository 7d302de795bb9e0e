"""Pairs the found images of a list with their names at the targets of its rule. Pure."""

from typing import Final

from image_syncer.errors import CopyFailed, Refused
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.image_lists import FoundImages, ImageList
from image_syncer.sync.pairing import NO_FACTS, Facts, Paired, pair_up
from image_syncer.sync.plan import RuleFailure
from image_syncer.sync.rule import Rule

STEP: Final = "find images"
_LISTED: Final = 20


class PairedImages(Struct, frozen=False):
    """Copies and failures of the images of a list, and *warnings* about those that are not copied."""

    paired: Paired = field(default_factory=Paired)
    warnings: list[str] = field(default_factory=list[str])


def pair_images(rule: Rule, wanted: ImageList, found: FoundImages, facts: Facts = NO_FACTS) -> PairedImages:
    """Return the copies of *found* to each of the rule's targets.

    Images that are not certain are left out with a warning, unless *wanted* takes them. So are, without one, images
    that are at the target already, since the target is where they were found to run. A text that is no reference is a
    failure.
    """
    result = PairedImages(warnings=list(found.warnings))
    doubtful: list[str] = []
    for image in found.images:
        if not image.certain and not wanted.uncertain:
            doubtful.append(f"{image} ({image.why})")
            continue
        # The tag names the target, the digest decides what is read.
        repository = image.reference.repository
        named = image.reference if image.tag is None else repository.tag(image.tag)
        digest = image.reference.digest
        known = facts if digest is None else replace(facts, digests={named: digest})
        paired = pair_up(rule, [named], known)
        result.paired.failures += paired.failures
        result.paired.copies += [
            copy if named is image.reference else replace(copy, source=image.reference)
            for copy in paired.copies
            if copy.target != named
        ]
    for invalid in found.invalid:
        error = Refused(f"{invalid.why}: {invalid.message}" if invalid.why else invalid.message)
        failure = CopyFailed(error, side="source", step=STEP)
        result.paired.failures += [
            RuleFailure(rule.name, invalid.text, str(target), failure) for target in rule.targets
        ]
    if doubtful:
        more = f" and {len(doubtful) - _LISTED} more" if len(doubtful) > _LISTED else ""
        images = "image is" if len(doubtful) == 1 else "images are"
        result.warnings.append(
            f"{len(doubtful)} {images} not certain and not copied: {', '.join(doubtful[:_LISTED])}{more}"
            " (uncertain: true copies them)"
        )
    return result
