"""Explains what a rule does with an image: whether it selects it, why, and where the image would go. Pure."""

from image_syncer.errors import CopyFailed
from image_syncer.oci import Reference, Repository
from image_syncer.structs import Struct, replace
from image_syncer.sync.image_lists import FoundImage, FoundImages, ImageList
from image_syncer.sync.image_pairing import pair_images
from image_syncer.sync.pairing import Facts, pair_up
from image_syncer.sync.pattern import SourcePattern, TargetTemplate
from image_syncer.sync.repository_filter import RepositoryFilter
from image_syncer.sync.rule import Rule, RuleTarget, TagNames
from image_syncer.sync.tag_evaluation import TagExplanation, explain_alone
from image_syncer.sync.tag_selection import TagSelection


class TargetName(Struct):
    """The name of an image at the target *written* in a rule, or the *problem* why it has none yet."""

    written: str
    reference: str | None = None
    problem: str | None = None


class RuleExplanation(Struct):
    """What *rule* does with *image*.

    *is_selected* None: the rule alone cannot tell; the registry's tags and dates decide, or the list of images.
    *targets* are empty if the rule does not select it.
    """

    rule: Rule
    image: Reference
    is_selected: bool | None
    reason: str
    targets: tuple[TargetName, ...] = ()


def explain_rule(rule: Rule, image: Reference, *, date: str = "") -> RuleExplanation:
    """Return what *rule* does with *image* as far as the rule alone can tell, in a run on the day *date*."""
    against = _reason_against_source(rule, image.repository)
    if against is not None:
        return RuleExplanation(rule, image, is_selected=False, reason=against)
    if isinstance(rule.source, ImageList):
        reason = f"the list of images decides: {rule.source}"
        return RuleExplanation(rule, image, is_selected=None, reason=reason)
    return decide(rule, image, explain_alone(rule.selection, image), date=date)


def decide(
    rule: Rule, image: Reference, found: TagExplanation, *, date: str = "", is_final: bool = False
) -> RuleExplanation:
    """Return the explanation for the answer *found* about the tag of *image*.

    *is_final*: the answer knows the other tags and the dates.
    """
    if not found.is_selected:
        return RuleExplanation(rule, image, is_selected=False, reason=found.reason)
    targets = tuple(_target_name(rule, ruled, image, date) for ruled in rule.targets)
    selection = rule.selection
    if not is_final and isinstance(selection, TagSelection) and selection.needs_listing:
        reason = f"its name fits; the other tags and the dates decide: {selection}"
        return RuleExplanation(rule, image, is_selected=None, reason=reason, targets=targets)
    return RuleExplanation(rule, image, is_selected=True, reason=found.reason, targets=targets)


def decide_by_list(
    rule: Rule, wanted: ImageList, image: Reference, found: FoundImages, *, date: str = ""
) -> RuleExplanation:
    """Return the explanation for what was *found* in the list *wanted*."""
    match = next((each for each in found.images if _is_named(each, image)), None)
    if match is None:
        reason = f"not among the {len(found.images)} images of {wanted}"
        return RuleExplanation(rule, image, is_selected=False, reason=reason)
    if not match.certain and not wanted.uncertain:
        reason = f"{match.why}: it may be no image that is used; uncertain: true copies it"
        return RuleExplanation(rule, image, is_selected=False, reason=reason)
    targets: list[TargetName] = []
    for ruled in rule.targets:
        result = pair_images(replace(rule, targets=(ruled,)), wanted, FoundImages((match,)), Facts(date=date))
        targets += [TargetName(str(ruled), str(copy.target)) for copy in result.paired.copies]
        targets += [TargetName(str(ruled), problem=each.failure.cause.message) for each in result.paired.failures]
    return RuleExplanation(rule, image, is_selected=True, reason=match.why, targets=tuple(targets))


def _is_named(found: FoundImage, image: Reference) -> bool:
    if found.reference == image:
        return True
    return found.reference.repository == image.repository and found.tag is not None and found.tag == image.tag


def _reason_against_source(rule: Rule, repository: Repository) -> str | None:
    source = rule.source
    if isinstance(source, Repository):
        return None if source == repository else f"the rule copies from {source}"
    if not isinstance(source, SourcePattern):
        return None
    if not source.matches(repository):
        return f"{repository} does not match the source {source}"
    if not RepositoryFilter(exclude=rule.repositories.exclude).wants(repository):
        return f"exclude leaves {repository} out"
    return None if rule.repositories.wants(repository) else f"{repository} matches nothing in repositories"


def _target_name(rule: Rule, ruled: RuleTarget | TargetTemplate, image: Reference, date: str) -> TargetName:
    if isinstance(ruled, TargetTemplate) and ruled.needs_digest and image.digest is None:
        return TargetName(str(ruled), problem="its name has the digest, which the registry knows")
    sources = [image]
    if isinstance(ruled, RuleTarget) and ruled.tags:
        if not isinstance(rule.selection, TagNames):
            return TargetName(str(ruled), problem="its tag depends on the position among the selected tags")
        sources = [image.repository.tag(name) for name in rule.selection.names]
    digests = {} if image.digest is None else {image: image.digest}
    try:
        paired = pair_up(replace(rule, targets=(ruled,)), sources, Facts(digests, date))
    except CopyFailed as error:
        return TargetName(str(ruled), problem=error.cause.message)
    for failure in paired.failures:
        return TargetName(str(ruled), problem=failure.failure.cause.message)
    found = next(copy.target for copy, source in zip(paired.copies, sources, strict=True) if source == image)
    return TargetName(str(ruled), str(found))
