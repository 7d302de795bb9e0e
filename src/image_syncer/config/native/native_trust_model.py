"""Keys and types of `trust:` and `attest:` in the native file. `native_trust` interprets the values."""

from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, SecretStr

from image_syncer.config.native.native_values import Section, Text, Truth

Pem = Annotated[str, Field(min_length=1, max_length=65536)]


class KeylessSection(Section):
    """A keyless signer: an identity that an issuer attests to."""

    identity: Text | None = Field(default=None, description="The identity, such as the URI of a workflow.")
    identity_regex: Text | None = Field(
        default=None, description="Or a regular expression that matches the whole identity."
    )
    issuer: Text = Field(description="Issuer of the identity, such as https://token.actions.githubusercontent.com.")
    trusted_root: Text = Field(description="File trusted_root.json of the Sigstore instance, relative to this file.")


class SignerSection(Section):
    """A signer: a key or a keyless identity."""

    key: Pem | None = Field(
        default=None, description="Public key: a file relative to this one, PEM, or ${NAME} of an environment variable."
    )
    keyless: KeylessSection | None = Field(default=None, description="Keyless signer.")


class ProvenanceSection(Section):
    """Required provenance."""

    builder: Text | None = Field(default=None, description="Builder id that the provenance names; default: any.")


class ScanSection(Section):
    """A required scan."""

    max_severity: Literal["none", "low", "medium", "high", "critical"] | None = Field(
        default=None, description="Worst finding that scans may have; default: any."
    )


class PresenceSection(Section):
    """Something that only has to be attached."""


class RequirementSection(Section):
    """What has to be attached: one of these."""

    sbom: PresenceSection | None = Field(default=None, description="An SBOM (SPDX, CycloneDX, Syft).")
    provenance: ProvenanceSection | None = Field(default=None, description="SLSA provenance.")
    scan: ScanSection | None = Field(default=None, description="A scan (SARIF, in-toto vulns, Trivy).")
    vex: PresenceSection | None = Field(default=None, description="A VEX document.")


def _requirement(value: Any) -> Any:
    return {value: {}} if isinstance(value, str) else value


def _single(value: Any) -> Any:
    return [cast("object", value)] if isinstance(value, str | dict) else value


def _switch(value: Any) -> Any:
    return {"enabled": value} if isinstance(value, bool) else value


_Kind = Literal["sbom", "provenance", "scan", "vex"]
_Requirement = Annotated[
    RequirementSection, BeforeValidator(_requirement, json_schema_input_type=_Kind | RequirementSection)
]


class TrustSection(Section):
    """What has to hold before an image reaches a target. `false` switches the trust of `defaults` off."""

    enabled: Truth | None = Field(default=None, description="Check images; default: true.")
    cosign: Annotated[
        tuple[SignerSection, ...],
        BeforeValidator(_single, json_schema_input_type=SignerSection | list[SignerSection]),
        Field(max_length=100),
    ] = Field(default=(), description="Who has to sign images: one signer, or several.")
    match: Literal["any", "all"] = Field(
        default="any", description="Whether any signer is enough, or all have to sign."
    )
    digests: Text | None = Field(
        default=None, description="File with the allowed digests, one on a line, relative to this file."
    )
    require: Annotated[
        tuple[_Requirement, ...],
        BeforeValidator(_single, json_schema_input_type=_Kind | RequirementSection | list[_Kind | RequirementSection]),
        Field(max_length=100),
    ] = Field(default=(), description="What has to be attached, signed by the same signers.")
    unsigned: Truth = Field(default=False, description="Accept what is attached without a signature of its own.")
    on_refused: Literal["fail", "skip"] = Field(default="fail", description="What becomes of a refused image.")


Trust = Annotated[TrustSection, BeforeValidator(_switch, json_schema_input_type=bool | TrustSection)]


class AttestSection(Section):
    """Attach a signed statement to each copy: where it came from, when, and by which rule."""

    enabled: Truth | None = Field(default=None, description="Attest copies; default: true.")
    key: Annotated[SecretStr, Field(min_length=1, max_length=65536)] | None = Field(
        default=None,
        description="Private key: a file relative to this one, PEM, or ${NAME} of an environment variable.",
    )


Attest = Annotated[AttestSection, BeforeValidator(_switch, json_schema_input_type=bool | AttestSection)]
