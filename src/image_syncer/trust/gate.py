"""Gates: decide whether an image may reach its targets, by its digest, its signatures and what is attached to it."""

from typing import Final

from image_syncer.errors import NotTrusted
from image_syncer.oci import Digest
from image_syncer.roles import GatedImage
from image_syncer.trust.evidence import Evidence, SignedFact, Signers, Verifier
from image_syncer.trust.facts import contradicts, meets
from image_syncer.trust.keyless import KeylessVerifier
from image_syncer.trust.keys import load_public_key
from image_syncer.trust.trust_settings import KeySigner, Requirement, Signer, TrustSettings, check_installed

_SIGN: Final = "sign the image and run again, or change `trust:` of the rule"
_ATTACH: Final = "attach it and run again, or change `trust:` of the rule"


class TrustGate:
    """The gate of *settings* (`roles.Gate`); raises `UsageError` if a key or a trusted root cannot be used.

    A signature has to cover the digest that the source names: the index of an image for several platforms, as cosign
    signs it. Signatures of single platforms do not count for the index. Facts may be attached to the index, or to each
    of its platforms.
    """

    def __init__(self, settings: TrustSettings) -> None:
        if settings.needs_libraries:
            check_installed("trust: `cosign`")
        self._trust = settings
        self._verifiers = [_verifier(signer) for signer in settings.signers]
        self._everyone: Signers = frozenset(range(len(settings.signers)))
        self._settings = settings.identifier

    @property
    def settings(self) -> str:
        """A short text that changes with the gate's settings."""
        return self._settings

    @property
    def trust(self) -> TrustSettings:
        """The settings of this gate."""
        return self._trust

    async def check(self, image: GatedImage) -> None:
        """Return if *image* may be copied; `NotTrusted` otherwise, and errors of reading that may pass."""
        what = f"{image.source} ({image.root})"
        allowed = self._trust.digests
        if allowed is not None and image.root not in allowed:
            raise NotTrusted(
                f"{what}: its digest is not among the {len(allowed)} allowed ones",
                remedy="add it to the file at `digests`, if it is the right one",
            )
        evidence = Evidence(image, self._verifiers)
        await self._check_signers(image, evidence, what)
        await self._check_facts(image, evidence, what)

    async def _check_signers(self, image: GatedImage, evidence: Evidence, what: str) -> None:
        signers = self._trust.signers
        if not signers:
            return
        found = await evidence.signers_of(image.root, self._everyone, each=self._trust.all_signers)
        if self._is_enough(found):
            return
        missing = [str(signer) for place, signer in enumerate(signers) if place not in found]
        joined = (" and " if self._trust.all_signers else " or ").join(missing)
        why = evidence.why or _nothing_attached(image)
        raise NotTrusted(f"not signed by {joined}: {what}: {why}", remedy=_SIGN)

    async def _check_facts(self, image: GatedImage, evidence: Evidence, what: str) -> None:
        if not self._trust.requirements:
            return
        subjects = (image.root, *sorted(image.platforms - {image.root}))
        facts = {subject: [fact async for fact in evidence.facts_about(subject)] for subject in subjects}
        for requirement in self._trust.requirements:
            self._check_requirement(requirement, facts, image, f"{what}: {evidence.why or 'nothing of it is attached'}")

    def _check_requirement(
        self, requirement: Requirement, facts: dict[Digest, list[SignedFact]], image: GatedImage, what: str
    ) -> None:
        counted = {subject: [one for one in found if self._counts(one)] for subject, found in facts.items()}
        against = [one for found in counted.values() for one in found if contradicts(requirement, one.fact)]
        if against:
            worst = against[0].fact.severity or "unreadable"
            raise NotTrusted(
                f"{requirement} is required: {image.source} ({image.root}): the scan {against[0].source} is {worst}",
                remedy="mend the findings and scan again, or change `trust:` of the rule",
            )
        met = {subject for subject, found in counted.items() if any(meets(requirement, one.fact) for one in found)}
        if image.root in met or (image.platforms and image.platforms <= met):
            return
        unsigned = [one for found in facts.values() for one in found if meets(requirement, one.fact)]
        if unsigned and not met:
            joined = " or ".join(map(str, self._trust.signers))
            where = f"{image.source} ({image.root})"
            raise NotTrusted(
                f"{requirement} is required: {where}: {unsigned[0].source} is not signed by {joined}",
                remedy="sign it, or accept unsigned facts with `unsigned: true`",
            )
        raise NotTrusted(f"{requirement} is required: {what}", remedy=_ATTACH)

    def _counts(self, found: SignedFact) -> bool:
        return self._trust.unsigned or self._is_enough(found.signers)

    def _is_enough(self, found: Signers) -> bool:
        return found == self._everyone if self._trust.all_signers else bool(found)


def _verifier(signer: Signer) -> Verifier:
    if isinstance(signer, KeySigner):
        return load_public_key(signer.pem, str(signer))
    return KeylessVerifier(signer)


def _nothing_attached(image: GatedImage) -> str:
    if any(attachment.subject == image.root for attachment in image.attachments):
        return "nothing that is attached is a signature"
    if image.attachments:
        return "only single platforms have anything attached; sign the index (cosign sign --recursive)"
    return "nothing is attached"
