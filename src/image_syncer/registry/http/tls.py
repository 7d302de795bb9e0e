"""TLS contexts, one per set of certificates, with those of docker's certs.d directories."""

import re
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from image_syncer.errors import InsecureConnection
from image_syncer.registry.http.descriptors import out_of_descriptors
from image_syncer.registry.transport_settings import ClientCertificate
from image_syncer.structs import Struct

_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_LOOK_SECONDS: Final = 10.0
_CACHED_POLICIES: Final = 512
_FILES_LIMIT: Final = 1_000  # Per directory.
# A single path component: hosts may come from redirects, which are untrusted.
_HOST: Final = re.compile(r"(?!\.\.?$)[A-Za-z0-9._\[\]:-]{1,255}")


class TlsPolicy(Struct):
    """TLS settings for *host* (`host` or `host:port`, as in certs.d); *insecure* accepts every certificate.

    *handshake_seconds* limits the TLS handshake; None: only the limit of the whole connection applies. *authorities*
    are files of certificates that are trusted beside those of the system; *client_certificate* identifies us.
    """

    host: str
    insecure: bool = False
    handshake_seconds: float | None = None
    authorities: tuple[str, ...] = ()
    client_certificate: ClientCertificate | None = None


def certificate_directories(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the certs.d directories of docker and the containers tools."""
    system = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
    home = environment.get("HOME")
    return (*system, Path(home, ".config/containers/certs.d")) if home else system


_ContextKey = tuple[
    bool, tuple[Path, ...], tuple[str, ...], ClientCertificate | None, tuple[tuple[int, int, int] | None, ...]
]


class TlsContexts:
    """Builds and caches contexts. Hosts without certificates of their own share one context, and so connections."""

    def __init__(self, environment: Mapping[str, str], directories: Sequence[Path]) -> None:
        self._environment = environment
        self._directories = directories
        self._contexts: dict[_ContextKey, ssl.SSLContext] = {}
        self._by_policy: dict[TlsPolicy, tuple[float, ssl.SSLContext]] = {}

    def context(self, policy: TlsPolicy) -> ssl.SSLContext:
        """Return the context for *policy*; raises `InsecureConnection` for an unusable certificate file.

        The directories of a host, and changes of the files that its policy names, are looked for every ten seconds, not
        for each request. So a renewed client certificate is used without a restart.
        """
        now = time.monotonic()
        looked, context = self._by_policy.get(policy, (0.0, None))
        if context is None or now - looked >= _LOOK_SECONDS:
            context = self._find(policy)
            if len(self._by_policy) >= _CACHED_POLICIES:
                self._by_policy.clear()
            self._by_policy[policy] = now, context
        return context

    def _find(self, policy: TlsPolicy) -> ssl.SSLContext:
        pair = policy.client_certificate
        directories = self._host_directories(policy.host)
        named = (*policy.authorities, *((pair.certificate, pair.key) if pair else ()))
        key = policy.insecure, directories, policy.authorities, pair, tuple(map(_stamp, named))
        if key not in self._contexts:
            if len(self._contexts) >= _CACHED_POLICIES:
                self._contexts.clear()
            try:
                self._contexts[key] = self._build(policy, directories)
            except (OSError, InsecureConnection) as error:
                cause = error.__cause__ if isinstance(error, InsecureConnection) else error
                if cause is not None and (shortage := out_of_descriptors(cause, policy.host)) is not None:
                    raise shortage from error
                raise
        return self._contexts[key]

    def _host_directories(self, host: str) -> tuple[Path, ...]:
        if not _HOST.fullmatch(host):
            return ()
        return tuple(found for directory in self._directories if (found := directory / host).is_dir())

    def _build(self, policy: TlsPolicy, directories: tuple[Path, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = max(
            context.minimum_version, ssl.TLSVersion.TLSv1_2
        )  # The system may demand a later one.
        context.set_alpn_protocols(["http/1.1"])
        if policy.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            _trust_system(context, self._environment)
            for file in policy.authorities:
                _load_authorities(context, Path(file), policy.host)
        for directory in directories:
            _load_directory(context, directory, policy)
        if policy.client_certificate is not None:
            pair = policy.client_certificate
            _load_client_certificate(context, Path(pair.certificate), Path(pair.key), policy.host)
        return context


def _trust_system(context: ssl.SSLContext, environment: Mapping[str, str]) -> None:
    """Trust the system's authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace its file and directory, as in Go."""
    defaults = ssl.get_default_verify_paths()
    if file := environment.get("SSL_CERT_FILE"):
        _load_authorities(context, Path(file), "SSL_CERT_FILE")
    else:
        found = next((path for path in (defaults.openssl_cafile, *_BUNDLES) if Path(path).is_file()), None)
        context.load_verify_locations(cafile=found) if found else None
    if named := environment.get("SSL_CERT_DIR"):
        for directory in filter(None, named.split(":")):
            _load_every_authority(context, Path(directory))
    elif Path(defaults.openssl_capath).is_dir():
        context.load_verify_locations(capath=defaults.openssl_capath)


def _load_every_authority(context: ssl.SSLContext, directory: Path) -> None:
    for file in _files(directory, "*", "SSL_CERT_DIR"):
        try:
            context.load_verify_locations(cafile=file)
        except (OSError, ssl.SSLError) as error:
            if out_of_descriptors(error, "") is not None:
                raise  # A context without this authority would be kept.
            continue  # Such directories also hold other files; Go and OpenSSL skip them too.


def _load_directory(context: ssl.SSLContext, directory: Path, policy: TlsPolicy) -> None:
    if not policy.insecure:
        for file in _files(directory, "*.crt", policy.host):
            _load_authorities(context, file, policy.host)
    for file in _files(directory, "*.cert", policy.host):
        _load_client_certificate(context, file, file.with_suffix(".key"), policy.host)


def _load_client_certificate(context: ssl.SSLContext, file: Path, key: Path, host: str) -> None:
    try:
        context.load_cert_chain(file, key, password=_no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise InsecureConnection(
            f"{host}: the client certificate {file} and its key {key.name} cannot be used: {_why(error)}",
            remedy="both must be readable PEM files, the key without a password",
        ) from error


def _load_authorities(context: ssl.SSLContext, file: Path, what: str) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise InsecureConnection(
            f"{what}: the certificates in {file} cannot be used: {_why(error)}",
            remedy="it must be a readable file of certificates in PEM form",
        ) from error


def _stamp(file: str) -> tuple[int, int, int] | None:
    """Return what changes when *file* is replaced; None if it cannot be read, which loading it explains."""
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _files(directory: Path, pattern: str, what: str) -> list[Path]:
    try:
        return sorted(file for file in directory.glob(pattern) if file.is_file())[:_FILES_LIMIT]
    except OSError as error:
        raise InsecureConnection(f"{what}: the directory {directory} cannot be read: {_why(error)}") from error


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not in PEM form"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _no_password() -> str:
    """Refuse, so that OpenSSL does not ask for a password on the terminal."""
    raise ValueError("the key is encrypted")
