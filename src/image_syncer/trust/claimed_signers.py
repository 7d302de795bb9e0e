"""Who seems to have signed an attached manifest, for display: what the signatures say of themselves.

Nothing is verified here: anyone can attach a signature that names another key or identity.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from image_syncer.errors import ProtocolError, TooLarge
from image_syncer.oci import Descriptor, Manifest, RawManifest
from image_syncer.oci.referrer import BUNDLE_TYPE_PREFIX
from image_syncer.trust.bundle import parse_bundle
from image_syncer.trust.cosign_legacy import legacy_signatures
from image_syncer.trust.keyless import signer_of_certificate

SIGNERS_LIMIT: Final = 10
"""How many signatures of one attached manifest are looked at."""

BUNDLE_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""The largest bundle that is read for its signer; larger ones hold SBOMs."""

_NAME_LIMIT: Final = 300
_CERTIFICATE_LIMIT: Final = 64 * 1024
_KEY, _UNREADABLE = "a key", "an unreadable signature"
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.{1,65536}?-----END CERTIFICATE-----", re.DOTALL)

ReadBlob = Callable[[Descriptor], Awaitable[bytes]]


async def claimed_signers(manifest: RawManifest, read: ReadBlob) -> tuple[str, ...]:
    """Return a name for each signer of *manifest*, each once; empty if it is no signature and no signed statement.

    A name is `key HINT` as in the bundle, `a key`, or `IDENTITY (ISSUER)` of the certificate. *read* returns the
    content of a blob of *manifest*; its errors are raised unchanged.
    """
    names = [
        _name_of_certificate(signature.certificate.encode()) if signature.is_keyless else _KEY
        for signature in legacy_signatures(manifest)[:SIGNERS_LIMIT]
    ]
    parsed = manifest.parse()
    bundles = [
        layer
        for layer in (parsed.layers if isinstance(parsed, Manifest) else ())
        if layer.media_type.startswith(BUNDLE_TYPE_PREFIX) and (layer.size or 0) <= BUNDLE_LIMIT_BYTES
    ]
    names += [_name_of_bundle(await read(layer)) for layer in bundles[:SIGNERS_LIMIT]]
    return tuple(dict.fromkeys(name[:_NAME_LIMIT] for name in names))


def _name_of_bundle(content: bytes) -> str:
    try:
        bundle = parse_bundle(content, "the bundle")
    except (ProtocolError, TooLarge):
        return _UNREADABLE
    if bundle.key_hint is not None:
        return f"key {bundle.key_hint}" if bundle.key_hint else _KEY
    return _name_of_certificate(bundle.certificate)


def _name_of_certificate(encoded: bytes) -> str:
    """Return the name in a certificate, in DER or the first one in PEM."""
    if len(encoded) > _CERTIFICATE_LIMIT:
        return _UNREADABLE
    in_pem = _PEM.search(encoded.decode("ascii", "replace"))
    return signer_of_certificate(in_pem[0].encode() if in_pem else encoded) or _UNREADABLE
