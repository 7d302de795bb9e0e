"""The values of `trust:` and `attest:`. Plain and frozen; nothing here needs the libraries of the extra `trust`."""

import hashlib
import importlib.util
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal

from image_syncer.errors import UsageError
from image_syncer.extras import install_remedy
from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.structs import Struct, field

_LIBRARIES: Final = ("cryptography", "sigstore", "sigstore_models")

KEY_LIMIT_BYTES: Final = 64 * 1024
"""The largest key in PEM that is read."""

TRUSTED_ROOT_LIMIT_BYTES: Final = 1024 * 1024
"""The largest trusted root that is read."""


class Severity(StrEnum):
    """How bad a finding of a scan is."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The place in the order from harmless to critical."""
        return list(Severity).index(self)


class KeySigner(Struct):
    """`cosign: {key: ...}`: the holder of the private key to the public key *pem*. *name* says where it is from."""

    pem: bytes = field(repr=False)
    name: str = ""

    def __str__(self) -> str:
        return f"the key {self.name}" if self.name else "the key of the rule"

    @property
    def identifier(self) -> str:
        """A text that changes with any setting of the signer."""
        return f"key {hashlib.sha256(self.pem).hexdigest()}"


class KeylessSigner(Struct):
    """`cosign: {keyless: ...}`: an identity, to which *issuer* attests; certificate and log are in *trusted_root*.

    The identity is exactly *identity*, or the regular expression *identity_regex* matches the whole of it.
    *trusted_root* is the content of a `trusted_root.json`.
    """

    issuer: str
    trusted_root: bytes = field(repr=False)
    identity: str = ""
    identity_regex: str = ""

    def __str__(self) -> str:
        return f"{self.identity or f'/{self.identity_regex}/'} of {self.issuer}"

    @property
    def identifier(self) -> str:
        """A text that changes with any setting of the signer."""
        root = hashlib.sha256(self.trusted_root).hexdigest()
        return repr(("keyless", self.issuer, self.identity, self.identity_regex, root))


Signer = KeySigner | KeylessSigner


class Requirement(Struct):
    """One entry of `require:`: an SBOM, provenance, a scan or a VEX document has to be attached.

    *builder* is the builder that the provenance names; empty: any. *max_severity* is the worst finding that each scan
    may have; None: any.
    """

    kind: Literal[ReferrerKind.SBOM, ReferrerKind.PROVENANCE, ReferrerKind.SCAN, ReferrerKind.VEX]
    builder: str = ""
    max_severity: Severity | None = None

    def __str__(self) -> str:
        what = {
            ReferrerKind.SBOM: "an SBOM",
            ReferrerKind.PROVENANCE: "provenance",
            ReferrerKind.SCAN: "a scan",
            ReferrerKind.VEX: "a VEX document",
        }[self.kind]
        if self.builder:
            what += f" of the builder {self.builder}"
        if self.max_severity is not None:
            what += f" without findings above {self.max_severity}"
        return what


class TrustSettings(Struct):
    """The `trust:` of a rule. Everything that is set has to hold before a tag moves.

    *signers* have signed the image: one of them, or with *all_signers* each. *digests* contains the image, unless None.
    *requirements* are met by what is attached; it counts only if *signers* signed it, or with *unsigned* anyway. With
    *skip_refused*, a refused image is skipped instead of failed.
    """

    signers: tuple[Signer, ...] = ()
    all_signers: bool = False
    digests: frozenset[Digest] | None = None
    requirements: tuple[Requirement, ...] = ()
    unsigned: bool = False
    skip_refused: bool = False

    def __post_init__(self) -> None:
        if not self.signers and self.digests is None and not self.requirements:
            raise UsageError("trust: without signers, digests and requirements every image would pass")
        if self.requirements and not self.signers and not self.unsigned:
            raise UsageError(
                "trust: `require` without `cosign`: nothing says who has to sign what is attached",
                remedy="add `cosign`, or accept unsigned facts with `unsigned: true`",
            )

    @property
    def needs_libraries(self) -> bool:
        """Whether a check needs the libraries of the extra `trust`."""
        return bool(self.signers)

    @property
    def identifier(self) -> str:
        """A short text that changes with any setting that decides; no key can be derived from it."""
        signers = [signer.identifier for signer in self.signers]
        allowed = None if self.digests is None else sorted(str(digest) for digest in self.digests)
        required = [
            (one.kind.value, one.builder, one.max_severity and one.max_severity.value) for one in self.requirements
        ]
        parts = ("v1", signers, self.all_signers, allowed, required, self.unsigned)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    @property
    def description(self) -> tuple[str, ...]:
        """What an image that passed was checked for, one text for each check."""
        found: list[str] = []
        if self.signers:
            joined = (" and " if self.all_signers else " or ").join(map(str, self.signers))
            found.append(f"signed by {joined}")
        if self.digests is not None:
            found.append("listed among the allowed digests")
        suffix = " (signed or not)" if self.unsigned else ""
        found += [f"{requirement}{suffix}" for requirement in self.requirements]
        return tuple(found)


class AttestSettings(Struct):
    """The `attest:` of a rule: the private key in PEM that signs statements about copies. *name* says where it is from.

    *verified* lists what a gate has checked before (`TrustSettings.description`).
    """

    pem: bytes = field(repr=False)
    name: str = ""
    verified: tuple[str, ...] = ()


def check_installed(what: str) -> None:
    """Raise `UsageError` if a library of the extra `trust` is not installed; *what* needs it. Imports nothing."""
    missing = _missing()
    if missing:
        raise UsageError(
            f"{what} needs the library {missing[0].replace('_', '-')}, which is not installed",
            remedy=install_remedy("trust"),
        )


def is_installed() -> bool:
    """Whether the libraries of the extra `trust` are installed. Imports nothing."""
    return not _missing()


def _missing() -> list[str]:
    return [library for library in _LIBRARIES if importlib.util.find_spec(library) is None]


def parse_digests(text: str, what: str) -> frozenset[Digest]:
    """Return the digests in *text*, one on each line; empty lines and comments (`#`) are skipped, as are later words.

    *what* names the file in errors.
    """
    return frozenset(_digests(text.splitlines(), what))


def _digests(lines: Iterable[str], what: str) -> Iterable[Digest]:
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            yield Digest.parse(words[0].rpartition("@")[2])
        except UsageError as error:
            raise UsageError(f"{what}:{number}: {error.message}") from None
