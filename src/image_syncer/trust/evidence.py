"""What is attached to one image, and who has signed it. Reads as little as its callers need, within bounds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, TypeVar

from image_syncer.errors import CopyFailed, NotFound, ProtocolError, StoreError, TooLarge
from image_syncer.oci import Descriptor, Digest, Manifest, RawManifest
from image_syncer.oci.referrer import BUNDLE_TYPE_PREFIX
from image_syncer.roles import Attachment, GatedImage
from image_syncer.structs import Struct
from image_syncer.trust.bundle import Bundle, parse_bundle
from image_syncer.trust.cosign_legacy import (
    ENVELOPE_MEDIA_TYPE,
    PAYLOAD_LIMIT_BYTES,
    PAYLOAD_MEDIA_TYPE,
    LegacySignature,
    legacy_signatures,
    signed_digest,
)
from image_syncer.trust.dsse import PAYLOAD_TYPE, Envelope, Statement, parse_envelope, parse_statement, statement_of
from image_syncer.trust.facts import SIGN_PREDICATE, Fact, fact_of_document, fact_of_statement, kind_of_type
from image_syncer.trust.keyless import KeylessVerifier, NotVerified
from image_syncer.trust.keys import PublicKey

MANIFESTS_LIMIT: Final = 100
"""How many attached manifests are looked at for one image."""

SIGNATURES_LIMIT: Final = 100
"""How many signatures are verified for one image."""

READ_LIMIT_BYTES: Final = 128 * 1024 * 1024
"""How much is read of the blobs of attached manifests for one image."""

_REASONS_LIMIT: Final = 3
_T = TypeVar("_T")

Verifier = PublicKey | KeylessVerifier
Signers = frozenset[int]
"""Signers by their place in the settings."""


class SignedFact(Struct):
    """A *fact* that *source* is attached for, and the signers of it; without any it is only attached."""

    fact: Fact
    signers: Signers
    source: Digest


class Evidence:
    """What is attached to *image*, verified by *verifiers*; raises errors of reading that may pass (`StoreError`)."""

    def __init__(self, image: GatedImage, verifiers: Sequence[Verifier]) -> None:
        self._image = image
        self._verifiers = verifiers
        self._by_subject: dict[Digest, list[Attachment]] = {}
        for attachment in image.attachments:
            self._by_subject.setdefault(attachment.subject, []).append(attachment)
        self._looked_at: set[Digest] = set()
        self._verified = 0
        self._read_bytes = 0
        self._reasons: dict[str, None] = {}

    @property
    def why(self) -> str:
        """Why what was looked at did not count, in short; empty if there was nothing."""
        reasons = list(self._reasons)
        more = len(reasons) - _REASONS_LIMIT
        return "; ".join(reasons[:_REASONS_LIMIT]) + (f"; and {more} more" if more > 0 else "")

    async def signers_of(self, subject: Digest, wanted: Signers, *, each: bool) -> Signers:
        """Return who of *wanted* has signed *subject*; stops at the first one, or with *each* when all have."""
        found: Signers = frozenset()
        for attachment in self._by_subject.get(subject, ()):
            if not _may_be_signature(attachment):
                continue
            async for signers in self._signatures(attachment):
                found |= signers & wanted
                if found == wanted or (found and not each):
                    return found
        return found

    async def facts_about(self, subject: Digest) -> AsyncIterator[SignedFact]:
        """Yield the facts that are attached to *subject*."""
        for attachment in self._by_subject.get(subject, ()):
            manifest = await self._manifest(attachment)
            for layer in _layers(manifest):
                fact = await self._fact(attachment, manifest, layer) if manifest is not None else None
                if fact is not None:
                    yield fact

    async def _signatures(self, attachment: Attachment) -> AsyncIterator[Signers]:
        """Yield the signers of each signature in *attachment* over its subject."""
        manifest = await self._manifest(attachment)
        if manifest is None:
            return
        for legacy in legacy_signatures(manifest):
            yield await self._legacy(attachment, legacy)
        for layer in _layers(manifest):
            if layer.media_type.startswith(BUNDLE_TYPE_PREFIX):
                bundle = await self._bundle(attachment, layer)
                if bundle is not None:
                    yield await self._bundle_signers(attachment, bundle)

    async def _bundle_signers(self, attachment: Attachment, bundle: Bundle) -> Signers:
        """Return who has signed the subject of *attachment* in *bundle*, as a signature and nothing else."""
        if bundle.envelope is None:
            return await self._verify(attachment, bundle, None)
        statement = self._statement(attachment, bundle.envelope)
        if statement is None or statement.predicate_type != SIGN_PREDICATE:
            return frozenset()
        return await self._verify(attachment, bundle, bundle.envelope)

    async def _fact(self, attachment: Attachment, manifest: RawManifest, layer: Descriptor) -> SignedFact | None:
        what = f"{attachment.entry.digest}"
        envelope: Envelope | None = None
        signers: Signers = frozenset()
        fact: Fact | None = None
        if layer.media_type.startswith(BUNDLE_TYPE_PREFIX):
            bundle = await self._bundle(attachment, layer)
            envelope = bundle.envelope if bundle is not None else None
            fact = self._stated(attachment, envelope)
            if fact is not None and bundle is not None:
                signers = await self._verify(attachment, bundle, envelope)
        elif layer.media_type == ENVELOPE_MEDIA_TYPE:
            content = await self._blob(attachment, layer)
            envelope = None if content is None else self._parsed(what, lambda: parse_envelope(content, what))
            fact = self._stated(attachment, envelope)
            if fact is not None and envelope is not None:
                signers = self._verify_by_keys(attachment, envelope)
        elif layer.media_type == PAYLOAD_TYPE or kind_of_type(_type_of(attachment, layer)) is not None:
            fact = await self._bare_fact(attachment, layer)
        if fact is None:
            return None
        if not signers and self._verifiers and not attachment.tag:
            # A signature of the attached manifest covers its blobs and its subject. Behind a legacy tag there is no
            # subject: a signed SBOM of one image could be tagged as that of another.
            everyone = frozenset(range(len(self._verifiers)))
            signers = await self.signers_of(manifest.digest, everyone, each=True)
        return SignedFact(fact, signers, attachment.entry.digest)

    async def _bare_fact(self, attachment: Attachment, layer: Descriptor) -> Fact | None:
        what = f"{attachment.entry.digest}"
        content = await self._blob(attachment, layer)
        if content is None:
            return None
        if layer.media_type != PAYLOAD_TYPE:
            return self._parsed(what, lambda: fact_of_document(_type_of(attachment, layer), content, what))
        statement = self._parsed(what, lambda: parse_statement(content, what))
        if statement is None or not self._is_about(attachment, statement):
            return None
        return fact_of_statement(statement)

    def _stated(self, attachment: Attachment, envelope: Envelope | None) -> Fact | None:
        statement = None if envelope is None else self._statement(attachment, envelope)
        return None if statement is None else fact_of_statement(statement)

    def _statement(self, attachment: Attachment, envelope: Envelope) -> Statement | None:
        """Return the statement in *envelope*, if it is about the subject of *attachment*."""
        what = f"{attachment.entry.digest}"
        statement = self._parsed(what, lambda: statement_of(envelope, what))
        return statement if statement is not None and self._is_about(attachment, statement) else None

    def _is_about(self, attachment: Attachment, statement: Statement) -> bool:
        if attachment.subject in statement.subjects:
            return True
        self._note(attachment, "a statement about another digest")
        return False

    async def _legacy(self, attachment: Attachment, legacy: LegacySignature) -> Signers:
        if legacy.is_keyless:
            self._note(attachment, "a keyless signature in cosign's legacy form, which is not verified")
            return frozenset()
        if (legacy.payload.size or 0) > PAYLOAD_LIMIT_BYTES:
            self._note(attachment, "a payload that is too large")
            return frozenset()
        what = f"{attachment.entry.digest}"
        payload = await self._blob(attachment, legacy.payload)
        digest = None if payload is None else self._parsed(what, lambda: signed_digest(payload, what))
        if payload is None or digest is None:
            return frozenset()
        if digest != attachment.subject:
            self._note(attachment, "a signature of another digest")
            return frozenset()
        keys = self._keys()
        found = [place for place, key in keys.items() if self._spend() and key.has_signed(legacy.signature, payload)]
        if keys and not found:
            self._note(attachment, "signed by another key, or changed since")
        return frozenset(found)

    async def _verify(self, attachment: Attachment, bundle: Bundle, envelope: Envelope | None) -> Signers:
        """Return the signers of *bundle*, whose statement or subject the caller has checked."""
        if bundle.is_keyless:
            return await self._verify_keyless(attachment, bundle)
        if envelope is not None:
            return self._verify_by_keys(attachment, envelope)
        found = [
            place
            for place, key in self._keys().items()
            if self._spend() and key.has_signed_digest(bundle.signature, attachment.subject)
        ]
        if not found:
            self._note(attachment, "signed by another key, or changed since")
        return frozenset(found)

    def _verify_by_keys(self, attachment: Attachment, envelope: Envelope) -> Signers:
        if not self._keys():
            self._note(attachment, "signed by a key; the rule has only identities")
            return frozenset()
        found = {
            place
            for place, key in self._keys().items()
            for signature in envelope.signatures
            if self._spend() and key.has_signed(signature, envelope.pae)
        }
        if not found:
            self._note(attachment, "signed by another key, or changed since")
        return frozenset(found)

    async def _verify_keyless(self, attachment: Attachment, bundle: Bundle) -> Signers:
        found: set[int] = set()
        if len(self._keys()) == len(self._verifiers):
            self._note(attachment, "a keyless signature; the rule has only keys")
        for place, verifier in enumerate(self._verifiers):
            if isinstance(verifier, PublicKey) or not self._spend():
                continue
            try:
                if bundle.envelope is not None:
                    await asyncio.to_thread(verifier.verify_statement, bundle.content)
                else:
                    await asyncio.to_thread(verifier.verify_digest, bundle.content, attachment.subject)
            except NotVerified as error:
                self._note(attachment, str(error))
            else:
                found.add(place)
        return frozenset(found)

    def _keys(self) -> Mapping[int, PublicKey]:
        return {place: key for place, key in enumerate(self._verifiers) if isinstance(key, PublicKey)}

    def _spend(self) -> bool:
        """Count one verification; False once there were too many."""
        if self._verified >= SIGNATURES_LIMIT:
            self._reasons[f"only the first {SIGNATURES_LIMIT} signatures were verified"] = None
            return False
        self._verified += 1
        return True

    async def _manifest(self, attachment: Attachment) -> RawManifest | None:
        """Return the attached manifest; None if it cannot be read for good, or too many were looked at."""
        if attachment.entry.digest not in self._looked_at and len(self._looked_at) >= MANIFESTS_LIMIT:
            self._reasons[f"only the first {MANIFESTS_LIMIT} attached manifests were looked at"] = None
            return None
        self._looked_at.add(attachment.entry.digest)
        try:
            manifest = await self._image.reader.manifest(attachment)
            subject = manifest.parse().subject
        except (StoreError, CopyFailed) as error:
            self._note(attachment, _permanent(error))
            return None
        if not attachment.tag and (subject is None or subject.digest != attachment.subject):
            self._note(attachment, "it does not name the image as its subject")
            return None
        return manifest

    async def _bundle(self, attachment: Attachment, layer: Descriptor) -> Bundle | None:
        what = f"{attachment.entry.digest}"
        content = await self._blob(attachment, layer)
        return None if content is None else self._parsed(what, lambda: parse_bundle(content, what))

    async def _blob(self, attachment: Attachment, blob: Descriptor) -> bytes | None:
        self._read_bytes += blob.size or 0
        if self._read_bytes > READ_LIMIT_BYTES:
            self._reasons[f"only the first {READ_LIMIT_BYTES // 1024**2} MiB were read"] = None
            return None
        try:
            return await self._image.reader.blob(attachment, blob)
        except (StoreError, CopyFailed) as error:
            self._note(attachment, _permanent(error))
            return None

    def _parsed(self, what: str, parse: Callable[[], _T | None]) -> _T | None:
        try:
            return parse()
        except (ProtocolError, TooLarge) as error:
            self._reasons[error.message if what in error.message else f"{what}: {error.message}"] = None
            return None

    def _note(self, attachment: Attachment, reason: str) -> None:
        self._reasons[f"{attachment.entry.digest}: {reason}"] = None


def _permanent(error: StoreError | CopyFailed) -> str:
    """Return the message of an error that stays; raise one that may pass: then the gate knows nothing yet."""
    cause = error.cause if isinstance(error, CopyFailed) else error
    if isinstance(cause, NotFound | ProtocolError | TooLarge):
        return cause.message
    raise error


def _layers(manifest: RawManifest | None) -> tuple[Descriptor, ...]:
    parsed = None if manifest is None else manifest.parse()
    return parsed.layers if isinstance(parsed, Manifest) else ()


def _may_be_signature(attachment: Attachment) -> bool:
    """Whether *attachment* may hold a signature, by what its list says; lists often say nothing."""
    kind = attachment.entry.artifact_type
    if attachment.tag:
        return attachment.tag.endswith(".sig")
    return not kind or kind.startswith(BUNDLE_TYPE_PREFIX) or "cosign" in kind or kind == PAYLOAD_MEDIA_TYPE


def _type_of(attachment: Attachment, layer: Descriptor) -> str:
    """Return the type of a bare document: that of the blob, or else of the whole artifact."""
    return layer.media_type if kind_of_type(layer.media_type) else attachment.entry.artifact_type
