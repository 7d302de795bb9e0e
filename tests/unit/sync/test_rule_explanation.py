"""What a rule does with an image, and why, as far as the rule alone can tell."""

from pathlib import Path

import pytest

from image_syncer.config.documents.document import parse_document
from image_syncer.config.load import load_document
from image_syncer.oci import PlatformFilter, Reference
from image_syncer.sync.image_lists import FoundImage, FoundImages, ImageList
from image_syncer.sync.rule import Rule
from image_syncer.sync.rule_explanation import RuleExplanation, decide, decide_by_list, explain_rule
from image_syncer.sync.tag_evaluation import TagExplanation

DIGEST = "sha256:" + "ab" * 32


def rule(keys: str) -> Rule:
    """Return a rule of a native file with *keys*."""
    text = f"version: 1\nhooks: {{h: {{kind: plain, allow_open: true}}}}\nrules: [{{name: one, {keys}}}]\n"
    document = parse_document(text.encode(), Path("n.yaml"), remedy_if_empty="")
    return load_document(document, "n.yaml", platforms=PlatformFilter(), environment={}).rules[0]


def explain(keys: str, image: str) -> RuleExplanation:
    """Return what the rule with *keys* does with *image*."""
    return explain_rule(rule(keys), Reference.parse(image), date="2026-12-01")


PLAIN = "source: q.io/a, targets: t.io/a"
PATTERN = "source: q.io/team/**, targets: 't.io/{repository}', on: event"


@pytest.mark.parametrize(
    ("keys", "image", "is_selected", "reason"),
    [
        (PLAIN, "q.io/a:v1", True, "fits all tags"),
        (PLAIN, "q.io/b:v1", False, "the rule copies from q.io/a"),
        (PLAIN, f"q.io/a:sha256-{'ab' * 32}.sig", False, "belongs to another image: a signature, an SBOM"),
        (PLAIN, f"q.io/a@{DIGEST}", False, "has no tag"),
        (f"{PLAIN}, tags: [v1, v2]", "q.io/a:v2", True, "fits v1,v2"),
        (f"{PLAIN}, tags: [v1, v2]", "q.io/a:v3", False, "matches nothing in include"),
        (f"{PLAIN}, tags: {{include: 'v*', exclude: '*-rc*'}}", "q.io/a:v1", True, "fits v* but *-rc*"),
        (f"{PLAIN}, tags: {{include: 'v*', exclude: '*-rc*'}}", "q.io/a:v1-rc1", False, "matches '*-rc*' in exclude"),
        (f"{PLAIN}, tags: {{semver: '>=1.2'}}", "q.io/a:1.1", False, "is not in semver '>=1.2'"),
        (f"{PLAIN}, tags: {{semver: '>=1.2'}}", "q.io/a:1.3", True, "fits semver >=1.2"),
        (f"{PLAIN}, tags: {{semver: '>=1.2', latest: 3}}", "q.io/a:1.1", False, "is not in semver '>=1.2'"),
        (f"{PLAIN}, tags: {{latest: 3}}", "q.io/a:1.3", None, "its name fits; the other tags and the dates decide:"),
        (f"{PLAIN}, tags: {{min_age: 7d}}", "q.io/a:1.3", None, "its name fits; the other tags and the dates decide:"),
        (f"source: 'q.io/a@{DIGEST}', targets: 't.io/a:v1'", f"q.io/a@{DIGEST}", True, "has the digest sha256:abab"),
        (f"source: 'q.io/a@{DIGEST}', targets: 't.io/a:v1'", "q.io/a:v1", False, "does not have the digest"),
        (PATTERN, "q.io/team/x/y:v1", True, "fits all tags"),
        (PATTERN, "q.io/other:v1", False, "q.io/other does not match the source q.io/team/**"),
        (f"{PATTERN}, exclude: team/x", "q.io/team/x:v1", False, "exclude leaves q.io/team/x out"),
        (f"{PATTERN}, repositories: team/y", "q.io/team/x:v1", False, "q.io/team/x matches nothing in repositories"),
    ],
)
def test_the_first_reason_is_given(keys: str, image: str, is_selected: bool | None, reason: str) -> None:
    """None: only the registry can tell."""
    found = explain(keys, image)
    assert (found.is_selected, found.reason.startswith(reason)) == (is_selected, True), found.reason
    assert bool(found.targets) == (is_selected is not False)


@pytest.mark.parametrize(
    ("targets", "image", "names"),
    [
        ("[t.io/x, 'u.io/{repository}:{tag}-m']", "q.io/a:v1", ["t.io/x:v1", "u.io/a:v1-m"]),
        ("'t.io/{name}:{date}'", "q.io/a:v1", ["t.io/a:2026-12-01"]),
        ("'t.io/x:{digest_short}'", "q.io/a:v1", ["its name has the digest, which the registry knows"]),
        ("'t.io/x/{repository}'", f"q.io/{'a' * 250}:v1", ["longer than 255 characters"]),
    ],
)
def test_the_targets_are_named(targets: str, image: str, names: list[str]) -> None:
    """Or the problem why there is no name."""
    found = explain(f"source: q.io/**, targets: {targets}, list: true", image)
    shown = [target.reference or target.problem or "" for target in found.targets]
    assert [name in text for name, text in zip(names, shown, strict=True)] == [True] * len(names), shown


def test_target_tags_by_position_are_found() -> None:
    """In rules of the Go tool a tag at the source has its tag at the target."""
    text = "images: {'q.io/a:v1,v2': 't.io/b:one,two', 'q.io/c': 't.io/d:x'}"
    document = parse_document(text.encode(), Path("c.yaml"), remedy_if_empty="")
    named, listed = load_document(document, "c.yaml", platforms=PlatformFilter(), environment={}).rules
    found = explain_rule(named, Reference.parse("q.io/a:v2"))
    assert [target.reference for target in found.targets] == ["t.io/b:two"]
    (target,) = explain_rule(listed, Reference.parse("q.io/c:v2")).targets
    assert (target.reference, target.problem) == (None, "its tag depends on the position among the selected tags")


def test_the_answer_of_the_registry_is_final() -> None:
    """It knows the other tags and the dates."""
    image = Reference.parse("q.io/a:1.3")
    latest = rule(f"{PLAIN}, tags: {{latest: 3}}")
    assert explain_rule(latest, image).is_selected is None
    found = decide(latest, image, TagExplanation(is_selected=True, reason="fits"), is_final=True)
    assert (found.is_selected, [target.reference for target in found.targets]) == (True, ["t.io/a:1.3"])
    found = decide(latest, image, TagExplanation(is_selected=False, reason="is not among"), is_final=True)
    assert (found.is_selected, found.targets) == (False, ())


@pytest.mark.parametrize(
    ("keys", "image", "is_selected", "reason"),
    [
        ("", "q.io/a:v1", True, "values.yaml: image"),
        ("", "q.io/b:v1", False, "templates/x.yaml: it may be no image that is used; uncertain: true copies it"),
        (", uncertain: true", "q.io/b:v1", True, "templates/x.yaml"),
        ("", "q.io/c:v1", True, "pinned"),
        ("", "q.io/d:v1", False, "not among the 3 images of helm: chart.tgz"),
    ],
)
def test_a_list_of_images_has_reasons_of_its_own(keys: str, image: str, is_selected: bool, reason: str) -> None:
    """The list is read on request."""
    listing = rule(f"images_from: {{helm: chart.tgz{keys}}}, targets: 't.io/{{repository}}'")
    assert isinstance(listing.source, ImageList)
    wanted = Reference.parse(image)
    assert explain_rule(listing, wanted).is_selected is None
    pinned = Reference.parse(f"q.io/c@{DIGEST}")
    found = FoundImages(
        (
            FoundImage(Reference.parse("q.io/a:v1"), "values.yaml: image"),
            FoundImage(Reference.parse("q.io/b:v1"), "templates/x.yaml", certain=False),
            FoundImage(pinned, "pinned", tag="v1"),
        )
    )
    explained = decide_by_list(listing, listing.source, wanted, found)
    assert (explained.is_selected, explained.reason) == (is_selected, reason)
    names = [f"t.io/{wanted.repository.path}:v1"] if is_selected else []
    assert [target.reference for target in explained.targets] == names
