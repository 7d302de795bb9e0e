"""Gates and statements on the command line, with an image that cosign signed."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from image_syncer.oci import RawManifest, media_type
from image_syncer.testing import Image
from image_syncer.testing.content import Blob
from image_syncer.testing.fake_registry import FakeRegistry
from support.command_line import CommandLine
from support.signed_images import COSIGN, made_by_cosign


def load_case(registry: FakeRegistry, repository: str, case: str) -> Image:
    """Load the image of tests/data/cosign with what *case* attaches to it."""
    layer, config = b"hello\n", b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    blobs = [Blob.of(layer), Blob.of(config)]
    document = {
        "schemaVersion": 2,
        "mediaType": media_type.OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": str(blobs[1].descriptor.digest),
            "size": len(config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": str(blobs[0].descriptor.digest),
                "size": len(layer),
            }
        ],
    }
    raw = RawManifest.of(json.dumps(document).encode())
    image = Image(raw, (raw,), {blob.descriptor.digest: blob for blob in blobs})
    registry.load(repository, image, "v1")
    attached, root = made_by_cosign(case)
    assert root == image.digest
    contents = {digest: Blob.of(content) for digest, content in attached.contents.items()}
    empty = Blob.of(b"{}")
    for one in attached.attachments:
        manifest = RawManifest.of(attached.contents[one.entry.digest])
        parts = contents | {empty.descriptor.digest: empty}
        registry.load(repository, Image(manifest, (manifest,), parts), *((one.tag,) if one.tag else ()))
    return image


def configure(directory: Path, source: FakeRegistry, target: FakeRegistry, keys: str, repository: str = "app") -> Path:
    """Write a file with one rule and *keys*."""
    (directory / "release.pub").write_bytes((COSIGN / "release.pub").read_bytes())
    file = directory / "mirror.yaml"
    rule = f"{{name: app, source: {source.host}/{repository}, tags: v1, targets: '{target.host}/mirror', {keys}}}"
    file.write_text(f"version: 1\nrules: [{rule}]\n")
    return file


def test_a_signed_image_is_copied_and_attested(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry, tmp_path: Path
) -> None:
    """The statement says what the gate checked, and a second run adds none."""
    image = load_case(source, "app", "bundle")
    key = ec.generate_private_key(ec.SECP256R1())
    form, encoding = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    (tmp_path / "mirror.pem").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    keys = "trust: {cosign: {key: release.pub}}, attest: {key: mirror.pem}"
    file = configure(tmp_path, source, target, keys)
    done = cli.run("sync", "--config", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert target.manifest("mirror", "v1") == image.root
    (tmp_path / "mirror.pub").write_bytes(
        key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    verify = ("attestation", "verify", "--output", "json", "--key", str(tmp_path / "mirror.pub"))
    found = json.loads(cli.run(*verify, f"{target.host}/mirror:v1").stdout)["attestations"]
    assert [one["verified"] for one in found] == [["signed by the key release.pub"]]
    assert cli.run("sync", "--config", str(file), "--force").returncode == 0
    assert len(json.loads(cli.run(*verify, f"{target.host}/mirror:v1").stdout)["attestations"]) == 1


@pytest.mark.parametrize(("on_refused", "code", "outcome"), [("fail", 1, "failed"), ("skip", 0, "skipped")])
def test_a_refused_image_moves_no_tag(  # noqa: PLR0913, PLR0917 - fixtures and one row
    cli: CommandLine,
    source: FakeRegistry,
    target: FakeRegistry,
    tmp_path: Path,
    on_refused: str,
    code: int,
    outcome: str,
) -> None:
    """The report says who should have signed it; once it is signed, the next run copies it."""
    load_case(source, "app", "stranger-bundle")
    keys = f"trust: {{cosign: {{key: release.pub}}, on_refused: {on_refused}}}"
    file = configure(tmp_path, source, target, keys)
    done = cli.run("sync", "--config", str(file), "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    (image,) = json.loads(done.stdout)["images"]
    assert image["outcome"] == outcome
    assert "not signed by the key release.pub" in image["reason"]
    assert target.requests.count(method="PUT", kind="manifest") == 0
    load_case(source, "app", "legacy")
    assert cli.run("sync", "--config", str(file)).returncode == 0
    assert target.manifest("mirror", "v1")
