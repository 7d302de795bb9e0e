"""`attestation verify`: where a copy came from, on the command line."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from image_syncer.oci import PlatformFilter, Reference
from image_syncer.roles import ConfirmedCopy
from image_syncer.testing import Image
from image_syncer.testing.content import Blob
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from image_syncer.trust.attestation import CopyAttester
from image_syncer.trust.trust_settings import AttestSettings
from support.command_line import CommandLine

APP = single("app")


@pytest.fixture
def key(target: FakeRegistry, tmp_path: Path) -> Path:
    """Load an attested copy into the target; return the file of the public key."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    copy = ConfirmedCopy(
        "nightly",
        Reference.parse("source.example/team/app:v1"),
        APP.digest,
        PlatformFilter(),
        Reference.parse(f"{target.host}/team/app:v1"),
        APP.digest,
        written=True,
    )
    made = CopyAttester(AttestSettings(pem)).attest(copy, APP.root.descriptor)
    target.load("team/app", APP, "v1")
    blobs = {digest: Blob.of(content) for digest, content in made.blobs.items()}
    target.load("team/app", Image(made.manifest, (made.manifest,), blobs))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    file = tmp_path / "mirror.pub"
    file.write_bytes(private.public_key().public_bytes(serialization.Encoding.PEM, form))
    return file


def test_a_statement_is_shown_once_it_is_verified(cli: CommandLine, target: FakeRegistry, key: Path) -> None:
    """As text and as JSON."""
    done = cli.run("attestation", "verify", "--key", str(key), f"{target.host}/team/app:v1")
    assert done.returncode == 0, done.stderr
    assert f"{target.host}/team/app:v1  {APP.digest}" in done.stdout
    assert "copied from source.example/team/app:v1" in done.stdout
    assert "by rule     nightly, with image-syncer" in done.stdout
    done = cli.run("attestation", "verify", "--output", "json", "--key", str(key), f"{target.host}/team/app:v1")
    (found,) = json.loads(done.stdout)["attestations"]
    assert found["source"] == {"reference": "source.example/team/app:v1", "digest": str(APP.digest)}


def test_a_copy_without_a_statement_of_the_key_fails(
    cli: CommandLine, target: FakeRegistry, key: Path, tmp_path: Path
) -> None:
    """The exit code is 1, and 2 for a key that is none; one line says why."""
    target.load("team/other", single("other"), "v1")
    done = cli.run("attestation", "verify", "--key", str(key), f"{target.host}/team/other:v1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no copy is attested by this key: no statement is attached" in done.stderr
    assert done.stderr.count("\n") == 1
    missing = tmp_path / "missing.pub"
    done = cli.run("attestation", "verify", "--key", str(missing), f"{target.host}/team/app:v1")
    assert done.returncode == 2
    assert f"{missing}: No such file" in done.stderr
    missing.write_text("nonsense")
    done = cli.run("attestation", "verify", "--key", str(missing), f"{target.host}/team/app:v1")
    assert done.returncode == 2
    assert "not a public key in PEM" in done.stderr
