"""What attached documents say: kinds, builders and severities; what cannot be read never counts as harmless."""

import json
from typing import Any

import pytest

from image_syncer.errors import ImageSyncerError
from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.trust.dsse import Statement
from image_syncer.trust.facts import Fact, contradicts, fact_of_document, fact_of_statement, meets
from image_syncer.trust.trust_settings import Requirement, Severity

MEDIUM = Requirement(ReferrerKind.SCAN, max_severity=Severity.MEDIUM)


def sarif(result: dict[str, Any], *rules: dict[str, Any]) -> dict[str, Any]:
    """Return a report with one result."""
    return {"version": "2.1.0", "runs": [{"tool": {"driver": {"rules": list(rules)}}, "results": [result]}]}


def scored(name: str, score: object) -> dict[str, Any]:
    """Return a rule with that CVSS score."""
    return {"id": name, "properties": {"security-severity": score}}


SCANS: list[tuple[dict[str, Any], Severity | None]] = [
    (sarif({"ruleId": "a"}, scored("a", "9.0")), Severity.CRITICAL),
    (sarif({"ruleId": "a"}, scored("a", "8.9")), Severity.HIGH),
    (sarif({"ruleId": "a"}, scored("a", "6.9")), Severity.MEDIUM),
    (sarif({"ruleId": "a"}, scored("a", 0.1)), Severity.LOW),
    (sarif({"ruleId": "a"}, scored("a", "0")), Severity.NONE),
    (sarif({"ruleId": "a/detail"}, scored("a", "9.0")), Severity.CRITICAL),
    (sarif({"ruleIndex": 1}, scored("a", "1"), scored("b", "9.9")), Severity.CRITICAL),
    (sarif({"rule": {"id": "b"}}, scored("a", "1"), scored("b", "9.9")), Severity.CRITICAL),
    (sarif({"ruleId": "a"}, scored("a", "1"), scored("a", "9.9")), Severity.CRITICAL),
    (sarif({"ruleId": "a", "level": "note"}, scored("a", "9.9")), Severity.CRITICAL),
    (sarif({"ruleId": "a"}, scored("a", "nonsense")), Severity.CRITICAL),
    (sarif({"ruleId": "a"}, scored("a", "nan")), Severity.CRITICAL),
    (sarif({"ruleId": "a"}, scored("a", -1)), Severity.CRITICAL),
    (sarif({"level": "error"}), Severity.HIGH),
    (sarif({}), Severity.MEDIUM),
    (sarif({"level": "unheard of"}), Severity.HIGH),
    (sarif({"ruleId": "a"}, {"id": "a", "defaultConfiguration": {"level": "note"}}), Severity.LOW),
    (sarif({"kind": "pass", "level": "error"}), Severity.NONE),
    (sarif({"baselineState": "absent", "level": "error"}), Severity.NONE),
    ({"runs": []}, None),
    ({"runs": [{"tool": {}}]}, None),
    ({"runs": [None]}, None),
    ({"something": "else"}, None),
    ({"Results": [{"Vulnerabilities": [{"Severity": "LOW"}, {"Severity": "HIGH"}]}]}, Severity.HIGH),
    ({"Results": [{"Vulnerabilities": [{"Severity": "UNKNOWN"}]}]}, Severity.CRITICAL),
    ({"Results": [{}]}, Severity.NONE),
    ({"scanner": {"result": [{"severity": [{"score": "5.5"}, {"score": "7.5"}]}]}}, Severity.HIGH),
    ({"scanner": {"result": [{"severity": [{"score": "moderate"}]}]}}, Severity.MEDIUM),
    ({"scanner": {"result": [{}]}}, Severity.CRITICAL),
    ({"scanner": {"result": sarif({"level": "note"})}}, Severity.LOW),
]


@pytest.mark.parametrize(("document", "severity"), SCANS)
def test_the_worst_finding_counts(document: dict[str, Any], severity: Severity | None) -> None:
    """A form that is not known, or a score that is none, never makes a scan better."""
    fact = fact_of_document("application/sarif+json", json.dumps(document).encode(), "scan")
    assert fact == Fact(ReferrerKind.SCAN, severity=severity)
    assert fact is not None
    assert meets(MEDIUM, fact) == (severity in {Severity.NONE, Severity.LOW, Severity.MEDIUM})
    assert contradicts(MEDIUM, fact) != meets(MEDIUM, fact)
    assert meets(Requirement(ReferrerKind.SCAN), fact)


@pytest.mark.parametrize(
    ("predicate_type", "predicate", "expected"),
    [
        ("https://spdx.dev/Document", {}, Fact(ReferrerKind.SBOM)),
        ("https://spdx.dev/Document/v2.3", {}, Fact(ReferrerKind.SBOM)),
        ("https://cyclonedx.org/bom", {}, Fact(ReferrerKind.SBOM)),
        (
            "https://slsa.dev/provenance/v1",
            {"runDetails": {"builder": {"id": "b"}}},
            Fact(ReferrerKind.PROVENANCE, builder="b"),
        ),
        ("https://slsa.dev/provenance/v0.2", {"builder": {"id": "b"}}, Fact(ReferrerKind.PROVENANCE, builder="b")),
        ("https://slsa.dev/provenance/v1", {"runDetails": {"builder": "b"}}, Fact(ReferrerKind.PROVENANCE)),
        ("https://openvex.dev/ns/v0.2.0", {}, Fact(ReferrerKind.VEX)),
        ("https://cosign.sigstore.dev/attestation/vuln/v1", None, Fact(ReferrerKind.SCAN)),
        ("https://sigstore.dev/cosign/sign/v1", {}, None),
        ("https://evil.example/https://spdx.dev/Document", {}, None),
        ("https://spdx.dev/Documentary", {}, None),
    ],
)
def test_the_predicate_says_what_a_statement_is(predicate_type: str, predicate: object, expected: Fact | None) -> None:
    """By its whole type."""
    assert fact_of_statement(Statement(frozenset({Digest.of(b"x")}), predicate_type, predicate)) == expected


def test_a_document_has_to_be_what_its_type_says() -> None:
    """An SBOM in JSON has to be JSON; XML and plain text are not read."""
    assert fact_of_document("application/spdx+json", b"{}", "sbom") == Fact(ReferrerKind.SBOM)
    assert fact_of_document("application/vnd.cyclonedx+xml", b"<bom/>", "sbom") == Fact(ReferrerKind.SBOM)
    assert fact_of_document("text/plain", b"{}", "readme") is None
    for kind, content in (("application/spdx+json", b"<"), ("text/spdx", b""), ("application/sarif+json", b"[]")):
        with pytest.raises(ImageSyncerError):
            fact_of_document(kind, content, "broken")
