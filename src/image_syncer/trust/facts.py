"""Facts that are attached to an image: SBOMs, provenance, scans and VEX documents, as statements or bare documents."""

import re
from collections.abc import Iterator
from typing import Final, cast

from image_syncer.bounded_json import JsonObject, parse_object
from image_syncer.errors import ProtocolError
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.structs import Struct
from image_syncer.trust.dsse import VALUES_LIMIT, Statement
from image_syncer.trust.trust_settings import Requirement, Severity

SIGN_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
"""The predicate of a statement that is nothing but a signature."""

_SBOM_PREDICATES: Final = re.compile(r"https://(spdx\.dev/Document|cyclonedx\.org/bom|syft\.dev/bom)(/.*)?")
_PROVENANCE_PREDICATES: Final = re.compile(r"https://slsa\.dev/provenance/v.*")
_VEX_PREDICATES: Final = re.compile(r"https://openvex\.dev/ns.*|https://docs\.oasis-open\.org/csaf/.*|.*/vex(/.*)?")
_SCAN_PREDICATES: Final = re.compile(r".*(sarif|/vuln|scan|trivy|grype).*", re.IGNORECASE)

_KINDS_OF_PREDICATES: Final = (
    (_SBOM_PREDICATES, ReferrerKind.SBOM),
    (_PROVENANCE_PREDICATES, ReferrerKind.PROVENANCE),
    (_VEX_PREDICATES, ReferrerKind.VEX),
    (_SCAN_PREDICATES, ReferrerKind.SCAN),
)
_KINDS_OF_TYPES: Final = {
    "application/spdx+json": ReferrerKind.SBOM,
    "text/spdx+json": ReferrerKind.SBOM,
    "text/spdx": ReferrerKind.SBOM,
    "application/vnd.cyclonedx+json": ReferrerKind.SBOM,
    "application/vnd.cyclonedx+xml": ReferrerKind.SBOM,
    "application/vnd.cyclonedx": ReferrerKind.SBOM,
    "application/vnd.syft+json": ReferrerKind.SBOM,
    "application/sarif+json": ReferrerKind.SCAN,
    "application/vnd.openvex+json": ReferrerKind.VEX,
    "application/vex+json": ReferrerKind.VEX,
    "application/json+vex": ReferrerKind.VEX,
}
_CRITICAL, _HIGH, _MEDIUM = 9.0, 7.0, 4.0  # CVSS 3.1, "Qualitative Severity Rating Scale".
_CVSS_MOST: Final = 10.0
_LEVELS: Final = {
    "error": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "note": Severity.LOW,
    "none": Severity.NONE,
}
_NAMES: Final = {
    "negligible": Severity.LOW,
    "low": Severity.LOW,
    "minor": Severity.LOW,
    "medium": Severity.MEDIUM,
    "moderate": Severity.MEDIUM,
    "high": Severity.HIGH,
    "important": Severity.HIGH,
    "critical": Severity.CRITICAL,
}


class Fact(Struct):
    """What is attached: the *builder* of provenance, and the worst finding of a scan, None if it cannot be read."""

    kind: ReferrerKind
    builder: str = ""
    severity: Severity | None = None


def kind_of_type(media_type: str) -> ReferrerKind | None:
    """Return the kind of a bare document of *media_type*; None if it is no fact."""
    return _KINDS_OF_TYPES.get(media_type)


def fact_of_statement(statement: Statement) -> Fact | None:
    """Return what *statement* says; None if that is nothing that a rule can require."""
    for pattern, kind in _KINDS_OF_PREDICATES:
        if pattern.fullmatch(statement.predicate_type):
            predicate = _object(statement.predicate)
            if kind is ReferrerKind.PROVENANCE:
                return Fact(kind, builder=_builder(predicate))
            return Fact(kind, severity=_severity(predicate) if kind is ReferrerKind.SCAN else None)
    return None


def fact_of_document(media_type: str, content: bytes, what: str) -> Fact | None:
    """Return what the bare document in *content* is; None for other types, `ProtocolError` if it is broken."""
    kind = kind_of_type(media_type)
    if kind is None:
        return None
    if not content:
        raise ProtocolError(f"{what}: empty")
    if not media_type.endswith("json") and kind is not ReferrerKind.SCAN:
        return Fact(kind)
    document = parse_object(content, what, values=VALUES_LIMIT)
    return Fact(kind, severity=_severity(document) if kind is ReferrerKind.SCAN else None)


def meets(requirement: Requirement, fact: Fact) -> bool:
    """Whether *fact* alone is what *requirement* asks for."""
    if fact.kind != requirement.kind:
        return False
    if requirement.builder and not _is_builder(fact.builder, requirement.builder):
        return False
    if requirement.max_severity is None:
        return True
    return fact.severity is not None and fact.severity.rank <= requirement.max_severity.rank


def contradicts(requirement: Requirement, fact: Fact) -> bool:
    """Whether *fact* forbids the image, whatever else is attached: a scan with a worse finding than allowed."""
    return (
        fact.kind == requirement.kind
        and requirement.max_severity is not None
        and (fact.severity is None or fact.severity.rank > requirement.max_severity.rank)
    )


def _is_builder(builder: str, wanted: str) -> bool:
    """Whether *builder* is *wanted*, in any version (`...@refs/tags/v2`) unless *wanted* names one."""
    return builder == wanted or builder.startswith(f"{wanted}@")


def _builder(predicate: JsonObject) -> str:
    """Return the builder of SLSA provenance 1.x or 0.x; empty if it is missing."""
    details = _object(predicate.get("runDetails")) or predicate
    identifier = _object(details.get("builder")).get("id")
    return identifier if isinstance(identifier, str) else ""


def _severity(document: JsonObject) -> Severity | None:
    """Return the worst finding of a scan; None if the document is in no known form.

    Known are SARIF, in-toto's `vulns`, and Trivy's report; also inside of cosign's `vuln` predicate.
    """
    result = _object(document.get("scanner")).get("result")
    reports = [document, _object(result)]
    for report in reports:
        if isinstance(report.get("runs"), list):
            return _worst(_sarif(report))
        if isinstance(report.get("Results"), list):
            return _worst(_trivy(report))
    if isinstance(result, list):
        return _worst(_vulns(cast("list[object]", result)))
    return None


def _worst(found: Iterator[Severity | None]) -> Severity | None:
    worst = Severity.NONE
    for severity in found:
        if severity is None:
            return None
        worst = max(worst, severity, key=lambda one: one.rank)
    return worst


def _sarif(report: JsonObject) -> Iterator[Severity | None]:
    """Yield the severity of each finding (SARIF 2.1.0, section 3.27)."""
    if not _list(report.get("runs")):
        yield None  # Nothing was scanned.
    for run in map(_object, _list(report.get("runs"))):
        rules, driver_rules = _sarif_rules(run), _list(_object(_object(run.get("tool")).get("driver")).get("rules"))
        if not isinstance(run.get("results"), list):
            yield None  # A run without results has failed, or was none.
        for result in map(_object, _list(run.get("results"))):
            if result.get("kind", "fail") == "fail" and result.get("baselineState") != "absent":
                yield _sarif_severity(result, rules, driver_rules)


def _sarif_rules(run: JsonObject) -> dict[str, JsonObject]:
    """Return the rules of *run* by identifier, with the worst severity where two rules share one."""
    tool = _object(run.get("tool"))
    components = [_object(tool.get("driver")), *map(_object, _list(tool.get("extensions")))]
    found: dict[str, JsonObject] = {}
    for rule in (_object(rule) for component in components for rule in _list(component.get("rules"))):
        identifier = rule.get("id")
        if isinstance(identifier, str) and (identifier not in found or _score_of(rule) > _score_of(found[identifier])):
            found[identifier] = rule
    return found


def _rule_of(result: JsonObject, rules: dict[str, JsonObject], driver_rules: list[object]) -> JsonObject:
    """Return the rule of *result*: by its identifier (`CVE-1/details` is of the rule `CVE-1`), or else by its index."""
    reference = _object(result.get("rule"))
    identifier: object = result.get("ruleId", reference.get("id"))
    index: object = result.get("ruleIndex", reference.get("index"))
    while isinstance(identifier, str) and identifier:
        if identifier in rules:
            return rules[identifier]
        identifier = identifier.rpartition("/")[0]
    if isinstance(index, int) and 0 <= index < len(driver_rules):
        return _object(driver_rules[index])
    return {}


def _sarif_severity(result: JsonObject, rules: dict[str, JsonObject], driver_rules: list[object]) -> Severity:
    rule = _rule_of(result, rules, driver_rules)
    scores = [score for score in (_score_of(result), _score_of(rule)) if score >= 0]
    if scores:
        return _rated(max(scores))
    level = result.get("level", _object(rule.get("defaultConfiguration")).get("level", "warning"))
    return _LEVELS.get(level, Severity.HIGH) if isinstance(level, str) else Severity.HIGH


def _score_of(value: JsonObject) -> float:
    """Return the CVSS score of a result or a rule; -1 without one."""
    properties = _object(value.get("properties"))
    return -1.0 if "security-severity" not in properties else _score(properties["security-severity"])


def _score(value: object) -> float:
    """Return a CVSS score; what is none counts as the worst."""
    try:
        score = float(value) if isinstance(value, str | int | float) else _CVSS_MOST
    except (ValueError, OverflowError):
        return _CVSS_MOST
    return score if 0 <= score <= _CVSS_MOST else _CVSS_MOST


def _rated(score: float) -> Severity:
    if score >= _CRITICAL:
        return Severity.CRITICAL
    if score >= _HIGH:
        return Severity.HIGH
    if score >= _MEDIUM:
        return Severity.MEDIUM
    return Severity.LOW if score > 0 else Severity.NONE


def _trivy(report: JsonObject) -> Iterator[Severity | None]:
    for result in map(_object, _list(report.get("Results"))):
        for finding in map(_object, _list(result.get("Vulnerabilities"))):
            yield _named(finding.get("Severity"))


def _vulns(findings: list[object]) -> Iterator[Severity | None]:
    """Yield the severities in a `vulns` predicate (in-toto/attestation); a score or a name."""
    for finding in map(_object, findings):
        ratings = [_object(rating).get("score") for rating in _list(finding.get("severity"))]
        yield _worst(_named(rating) if _is_name(rating) else _rated(_score(rating)) for rating in ratings or ["?"])


def _is_name(rating: object) -> bool:
    return isinstance(rating, str) and rating.lower() in _NAMES


def _named(name: object) -> Severity:
    """Return the severity that scanners call *name*; what is unknown counts as critical."""
    return _NAMES.get(name.lower(), Severity.CRITICAL) if isinstance(name, str) else Severity.CRITICAL


def _object(value: object) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
