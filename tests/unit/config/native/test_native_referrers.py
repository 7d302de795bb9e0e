"""The `referrers:` of rules and defaults."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.referrer_settings import DEFAULT_REFERRERS, ReferrerSettings

RULE = "rules: [{name: a, source: q.io/a, targets: t.io/x"


def settings(directory: Path, rule: str = "", defaults: str = "") -> ReferrerSettings:
    """Return the settings of a rule with *rule* and of a file with *defaults*."""
    path = directory / "n.yaml"
    path.write_text(f"version: 1\n{RULE}{rule}}}]\n{defaults}\n")
    (parsed,) = load_file(path, platforms=PlatformFilter(), environment={}).rules
    return parsed.referrers


def test_referrers_are_copied_by_default(tmp_path: Path) -> None:
    """With cosign's legacy tags, once a day for unchanged images."""
    assert settings(tmp_path) == DEFAULT_REFERRERS
    assert settings(tmp_path, ", referrers: true") == DEFAULT_REFERRERS
    assert (DEFAULT_REFERRERS.enabled, DEFAULT_REFERRERS.legacy_tags) == (True, True)
    assert DEFAULT_REFERRERS.recheck_seconds == 86_400


def test_each_key_has_its_meaning(tmp_path: Path) -> None:
    """Single types need no list."""
    keys = "types: [signature, 'application/spdx*'], exclude: vex, legacy_tags: false, recheck: 0s, required: true"
    places = "from: 'registry.scout.docker.com/{repository}', to: 't.io/attached/{repository}'"
    assert settings(tmp_path, f", referrers: {{{keys}, {places}}}") == ReferrerSettings(
        types=("signature", "application/spdx*"),
        exclude=("vex",),
        legacy_tags=False,
        recheck_seconds=0,
        required=True,
        source=TargetTemplate.parse("registry.scout.docker.com/{repository}"),
        target=TargetTemplate.parse("t.io/attached/{repository}"),
    )


@pytest.mark.parametrize(
    ("rule", "defaults", "expected"),
    [
        ("", "false", ReferrerSettings(enabled=False)),
        (", referrers: true", "false", ReferrerSettings()),
        ("", "{required: true}", ReferrerSettings(required=True)),
        (", referrers: {required: false}", "{required: true, types: sbom}", ReferrerSettings(types=("sbom",))),
        (", referrers: false", "{required: true}", ReferrerSettings(enabled=False, required=True)),
    ],
)
def test_keys_of_a_rule_go_before_those_of_the_defaults(
    tmp_path: Path, rule: str, defaults: str, expected: ReferrerSettings
) -> None:
    """Key by key."""
    assert settings(tmp_path, rule, f"defaults: {{referrers: {defaults}}}") == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("yes please", "expected"),
        ("{type: sbom}", "did you mean types?"),
        ("{types: signatures}", "'signatures': neither an artifact type nor a kind (kinds are signature"),
        ("{recheck: 5}", "recheck"),
        ("{from: 'q.io/a:v1'}", "a repository without a tag"),
        ("{from: a}", "names its registry"),
        ("{to: 't.io/{tag}'}", "{tag}"),
    ],
)
def test_wrong_values_are_errors_with_their_line(tmp_path: Path, value: str, message: str) -> None:
    """Of the file, the key and what to write instead."""
    with pytest.raises(UsageError) as caught:
        settings(tmp_path, f", referrers: {value}")
    text = f"{caught.value}; {caught.value.remedy or ''}"
    assert message in text
    assert "n.yaml:2" in text


def test_templates_name_the_repositories(tmp_path: Path) -> None:
    """Docker Hardened Images have their attestations in another registry."""
    found = settings(tmp_path, ", referrers: {from: 'registry.scout.docker.com/{repository}'}")
    assert found.source_of(Repository.parse("dhi.io/python")) == Repository("registry.scout.docker.com", "python")
    assert found.target_of(Repository.parse("t.io/python")) == Repository("t.io", "python")
