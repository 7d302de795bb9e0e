"""Keyless signatures, verified offline by the library `sigstore` with a trusted root from a file.

The library checks the certificate's chain and its entry in the certificate log, and that the signature was in the
transparency log while the certificate was valid. It may have expired since: such certificates live for ten minutes.
"""

from typing import TYPE_CHECKING, Any, Final

from image_syncer.errors import UsageError
from image_syncer.oci import Digest
from image_syncer.trust.trust_settings import TRUSTED_ROOT_LIMIT_BYTES, KeylessSigner

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.verify import Verifier

_OTHER_NAME: Final = "1.3.6.1.4.1.57264.1.7"  # Fulcio's extension for names that are neither URIs nor e-mail addresses.
_ISSUER: Final = "1.3.6.1.4.1.57264.1.1"  # Fulcio's extension with the bare text, and the later one in DER.
_ISSUER_V2: Final = "1.3.6.1.4.1.57264.1.8"
_IDENTITY_LIMIT: Final = 4096
_NAMES_LIMIT: Final = 10
_UTF8_TAG, _SHORT_LENGTH = 0x0C, 130  # X.690: the tag of UTF8String; up to 127 bytes after a header of two.


class NotVerified(Exception):
    """The signature does not count; the message says why."""


class KeylessVerifier:
    """Verifies bundles with certificates of *signer*; `UsageError` if its settings cannot be used."""

    def __init__(self, signer: KeylessSigner) -> None:
        if bool(signer.identity) == bool(signer.identity_regex):
            raise UsageError("trust: a keyless signer needs `identity` or `identity_regex`, one of them")
        if not signer.issuer:
            raise UsageError(
                "trust: a keyless signer needs `issuer`", remedy="such as https://token.actions.githubusercontent.com"
            )
        self._verifier = _load_verifier(signer.trusted_root)
        self._policy = _SignerPolicy(signer)

    def verify_statement(self, bundle: bytes) -> None:
        """Return if the signer has signed the DSSE envelope in *bundle*; `NotVerified` otherwise."""
        from sigstore.models import Bundle  # noqa: PLC0415 - only keyless signatures need it

        try:
            self._verifier.verify_dsse(Bundle.from_json(bundle), self._policy)
        except Exception as error:  # Whatever the library meets in untrusted bytes: not verified.
            raise NotVerified(_reason(error)) from error

    def verify_digest(self, bundle: bytes, subject: Digest) -> None:
        """Return if the signer has signed the content *subject* by the signature in *bundle*; `NotVerified`."""
        from sigstore.hashes import Hashed  # noqa: PLC0415 - see above
        from sigstore.models import Bundle  # noqa: PLC0415 - see above
        from sigstore_models.common.v1 import HashAlgorithm  # noqa: PLC0415 - see above

        if subject.algorithm != "sha256":
            raise NotVerified(f"a signature over a {subject.algorithm} digest")
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(subject.encoded))
        try:
            self._verifier.verify_artifact(hashed, Bundle.from_json(bundle), self._policy)
        except Exception as error:
            raise NotVerified(_reason(error)) from error


class _SignerPolicy:
    """Accepts certificates of the signer: the issuer, and one of the names (a policy of the library)."""

    def __init__(self, signer: KeylessSigner) -> None:
        from sigstore.verify.policy import AnyOf, OIDCIssuer, OIDCIssuerV2  # noqa: PLC0415 - see above

        self._signer = signer
        self._issuer = AnyOf([OIDCIssuerV2(signer.issuer), OIDCIssuer(signer.issuer)])
        self._pattern = _compile(signer.identity_regex) if signer.identity_regex else None

    def verify(self, cert: "Certificate") -> None:
        """Return if the certificate is one of the signer; `VerificationError` of the library otherwise."""
        from sigstore.errors import VerificationError  # noqa: PLC0415 - see above

        try:
            self._issuer.verify(cert)
        except VerificationError:
            raise VerificationError(f"the certificate is not of the issuer {self._signer.issuer}") from None
        names = _names(cert)
        if not any(self._is_signer(name) for name in names[:_NAMES_LIMIT]):
            raise VerificationError(f"the certificate is of {', '.join(names)[:200] or 'nothing'}")

    def _is_signer(self, name: str) -> bool:
        if self._pattern is not None:
            return len(name) <= _IDENTITY_LIMIT and self._pattern.fullmatch(name) is not None
        return name == self._signer.identity


def signer_of_certificate(encoded: bytes) -> str | None:
    """Return `IDENTITY (ISSUER)` of the certificate *encoded* in PEM or DER; None if it has none or cannot be read.

    Nothing is verified.
    """
    from cryptography import x509  # noqa: PLC0415 - see above

    try:
        load = x509.load_pem_x509_certificate if encoded.startswith(b"-----") else x509.load_der_x509_certificate
        certificate = load(encoded)
        names, issuer = _names(certificate), _issuer(certificate)
    except Exception:  # noqa: BLE001 - whatever the library meets in untrusted bytes
        return None
    if not names:
        return None
    return f"{', '.join(names[:_NAMES_LIMIT])} ({issuer or 'no issuer'})"


def _issuer(cert: "Certificate") -> str:
    """Return the issuer of the identity, as Fulcio records it; empty without one."""
    from cryptography import x509  # noqa: PLC0415 - see above

    found = {
        extension.oid.dotted_string: extension.value.value
        for extension in cert.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    value = found.get(_ISSUER) or _utf8_string(found.get(_ISSUER_V2, b""))
    return value.decode("utf-8", "replace")


def _names(cert: "Certificate") -> list[str]:
    """Return the identities of *cert*: e-mail addresses, URIs and Fulcio's other names."""
    from cryptography import x509  # noqa: PLC0415 - see above

    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    others = [
        other for other in names.get_values_for_type(x509.OtherName) if other.type_id.dotted_string == _OTHER_NAME
    ]
    return [
        *names.get_values_for_type(x509.RFC822Name),
        *names.get_values_for_type(x509.UniformResourceIdentifier),
        *(_utf8_string(other.value).decode("utf-8", "replace") for other in others),
    ]


def _utf8_string(value: bytes) -> bytes:
    """Return the text in the short DER UTF8String *value*; other values as they are."""
    header = bytes((_UTF8_TAG, len(value) - 2)) if 2 <= len(value) < _SHORT_LENGTH else b"\0"  # noqa: PLR2004 - tag, length
    return value.removeprefix(header)


def _compile(text: str) -> Any:
    """Return the compiled regular expression *text*, which runs in linear time; `UsageError`."""
    try:
        import re2  # pyright: ignore[reportMissingTypeStubs] # noqa: PLC0415 - only regular expressions need it
    except ImportError:
        raise UsageError(
            "`identity_regex` needs the library google-re2, which is not installed", remedy="pip install google-re2"
        ) from None
    engine: Any = re2
    options = engine.Options()
    options.log_errors = False  # By default RE2 prints errors to stderr.
    options.never_capture = True
    try:
        return engine.compile(text, options)
    except (engine.error, UnicodeEncodeError) as error:
        raise UsageError(f"`identity_regex`: {text[:200]!r} is no regular expression: {_message(error)}") from None


def _load_verifier(content: bytes) -> "Verifier":
    from pydantic import ValidationError  # noqa: PLC0415 - see above
    from sigstore.errors import Error  # noqa: PLC0415 - see above
    from sigstore.models import TrustedRoot  # noqa: PLC0415 - see above
    from sigstore.verify import Verifier  # noqa: PLC0415 - see above
    from sigstore_models.trustroot.v1 import TrustedRoot as RootModel  # noqa: PLC0415 - see above

    remedy = "take the trusted_root.json of your Sigstore instance; `cosign trusted-root create` makes one"
    if len(content) > TRUSTED_ROOT_LIMIT_BYTES:
        raise UsageError(f"trusted_root: larger than {TRUSTED_ROOT_LIMIT_BYTES // 1024} KiB", remedy=remedy)
    try:
        return Verifier(trusted_root=TrustedRoot(RootModel.from_json(content)))
    except (ValidationError, ValueError):
        raise UsageError("trusted_root: not a Sigstore trusted root", remedy=remedy) from None
    except Error as error:
        raise UsageError(f"trusted_root: {_message(error)}", remedy=remedy) from None


def _reason(error: Exception) -> str:
    from sigstore.errors import Error  # noqa: PLC0415 - see above

    return _message(error) if isinstance(error, Error) else f"it cannot be read ({type(error).__name__})"


def _message(error: Exception) -> str:
    detail: object = error.args[0] if error.args else ""
    return (detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail))[:300]
