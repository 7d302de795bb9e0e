"""What became of the manifests that are attached to one image, for results and reports."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.structs import Struct

SUBJECT_CHANGED: Final = "subject changed"
"""The manifest it belongs to is not at the target under the same digest, since it was filtered or renamed."""

RECORDED_PROBLEMS: Final = 20
"""How many refused referrers of an image, and how many that were not carried, a record keeps."""

Counts = tuple[tuple[ReferrerKind, int], ...]
"""How many there are of each kind, in the order of the kinds."""


class ReferrerProblem(Struct):
    """An attached manifest that did not reach the target: its *digest* and *kind* at the source, and the *reason*."""

    digest: Digest
    kind: ReferrerKind
    reason: str


class ReferrerReport(Struct):
    """The attached manifests at the *source* and at the *target*, of which *copied* are new there.

    *refused*: the target did not accept them, or has others in their place. *not_carried*: they were not sent.
    """

    source: Counts = ()
    target: Counts = ()
    copied: int = 0
    refused: tuple[ReferrerProblem, ...] = ()
    not_carried: tuple[ReferrerProblem, ...] = ()

    @property
    def total(self) -> int:
        """The number of attached manifests at the source."""
        return sum(number for _, number in self.source)

    @property
    def document(self) -> Mapping[str, Any]:
        """The report as JSON values."""
        return {
            "source": {kind.value: number for kind, number in self.source},
            "target": {kind.value: number for kind, number in self.target},
            "copied": self.copied,
            "refused": _problems(self.refused),
            "not_carried": _problems(self.not_carried),
        }


def counts(kinds: Iterable[ReferrerKind]) -> Counts:
    """Return the number of each of *kinds*."""
    counted = Counter(kinds)
    return tuple((kind, counted[kind]) for kind in ReferrerKind if counted[kind])


@lru_cache(maxsize=256)
def plain_report(source: Counts, target: Counts, copied: int) -> ReferrerReport:
    """Return a report without problems; equal ones are one object, since a run keeps up to 100 000."""
    return ReferrerReport(source, target, copied)


def report_text(report: ReferrerReport) -> str:
    """Return *report* as the text of a record, with the first 20 problems of each kind."""
    document = dict(report.document)
    for key in ("refused", "not_carried"):
        document[key] = document[key][:RECORDED_PROBLEMS]
    return json.dumps(document, separators=(",", ":"))


def report_of_text(text: str) -> ReferrerReport:
    """Return the report that `report_text` made *text* from."""
    document = json.loads(text)
    source, target = (
        tuple((ReferrerKind(kind), number) for kind, number in document[side].items()) for side in ("source", "target")
    )
    if not document["refused"] and not document["not_carried"]:
        return plain_report(source, target, document["copied"])
    refused, left = (
        tuple(
            ReferrerProblem(Digest.parse(one["digest"]), ReferrerKind(one["kind"]), one["reason"])
            for one in document[key]
        )
        for key in ("refused", "not_carried")
    )
    return ReferrerReport(source, target, document["copied"], refused, left)


def _problems(problems: Iterable[ReferrerProblem]) -> list[Mapping[str, str]]:
    return [{"digest": str(one.digest), "kind": one.kind.value, "reason": one.reason} for one in problems]
