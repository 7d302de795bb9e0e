"""Signed images from the command line: signatures go along, and gates keep out what is not signed."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from image_syncer.oci import Digest, RawManifest, media_type
from image_syncer.oci.referrer import legacy_tags, referrers_tag
from image_syncer.testing import Image
from image_syncer.testing.content import Blob
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import artifact, multi
from support.command_line import CommandLine

IMAGE = multi("app")
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
SBOM = "application/spdx+json"


def signature(image: Image, key: ec.EllipticCurvePrivateKey) -> Image:
    """Return cosign's legacy signature of *image* by *key*."""
    claim = {
        "critical": {"image": {"docker-manifest-digest": str(image.digest)}, "type": "cosign container image signature"}
    }
    payload = Blob.of(json.dumps(claim).encode(), "application/vnd.dev.cosign.simplesigning.v1+json")
    config = Blob.of(b"{}", media_type.OCI_CONFIG)
    signed = base64.b64encode(key.sign(payload.read(), ec.ECDSA(SHA256()))).decode()
    document = {
        "schemaVersion": 2,
        "mediaType": media_type.OCI_MANIFEST,
        "config": described(config),
        "layers": [described(payload) | {"annotations": {"dev.cosignproject.cosign/signature": signed}}],
    }
    raw = RawManifest.of(json.dumps(document).encode(), media_type.OCI_MANIFEST)
    return Image(raw, (raw,), {blob.digest: blob for blob in (config, payload)})


def described(blob: Blob) -> dict[str, Any]:
    """Return the descriptor of *blob* as JSON."""
    entry = blob.descriptor
    return {"mediaType": entry.media_type, "digest": str(entry.digest), "size": entry.size}


def report(cli: CommandLine) -> dict[str, Mapping[str, Any]]:
    """Return the images of the report by their tags."""
    images = json.loads(cli.read("report.json"))["images"]
    return {image["source"].rpartition(":")[2]: image for image in images}


@pytest.fixture(autouse=True)
def keys(cli: CommandLine) -> None:
    """Write the public key of signatures and the private one of statements."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    cli.write("cosign.pub", public.decode())
    private = OTHER_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cli.write("copies.key", private.decode())
    cli.write(
        "copies.pub", OTHER_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )


@pytest.fixture(autouse=True)
def images(source: FakeRegistry) -> None:
    """A signed image with an SBOM, one that another key signed, and one without a signature."""
    source.load("team/app", IMAGE, "signed")
    source.load("team/app", signature(IMAGE, KEY), legacy_tags(IMAGE.digest)[0])
    source.load("team/app", artifact("sbom", SBOM, subject=IMAGE))
    other, plain = multi("other"), multi("plain")
    source.load("team/app", other, "other")
    source.load("team/app", signature(other, OTHER_KEY), legacy_tags(other.digest)[0])
    source.load("team/app", plain, "plain")


def rules(source: FakeRegistry, target: FakeRegistry, more: str) -> str:
    """Return a file with one rule for all tags and *more* keys."""
    return (
        f"version: 1\nregistries: {{'{source.host}': {{insecure: true}}, '{target.host}': {{insecure: true}}}}\n"
        f"rules:\n- {{name: app, source: {source.host}/team/app, targets: {target.host}/m/app{more}}}\n"
    )


def test_signatures_and_sboms_go_with_their_image(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """By copy, too; with --no-referrers they stay."""
    done = cli.run("copy", f"{source.host}/team/app:signed", f"{target.host}/a/app", "--report", "report.json")
    assert done.returncode == 0
    assert "  referrers: 2 copied\n" in done.stdout
    held = target.content("a/app")
    assert held.tags[legacy_tags(IMAGE.digest)[0]] == signature_digest(source)
    assert artifact("sbom", SBOM, subject=IMAGE).digest in held.manifests
    found = report(cli)["signed"]["referrers"]
    assert (found["source"], found["target"]) == ({"signature": 1, "sbom": 1}, {"signature": 1, "sbom": 1})
    assert (found["copied"], found["refused"], found["not_carried"]) == (2, [], [])
    assert cli.run("copy", f"{source.host}/team/app:signed", f"{target.host}/b/app", "--no-referrers").returncode == 0
    assert target.content("b/app").tags.keys() == {"signed"}
    assert len(target.content("b/app").manifests) == len(IMAGE.manifests)


def signature_digest(source: FakeRegistry) -> Digest:
    """Return the digest of the signature at the source."""
    return source.content("team/app").tags[legacy_tags(IMAGE.digest)[0]]


def test_a_late_signature_is_copied_when_asked_for(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """Without a state, unchanged images are looked at with --referrers only, and the report says so."""
    cli.write("n.yaml", rules(source, target, ", tags: plain"))
    run = ("sync", "-c", "n.yaml", "--state", "none", "--report", "report.json")
    assert cli.run(*run).returncode == 0
    plain = multi("plain")
    source.load("team/app", artifact("late", SBOM, subject=plain))
    unchanged = cli.run(*run)
    assert unchanged.returncode == 0
    assert unchanged.stdout.count("referrers of 1 unchanged image not compared") == 1
    assert report(cli)["plain"]["outcome"] == "unchanged"
    assert json.loads(cli.read("report.json"))["summary"]["unchecked_referrers"] == 1
    assert cli.run(*run, "--referrers").returncode == 0
    assert artifact("late", SBOM, subject=plain).digest in target.content("m/app").manifests
    assert report(cli)["plain"]["outcome"] == "copied"


def test_a_gate_keeps_out_what_is_not_signed(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Such an image fails with its reason; what was there stays, and a signature lets it in at the next run."""
    cli.write("n.yaml", rules(source, target, ", trust: {cosign: {key: cosign.pub}}"))
    done = cli.run("sync", "-c", "n.yaml", "--report", "report.json")
    assert done.returncode == 1
    found = report(cli)
    assert {tag: image["outcome"] for tag, image in found.items()} == {
        "signed": "copied",
        "other": "failed",
        "plain": "failed",
    }
    assert found["plain"]["reason"].startswith("not signed by the key cosign.pub")
    assert found["plain"]["step"] == "trust"
    assert set(target.content("m/app").tags) == {"signed", legacy_tags(IMAGE.digest)[0]}
    plain = multi("plain")
    source.load("team/app", signature(plain, KEY), legacy_tags(plain.digest)[0])
    assert cli.run("sync", "-c", "n.yaml", "--rule", "app", "--report", "report.json").returncode == 1
    assert report(cli)["plain"]["outcome"] == "copied"


def test_a_refused_image_may_be_skipped(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Then the run succeeds."""
    cli.write("n.yaml", rules(source, target, ", trust: {cosign: {key: cosign.pub}, on_refused: skip}"))
    assert cli.run("sync", "-c", "n.yaml", "--report", "report.json").returncode == 0
    assert report(cli)["other"]["outcome"] == "skipped"
    assert "other" not in target.content("m/app").tags


def test_copies_are_attested_and_verified(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """The statement says from where the image is; a second run adds none."""
    cli.write("n.yaml", rules(source, target, ", tags: signed, attest: {key: copies.key}"))
    for _ in range(2):
        assert cli.run("sync", "-c", "n.yaml").returncode == 0
    auth = ("--auth", "auth.json")
    cli.write("auth.json", json.dumps({target.host: {"insecure": True}}))
    copied = f"{target.host}/m/app:signed"
    done = cli.run("attestation", "verify", copied, "--key", "copies.pub", "--output", "json", *auth)
    assert done.returncode == 0
    assert f"{source.host}/team/app" in done.stdout
    wrong = cli.run("attestation", "verify", copied, "--key", "cosign.pub", *auth)
    assert wrong.returncode == 1
    statements = [raw for raw in target.content("m/app").manifests.values() if b"sigstore.bundle" in raw.content]
    assert len(statements) == 1
    assert referrers_tag(IMAGE.digest) not in target.content("m/app").tags
