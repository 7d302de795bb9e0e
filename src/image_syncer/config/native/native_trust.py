"""The `trust:` and `attest:` of rules and of `defaults:`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from image_syncer.config.bounded_file import read_bounded
from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step, path_text
from image_syncer.config.native.native_trust_model import (
    AttestSection,
    RequirementSection,
    SignerSection,
    TrustSection,
)
from image_syncer.errors import UsageError
from image_syncer.oci import Digest
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.roles import Attester, Gate
from image_syncer.structs import Struct, field
from image_syncer.sync.rule_trust import NO_TRUST, RuleTrust
from image_syncer.trust.trust_settings import (
    KEY_LIMIT_BYTES,
    TRUSTED_ROOT_LIMIT_BYTES,
    AttestSettings,
    KeylessSigner,
    KeySigner,
    Requirement,
    Severity,
    Signer,
    TrustSettings,
    check_installed,
    parse_digests,
)

_FILE_NAME: Final = re.compile(r"[\w.~ /-]{0,200}[./][\w.~ -]{0,60}")
_DIGESTS_LIMIT_BYTES: Final = 64 * 1024 * 1024
_PEM: Final = "-----BEGIN "


class TrustReader(Struct, frozen=False):
    """Reads the sections of *config_file* once each: rules share what `defaults:` gives them.

    *files* are the files that were read for them.
    """

    config_file: SourceFile
    files: dict[str, None] = field(default_factory=dict[str, None])
    _gates: dict[tuple[TrustSection, str], tuple[TrustSettings, Gate]] = field(
        default_factory=dict[tuple[TrustSection, str], tuple[TrustSettings, Gate]]
    )
    _attesters: dict[tuple[str, str, tuple[str, ...]], Attester] = field(
        default_factory=dict[tuple[str, str, tuple[str, ...]], Attester]
    )

    def read(
        self,
        trust: TrustSection | None,
        attest: AttestSection | None,
        trust_place: Sequence[Step],
        attest_place: Sequence[Step],
    ) -> RuleTrust:
        """Return the gate and the attester of the sections at these places; `UsageError` that says what to mend."""
        gate: Gate | None = None
        settings: TrustSettings | None = None
        if trust is not None and trust.enabled is not False:
            settings, gate = self._gate(trust, trust_place)
        attester = None
        if attest is not None and attest.enabled is not False:
            attester = self._attester(attest, settings, attest_place)
        if gate is None and attester is None:
            return NO_TRUST
        return RuleTrust(gate, attester, skips_refused=settings is not None and settings.skip_refused)

    def _gate(self, section: TrustSection, place: Sequence[Step]) -> tuple[TrustSettings, Gate]:
        key = section, self.config_file.file_of(*place)  # Its paths are relative to the file.
        if key not in self._gates:
            settings = TrustSettings(
                tuple(self._signer(signer, (*place, "cosign", at)) for at, signer in enumerate(section.cosign)),
                all_signers=section.match == "all",
                digests=self._digests(section.digests, (*place, "digests")),
                requirements=tuple(
                    _requirement(one, (*place, "require", at)) for at, one in enumerate(section.require)
                ),
                unsigned=section.unsigned,
                skip_refused=section.on_refused == "skip",
            )
            check_installed(path_text(place))
            from image_syncer.trust.gate import TrustGate  # noqa: PLC0415 - its libraries may not be installed

            self._gates[key] = settings, TrustGate(settings)
        return self._gates[key]

    def _attester(self, section: AttestSection, trust: TrustSettings | None, place: Sequence[Step]) -> Attester:
        if section.key is None:
            raise UsageError(f"{path_text(place)}: `key` is missing", remedy="name the file of a private key in PEM")
        key = section.key.get_secret_value()
        verified = () if trust is None else trust.description
        known = key, self.config_file.file_of(*place), verified
        if known not in self._attesters:
            pem, name = self._pem(key, (*place, "key"))
            check_installed(path_text(place))
            from image_syncer.trust.attestation import CopyAttester  # noqa: PLC0415 - see above

            self._attesters[known] = CopyAttester(AttestSettings(pem, name, verified))
        return self._attesters[known]

    def _signer(self, section: SignerSection, place: Sequence[Step]) -> Signer:
        keyless = section.keyless
        if (section.key is None) == (keyless is None):
            raise UsageError(f"{path_text(place)}: `key` or `keyless`, one of them", remedy="write one entry for each")
        if section.key is not None:
            return KeySigner(*self._pem(section.key, (*place, "key")))
        assert keyless is not None  # noqa: S101 - one of them is given
        root = self._file(keyless.trusted_root, (*place, "keyless", "trusted_root"), TRUSTED_ROOT_LIMIT_BYTES)
        return KeylessSigner(keyless.issuer, root, keyless.identity or "", keyless.identity_regex or "")

    def _pem(self, text: str, place: Sequence[Step]) -> tuple[bytes, str]:
        """Return the key in *text*, or in the file that *text* names, and the name of the file."""
        if _PEM in text:
            written = self.config_file.text_in_file(*place)
            return text.encode(), "" if "$" not in written else written.strip()
        return self._file(text, place, KEY_LIMIT_BYTES), text

    def _digests(self, text: str | None, place: Sequence[Step]) -> frozenset[Digest] | None:
        if text is None:
            return None
        content = self._file(text, place, _DIGESTS_LIMIT_BYTES)
        return parse_digests(content.decode("utf-8", "replace"), text)

    def _file(self, text: str, place: Sequence[Step], limit: int) -> bytes:
        """Return the content of the file that *text* names, relative to the configuration file."""
        path = Path(self.config_file.file_of(*place)).parent / text
        self.files[str(path)] = None
        try:
            content = read_bounded(path, limit)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not the name of a file"
            # A key that lacks its first line, or another secret, is no name of a file; it must not be shown.
            name = quoted(text) if _FILE_NAME.fullmatch(text) else "this text"
            raise UsageError(f"{path_text(place)}: {name}: {reason}", remedy="give a file, or PEM as it is") from None
        if len(content) > limit:
            raise UsageError(f"{path_text(place)}: {quoted(text)}: larger than {limit // 1024} KiB")
        return content


def _requirement(section: RequirementSection, place: Sequence[Step]) -> Requirement:
    found: list[Requirement] = []
    if section.sbom is not None:
        found.append(Requirement(ReferrerKind.SBOM))
    if section.provenance is not None:
        found.append(Requirement(ReferrerKind.PROVENANCE, builder=section.provenance.builder or ""))
    if section.scan is not None:
        severity = section.scan.max_severity
        found.append(Requirement(ReferrerKind.SCAN, max_severity=None if severity is None else Severity(severity)))
    if section.vex is not None:
        found.append(Requirement(ReferrerKind.VEX))
    if len(found) != 1:
        raise UsageError(
            f"{path_text(place)}: {len(found)} requirements in one entry",
            remedy="write each as an entry: sbom, vex, provenance: {builder: ...} or scan: {max_severity: high}",
        )
    return found[0]
