"""Negative cache for manifests that a target refuses permanently, such as Docker's types at a registry of OCI types.

A later run would send the same manifest to the same repository, with the same result. So it fails at once, without a
request, until something changes: the image, the repository, the settings of the rule, the login or this tool's version,
on which the key of the fact depends. The registry may change too, so a refusal expires after 24 hours. `force` sends
the manifest again, and a success then removes the refusal.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from image_syncer import __version__
from image_syncer.errors import CopyFailed, Refused, SparseIndexRefused, TooLarge
from image_syncer.oci import Repository
from image_syncer.oci.content_selection import IndexForm
from image_syncer.roles import HostFact, HostFacts
from image_syncer.structs import replace
from image_syncer.sync.plan import Copy, PlannedCopy

REFUSED_SECONDS: Final = 24 * 3600.0
SPARSE_SECONDS: Final = 7 * 24 * 3600.0
"""How long it is remembered that a registry takes no sparse index."""

_SPARSE: Final = "sparse indexes"

_STATUSES: Final = frozenset({413, 415})
_CODES: Final = frozenset({"MANIFEST_INVALID", "MANIFEST_UNVERIFIED"})
_STEP: Final = "push manifest"
_MESSAGE_LIMIT: Final = 500  # With the remedy, and all quotes escaped, a fact of at most 2000 characters.
_REMEDY_LIMIT: Final = 300


def is_manifest_refusal(failure: CopyFailed) -> bool:
    """Whether *failure* is about the manifest itself, so that it holds for every tag and does not heal by a retry."""
    cause = failure.cause
    if failure.step != _STEP or type(cause) not in {Refused, TooLarge}:
        return False
    return cause.status in _STATUSES or cause.code in _CODES


class ManifestRefusals:
    """The manifests that targets have refused, in *facts*. *users* returns the user names for a target repository."""

    def __init__(self, facts: HostFacts, users: Callable[[Repository], Sequence[str]]) -> None:
        self._facts = facts
        self._users = users

    def learn(self, planned: PlannedCopy, failures: Iterable[CopyFailed], *, forced: bool) -> None:
        """Record the first of *failures* that refuses the manifest itself; without failures, a *forced* copy ends it.

        A copy that is not forced is made only without a known refusal, so its success says nothing new.
        """
        failures = list(failures)
        if any(isinstance(failure.cause, SparseIndexRefused) for failure in failures):
            self._facts.remember(_host(planned), _SPARSE, "refused", seconds=SPARSE_SECONDS)
            return
        refusal = next((failure for failure in failures if is_manifest_refusal(failure)), None)
        if refusal is not None:
            value = _to_text(refusal)
            self._facts.remember(_host(planned), self._key(planned), value, seconds=REFUSED_SECONDS)
        elif forced and not failures:
            self._facts.forget(_host(planned), self._key(planned))

    async def find(self, planned: PlannedCopy) -> CopyFailed | None:
        """Return the failure of *planned* if its target has refused the same manifest; None if it may be pushed."""
        fact = await self._facts.get(_host(planned), self._key(planned))
        return None if fact is None else _to_failure(fact)

    async def choose_form(self, copy: Copy) -> Copy:
        """Return *copy* with the form of index that its target takes, if the rule leaves that to the target."""
        content = copy.platforms.content
        if content is None or not content.index.is_auto:
            return copy
        refused = await self._facts.get(copy.target.repository.registry, _SPARSE) is not None
        form = IndexForm.AUTO_TRIMMED if refused else IndexForm.AUTO_SPARSE
        return replace(copy, platforms=replace(copy.platforms, content=replace(content, index=form)))

    def _key(self, planned: PlannedCopy) -> str:
        copy = planned.copy
        settings = copy.renames_digests, copy.nondistributable_layers
        repository = copy.target.repository
        parts = (str(repository), str(planned.target_digest), settings, __version__, self._users(repository))
        return f"refused manifest {hashlib.sha256(repr(parts).encode()).hexdigest()}"


def _host(planned: PlannedCopy) -> str:
    return planned.copy.target.repository.registry


def _to_text(failure: CopyFailed) -> str:
    cause = failure.cause
    parts = {
        "message": cause.message[:_MESSAGE_LIMIT],
        "status": cause.status,
        "code": None if cause.code is None else cause.code[:100],
        "remedy": None if cause.remedy is None else cause.remedy[:_REMEDY_LIMIT],
    }
    return json.dumps(parts, ensure_ascii=False)


def _to_failure(fact: HostFact) -> CopyFailed | None:
    """Return the failure in *fact*; None if it cannot be read, as one of another version may be."""
    try:
        match json.loads(fact.value):
            case {"message": str(message), "status": int() | None as status, "code": code, "remedy": remedy}:
                pass
            case _:
                return None
    except ValueError:
        return None
    when = f"{fact.recorded_at:%Y-%m-%d %H:%M} UTC"
    again = f"remembered from {when}; not sent again for 24 hours, unless image, rule or login change, or with --force"
    error = Refused(f"{message} ({again})", status=status, code=_text(code), remedy=_text(remedy))
    return CopyFailed(error, side="target", step=_STEP)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
