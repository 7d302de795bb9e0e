"""The `trust:` and `attest:` of rules and defaults."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from image_syncer.config.load import load_file
from image_syncer.config.model import Configuration
from image_syncer.errors import UsageError
from image_syncer.oci import Digest, PlatformFilter
from image_syncer.oci.referrer import ReferrerKind
from image_syncer.sync.rule_trust import RuleTrust
from image_syncer.trust.gate import TrustGate
from image_syncer.trust.trust_settings import KeylessSigner, KeySigner, Requirement, Severity, TrustSettings
from support.signed_images import COSIGN
from support.sigstore_instance import IDENTITY, ISSUER, SigstoreInstance

RELEASE = (COSIGN / "release.pub").read_bytes()
DIGEST = Digest.of(b"allowed")
PRIVATE = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """Files beside the configuration."""
    (tmp_path / "release.pub").write_bytes(RELEASE)
    (tmp_path / "root.json").write_bytes(SigstoreInstance().trusted_root)
    (tmp_path / "allowed.txt").write_text(f"# allowed\n{DIGEST}\n")
    (tmp_path / "mirror.pem").write_bytes(PRIVATE)


def load(
    directory: Path, trust: str = "", defaults: str = "", environment: Mapping[str, str] | None = None
) -> Configuration:
    """Return the configuration of one rule with the keys *trust*."""
    path = directory / "n.yaml"
    rule = f"{{name: a, source: q.io/a, targets: t.io/x{trust and f', {trust}'}}}"
    path.write_text(f"version: 1\nrules: [{rule}]\n{defaults}\n")
    return load_file(path, platforms=PlatformFilter(), environment=environment or {})


def settings(found: RuleTrust) -> TrustSettings:
    """Return the settings of the gate."""
    assert isinstance(found.gate, TrustGate)
    return found.gate.trust


def test_there_is_no_gate_by_default(tmp_path: Path) -> None:
    """And no statement."""
    assert load(tmp_path).trust == {}
    assert load(tmp_path, "trust: false, attest: false").trust == {}


def test_each_key_has_its_meaning(tmp_path: Path) -> None:
    """Files are relative to the configuration, and watched for changes."""
    keyless = f"{{identity: '{IDENTITY}', issuer: '{ISSUER}', trusted_root: root.json}}"
    require = "[sbom, vex, provenance: {builder: 'https://b.example'}, scan: {max_severity: high}]"
    found = load(
        tmp_path,
        f"trust: {{cosign: [key: release.pub, keyless: {keyless}], match: all, digests: allowed.txt, "
        f"require: {require}, unsigned: true, on_refused: skip}}",
    )
    trust = found.trust["a"]
    assert trust.skips_refused
    assert trust.attester is None
    assert settings(trust) == TrustSettings(
        (
            KeySigner(RELEASE, "release.pub"),
            KeylessSigner(ISSUER, (tmp_path / "root.json").read_bytes(), IDENTITY),
        ),
        all_signers=True,
        digests=frozenset({DIGEST}),
        requirements=(
            Requirement(ReferrerKind.SBOM),
            Requirement(ReferrerKind.VEX),
            Requirement(ReferrerKind.PROVENANCE, builder="https://b.example"),
            Requirement(ReferrerKind.SCAN, max_severity=Severity.HIGH),
        ),
        unsigned=True,
        skip_refused=True,
    )
    assert set(found.files) == {str(tmp_path / name) for name in ("release.pub", "root.json", "allowed.txt")}


def test_one_signer_needs_no_list(tmp_path: Path) -> None:
    """Any signer is enough, attached facts have to be signed, and a refused image fails."""
    trust = load(tmp_path, "trust: {cosign: {key: release.pub}, require: sbom}").trust["a"]
    assert not trust.skips_refused
    expected = TrustSettings((KeySigner(RELEASE, "release.pub"),), requirements=(Requirement(ReferrerKind.SBOM),))
    assert settings(trust) == expected


def test_a_key_may_stand_in_the_file_or_in_a_variable(tmp_path: Path) -> None:
    """As PEM, or as the name of its file."""
    inline = json.dumps(RELEASE.decode())
    assert settings(load(tmp_path, f"trust: {{cosign: {{key: {inline}}}}}").trust["a"]).signers[0] == KeySigner(RELEASE)
    for value in (RELEASE.decode(), "release.pub"):
        found = load(tmp_path, "trust: {cosign: {key: '${KEY}'}}", environment={"KEY": value})
        (signer,) = settings(found.trust["a"]).signers
        assert isinstance(signer, KeySigner)
        assert signer.pem == RELEASE


def test_a_statement_says_what_the_gate_checked(tmp_path: Path) -> None:
    """And needs no gate."""
    assert load(tmp_path, "attest: {key: mirror.pem}").trust["a"].attester is not None
    found = load(tmp_path, "attest: {key: mirror.pem}, trust: {cosign: {key: release.pub}}").trust["a"]
    assert found.gate is not None
    assert found.attester is not None
    assert found.attester._verified == ("signed by the key release.pub",)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def test_defaults_are_shared(tmp_path: Path) -> None:
    """The key is read once, and a rule with its own trust has that alone."""
    path = tmp_path / "n.yaml"
    rules = [
        {"name": "a", "source": "q.io/a", "targets": "t.io/x"},
        {"name": "b", "source": "q.io/b", "targets": "t.io/y"},
        {"name": "c", "source": "q.io/c", "targets": "t.io/z", "trust": {"digests": "allowed.txt"}},
        {"name": "d", "source": "q.io/d", "targets": "t.io/w", "trust": False},
    ]
    path.write_text(
        json.dumps({"version": 1, "defaults": {"trust": {"cosign": {"key": "release.pub"}}}, "rules": rules})
    )
    found = load_file(path, platforms=PlatformFilter(), environment={}).trust
    assert found["a"].gate is found["b"].gate
    assert settings(found["c"]).signers == ()
    assert "d" not in found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("trust: true", "every image would pass"),
        ("trust: {require: sbom}", "nothing says who has to sign"),
        ("trust: {cosign: {key: missing.pub}}", "rules[0].trust.cosign[0].key: 'missing.pub': No such file"),
        ("trust: {cosign: {key: hunter2}}", "rules[0].trust.cosign[0].key: this text: No such file"),
        ("trust: {cosign: {key: allowed.txt}}", "not a public key in PEM"),
        ("trust: {cosign: {key: mirror.pem}}", "a private key"),
        ("trust: {cosign: {}}", "`key` or `keyless`, one of them"),
        ("trust: {cosign: {keys: release.pub}}", "did you mean key?"),
        ("trust: {cosign: {key: '${NO}'}}", "the environment variable NO is not set"),
        ("trust: {digests: release.pub}", "release.pub:1: "),
        ("trust: {require: sboms, unsigned: true}", "sboms"),
        ("trust: {require: [{scan: {max_severity: bad}}], unsigned: true}", "max_severity"),
        ("trust: {require: [{sbom: {}, vex: {}}], unsigned: true}", "2 requirements in one entry"),
        (
            f"trust: {{cosign: {{keyless: {{identity: a, issuer: '{ISSUER}', trusted_root: allowed.txt}}}}}}",
            "not a Sigstore trusted root",
        ),
        (
            f"trust: {{cosign: {{keyless: {{identity_regex: '(', issuer: '{ISSUER}', trusted_root: root.json}}}}}}",
            "no regular expression",
        ),
        ("attest: {key: release.pub}", "not a private key in PEM"),
        ("attest: true", "`key` is missing"),
    ],
)
def test_wrong_values_are_errors_with_their_line(tmp_path: Path, value: str, message: str) -> None:
    """Of the file, what is wrong and what to do; no private key is shown."""
    with pytest.raises(UsageError) as caught:
        load(tmp_path, value)
    text = f"{caught.value}; {caught.value.remedy or ''}"
    assert message in text
    assert "n.yaml:2:" in text
    assert "PRIVATE" not in text


def test_a_missing_extra_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any registry is asked (exit code 2)."""

    def find_nothing(_: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", find_nothing)
    with pytest.raises(UsageError, match=r"pip install '.\[trust\]'"):
        load(tmp_path, "trust: {cosign: {key: release.pub}}")


def test_keys_of_included_files_are_beside_them(tmp_path: Path) -> None:
    """A default of the main file is beside that one, also for rules of other files."""
    (tmp_path / "sub").mkdir()
    for name in ("own.pub", "own.pem"):
        (tmp_path / "sub" / name).write_bytes(RELEASE if name.endswith("pub") else PRIVATE)
    (tmp_path / "n.yaml").write_text(
        "version: 1\ninclude: sub/a.yaml\ndefaults: {trust: {cosign: {key: release.pub}}}\nrules: []\n"
    )
    (tmp_path / "sub" / "a.yaml").write_text(
        "rules:\n - {name: a, source: q.io/a, targets: t.io/a}\n"
        " - {name: b, source: q.io/b, targets: t.io/b, trust: {cosign: {key: own.pub}}, attest: {key: own.pem}}\n"
    )
    loaded = load_file(tmp_path / "n.yaml", platforms=PlatformFilter(), environment={})
    assert [settings(loaded.trust[name]).signers for name in "ab"] == [
        (KeySigner(RELEASE, "release.pub"),),
        (KeySigner(RELEASE, "own.pub"),),
    ]
    assert {f"{tmp_path}/release.pub", f"{tmp_path}/sub/own.pub", f"{tmp_path}/sub/own.pem"} <= set(loaded.files)
    (tmp_path / "release.pub").unlink()
    with pytest.raises(UsageError) as error:
        load_file(tmp_path / "n.yaml", platforms=PlatformFilter(), environment={})
    assert "n.yaml:3:12: defaults.trust.cosign[0].key: 'release.pub': No such file" in str(error.value)
