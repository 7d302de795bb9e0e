"""TLS contexts: the authorities they trust, and the files they refuse."""

import ssl
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from image_syncer.errors import InsecureConnection
from image_syncer.registry.http.tls import TlsContexts, TlsPolicy, certificate_directories


def contexts(environment: Mapping[str, str] | None = None, *directories: Path) -> TlsContexts:
    """Return a new cache of contexts."""
    return TlsContexts(environment or {}, directories)


def subjects(context: ssl.SSLContext) -> str:
    """Return the subjects of the authorities that *context* trusts."""
    return str(context.get_ca_certs())


@pytest.fixture
def other() -> trustme.CA:
    """Another CA."""
    return trustme.CA(organization_name="Another")


def test_certificate_directories_are_those_of_docker_and_containers() -> None:
    """The directories of the system and of the user."""
    paths = [str(path) for path in certificate_directories({"HOME": "/home/someone"})]
    assert paths == [
        "/etc/docker/certs.d",
        "/etc/containers/certs.d",
        "/home/someone/.config/containers/certs.d",
    ]
    assert len(certificate_directories({})) == 2


def test_verification_is_on_by_default() -> None:
    """Only `insecure` turns it off."""
    secure = contexts().context(TlsPolicy("a.example"))
    insecure = contexts().context(TlsPolicy("a.example", insecure=True))
    assert (secure.verify_mode, secure.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (insecure.verify_mode, insecure.check_hostname) == (ssl.CERT_NONE, False)


def test_hosts_without_certificates_of_their_own_share_a_context(tmp_path: Path) -> None:
    """The context is part of the connection pool's key, and loading one takes milliseconds."""
    (tmp_path / "own.example").mkdir()
    kept = contexts(None, tmp_path)
    assert kept.context(TlsPolicy("a.example")) is kept.context(TlsPolicy("b.example"))
    assert kept.context(TlsPolicy("a.example")) is not kept.context(TlsPolicy("own.example"))
    assert kept.context(TlsPolicy("a.example")) is not kept.context(TlsPolicy("a.example", insecure=True))


def test_a_ca_in_certs_d_is_trusted_only_for_its_host(tmp_path: Path, other: trustme.CA) -> None:
    """Every `*.crt` of the host's directory is loaded."""
    (tmp_path / "a.example:5000").mkdir()
    other.cert_pem.write_to_path(str(tmp_path / "a.example:5000" / "company.crt"))
    kept = contexts(None, tmp_path)
    assert "Another" in subjects(kept.context(TlsPolicy("a.example:5000")))
    assert "Another" not in subjects(kept.context(TlsPolicy("a.example")))


def test_ssl_cert_file_replaces_the_file_of_the_system(authority_file: Path) -> None:
    """As in Go, only that file and the directory of hashed names remain."""
    context = contexts({"SSL_CERT_FILE": str(authority_file)}).context(TlsPolicy("a.example"))
    assert len(context.get_ca_certs()) == 1
    assert "trustme" in subjects(context)


def test_ssl_cert_dir_is_read_file_by_file(tmp_path: Path, authority_file: Path, other: trustme.CA) -> None:
    """Files need no hashed names, there may be several directories, and other files are skipped."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "README").write_text("hello")
    other.cert_pem.write_to_path(str(tmp_path / "two" / "company.pem"))
    environment = {"SSL_CERT_FILE": str(authority_file), "SSL_CERT_DIR": f"{tmp_path / 'one'}:{tmp_path / 'two'}"}
    assert "Another" in subjects(contexts(environment).context(TlsPolicy("a.example")))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unusable_configured_file_is_an_error(tmp_path: Path, content: str | None) -> None:
    """Ignoring it would end in "certificate not trusted", which is harder to understand."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InsecureConnection, match=r"SSL_CERT_FILE: the certificates in .*ca.pem"):
        contexts({"SSL_CERT_FILE": str(file)}).context(TlsPolicy("a.example"))


@pytest.mark.parametrize("key", [None, "no key", "encrypted"])
def test_a_client_certificate_needs_its_key(tmp_path: Path, authority: trustme.CA, key: str | None) -> None:
    """The message names an invalid pair, and no password prompt appears on the terminal."""
    own = tmp_path / "a.example"
    own.mkdir()
    identity = authority.issue_cert("client.example")
    identity.cert_chain_pems[0].write_to_path(str(own / "client.cert"))
    text = identity.private_key_pem.bytes().decode() if key == "encrypted" else key
    if text is not None:
        (own / "client.key").write_text(_encrypted(text) if key == "encrypted" else text)
    with pytest.raises(InsecureConnection, match=r"a.example: the client certificate .*client.cert"):
        contexts(None, tmp_path).context(TlsPolicy("a.example"))


@pytest.mark.parametrize("host", ["..", ".", "../etc", "a/b", "", "a\0b"])
def test_a_host_cannot_escape_from_certs_d(tmp_path: Path, authority: trustme.CA, host: str) -> None:
    """Hosts may come from redirects, which are untrusted."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    (tmp_path / "certs.d" / "a").mkdir(parents=True)
    kept = contexts(None, tmp_path / "certs.d")
    assert kept.context(TlsPolicy(host)) is kept.context(TlsPolicy("plain.example"))


def _encrypted(pem: str) -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # Slow to import, and used once.

    key = serialization.load_pem_private_key(pem.encode(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"password"),
    ).decode()


def test_a_directory_that_appears_is_found_after_ten_seconds(
    tmp_path: Path, other: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request needs a context, and looking for directories took a twentieth of a run over TLS."""
    seconds = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    kept = contexts(None, tmp_path)
    before = kept.context(TlsPolicy("a.example"))
    (tmp_path / "a.example").mkdir()
    other.cert_pem.write_to_path(str(tmp_path / "a.example" / "ca.crt"))
    seconds[0] += 9.0
    assert kept.context(TlsPolicy("a.example")) is before
    seconds[0] += 2.0
    assert "Another" in subjects(kept.context(TlsPolicy("a.example")))
