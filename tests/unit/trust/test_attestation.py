"""Signed statements about copies: made, found again, and verified by other means than ours."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from sigstore_models.bundle.v1 import Bundle

from image_syncer.errors import NotTrusted, UsageError
from image_syncer.oci import Digest, PlatformFilter, Reference
from image_syncer.roles import ConfirmedCopy, MadeReferrer
from image_syncer.structs import replace
from image_syncer.testing.content import Blob
from image_syncer.testing.images import Image, single
from image_syncer.testing.memory_store import MemoryStores
from image_syncer.trust.attestation import (
    PREDICATE_TYPE,
    CopyAttester,
    CopyStatement,
    find_statements,
    load_verification_key,
)
from image_syncer.trust.trust_settings import AttestSettings

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
TARGET = Reference.parse("mirror.example/team/app:v1")
APP = single("app")
COPY = ConfirmedCopy(
    rule="nightly",
    source=Reference.parse("source.example/team/app:v1"),
    source_digest=Digest.of(b"the index at the source"),
    platforms=PlatformFilter(),
    target=TARGET,
    target_digest=APP.digest,
    written=True,
)


def pem(key: PrivateKeyTypes) -> bytes:
    """Return *key* as openssl writes it."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def public_pem(key: PrivateKeyTypes) -> bytes:
    """Return the public half of *key* as openssl writes it."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


KEY = ec.generate_private_key(ec.SECP256R1())


def attester(
    key: PrivateKeyTypes = KEY, verified: tuple[str, ...] = ("signed by the key release.pub",)
) -> CopyAttester:
    """Return an attester at a fixed time."""
    return CopyAttester(AttestSettings(pem(key), "attest.pem", verified), lambda: NOW)


def store(stores: MemoryStores, *made: MadeReferrer) -> None:
    """Store the image and *made* at the target."""
    stores.store(TARGET.repository).load(APP, "v1")
    for one in made:
        blobs = {digest: Blob.of(content) for digest, content in one.blobs.items()}
        stores.store(TARGET.repository).load(Image(one.manifest, (one.manifest,), blobs))


async def find(stores: MemoryStores, key: PrivateKeyTypes = KEY) -> tuple[CopyStatement, ...]:
    """Return the statements that the public half of *key* verifies."""
    return await find_statements(stores, stores, TARGET, load_verification_key(public_pem(key), "key.pub"))


@pytest.mark.parametrize(
    "generate",
    [
        pytest.param(lambda: KEY, id="P-256"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP521R1()), id="P-521"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), id="RSA"),
        pytest.param(ed25519.Ed25519PrivateKey.generate, id="Ed25519"),
    ],
)
async def test_a_statement_says_where_the_copy_came_from(generate: Callable[[], PrivateKeyTypes]) -> None:
    """With a key of each kind."""
    key = generate()
    stores = MemoryStores()
    made = attester(key).attest(COPY, APP.root.descriptor)
    store(stores, made)
    assert await find(stores, key) == (
        CopyStatement(
            digest=APP.digest,
            source_reference="source.example/team/app:v1",
            source_digest=str(COPY.source_digest),
            target_reference="mirror.example/team/app:v1",
            copied_at="2026-11-30T12:00:00Z",
            rule="nightly",
            tool="image-syncer 0.1.0.dev0",
            verified=("signed by the key release.pub",),
            attached=made.manifest.digest,
        ),
    )


def test_the_statement_is_verified_without_our_code() -> None:
    """By the models of Sigstore and the signature of `cryptography`, byte by byte."""
    made = attester().attest(COPY, APP.root.descriptor)
    document = json.loads(made.manifest.content)
    assert document["subject"]["digest"] == str(APP.digest)
    content = made.blobs[Digest.parse(document["layers"][0]["digest"])]
    bundle = Bundle.from_json(content)
    envelope = bundle.dsse_envelope
    assert envelope is not None
    kind = envelope.payload_type.encode()
    signed = b" ".join([b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(envelope.payload), envelope.payload])
    KEY.public_key().verify(envelope.signatures[0].sig, signed, ec.ECDSA(hashes.SHA256()))
    statement = json.loads(envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == PREDICATE_TYPE
    assert statement["subject"] == [
        {"name": "mirror.example/team/app", "digest": {"sha256": APP.digest.encoded}},
    ]
    assert statement["predicate"]["source"]["digest"] == str(COPY.source_digest)
    assert statement["predicate"]["verified"] == ["signed by the key release.pub"]


async def test_a_statement_is_known_again() -> None:
    """So that the next run adds none: whatever the tag and the time; but for another source, key or check."""
    stores = MemoryStores()
    store(stores, attester().attest(COPY, APP.root.descriptor))
    (entry,) = await stores.referrer_target(TARGET.repository).referrers(APP.digest)
    assert attester().is_ours(entry, COPY)
    assert attester().is_ours(entry, replace(COPY, target=Reference.parse("mirror.example/team/app:latest")))
    assert not attester().is_ours(entry, replace(COPY, source_digest=Digest.of(b"a newer one")))
    assert not attester().is_ours(entry, replace(COPY, rule="other"))
    assert not attester(ec.generate_private_key(ec.SECP256R1())).is_ours(entry, COPY)
    assert not attester(verified=()).is_ours(entry, COPY)


async def test_a_statement_by_another_key_is_refused() -> None:
    """Even if it says to be ours."""
    stores = MemoryStores()
    store(stores, attester(ec.generate_private_key(ec.SECP256R1())).attest(COPY, APP.root.descriptor))
    with pytest.raises(NotTrusted, match="signed by another key"):
        await find(stores)


async def test_a_statement_about_another_image_is_refused() -> None:
    """Though it is attached to this one."""
    stores, other = MemoryStores(), single("other")
    made = attester().attest(replace(COPY, target_digest=other.digest), other.root.descriptor)
    document = json.loads(made.manifest.content)
    document["subject"]["digest"] = str(APP.digest)
    moved = type(made.manifest).of(json.dumps(document).encode(), made.manifest.media_type)
    store(stores, MadeReferrer(moved, made.blobs))
    with pytest.raises(NotTrusted, match="about another digest"):
        await find(stores)


async def test_a_changed_statement_is_refused() -> None:
    """Its source is another one now."""
    stores = MemoryStores()
    made = attester().attest(COPY, APP.root.descriptor)
    document = json.loads(made.manifest.content)
    content = json.loads(made.blobs[Digest.parse(document["layers"][0]["digest"])])
    payload = base64.b64decode(content["dsseEnvelope"]["payload"]).replace(b"source.example", b"evil---.example")
    content["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    changed = json.dumps(content).encode()
    document["layers"][0] |= {"digest": str(Digest.of(changed)), "size": len(changed)}
    manifest = type(made.manifest).of(json.dumps(document).encode(), made.manifest.media_type)
    store(stores, MadeReferrer(manifest, dict(made.blobs) | {Digest.of(changed): changed}))
    with pytest.raises(NotTrusted, match="changed since"):
        await find(stores)


async def test_an_image_without_a_statement_is_refused() -> None:
    """The message says that nothing is attached."""
    stores = MemoryStores()
    store(stores)
    with pytest.raises(NotTrusted, match="no statement is attached"):
        await find(stores)


def test_keys_that_cannot_sign_are_refused() -> None:
    """With what to do instead."""
    encrypted = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    wrong = [
        (encrypted, "an encrypted key"),
        (public_pem(KEY), "not a private key"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "an encrypted key"),
        (b"x" * 100_000, "larger than 64 KiB"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "unsupported kind"),
        (pem(rsa.generate_private_key(65537, 1024)), "unsupported kind"),
    ]
    for content, message in wrong:
        with pytest.raises(UsageError, match=message) as refused:
            CopyAttester(AttestSettings(content, "attest.pem"))
        assert "attest.pem" in str(refused.value)
    with pytest.raises(UsageError, match="not a public key in PEM"):
        load_verification_key(b"nonsense", "key.pub")
