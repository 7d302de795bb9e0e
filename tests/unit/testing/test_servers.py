"""The servers that tests start are real, count what they are asked, and go away."""

import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme

from image_syncer.testing import PULL, Account, Accounts
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from image_syncer.testing.kinds import newer_kinds, twenty_kinds
from image_syncer.testing.passwords import htpasswd
from image_syncer.testing.requests import parse_access_log
from image_syncer.testing.servers import DockerProfile, DockerRegistry, TlsFiles
from image_syncer.testing.skopeo import SKOPEO_CANNOT_COPY, Skopeo, SkopeoFailed
from image_syncer.testing.token_server import TokenServer

pytestmark = pytest.mark.real

ACCOUNTS = Accounts({"alice": Account("secret"), "bob": Account("word", {"public/*": PULL})})


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    """An independent client, where both programs are installed."""
    if not (DockerRegistry.is_installed() and Skopeo.is_installed()):
        pytest.skip("docker-registry or skopeo is not installed")
    return Skopeo(tmp_path)


def test_a_docker_registry_takes_the_twenty_kinds(skopeo: Skopeo) -> None:
    """Each of them by skopeo's copy, and the requests are counted in its log."""
    with FakeRegistry.in_thread() as fake, DockerRegistry() as registry:
        for name in twenty_kinds().keys() - SKOPEO_CANNOT_COPY:
            image = twenty_kinds()[name]
            fake.load("app", image, name)
            skopeo.copy(f"{fake.host}/app:{name}", f"{registry.host}/app:{name}")
            assert skopeo.raw(f"{registry.host}/app:{name}") == image.root.content
        log = registry.read_requests()
        # skopeo pushes the parts of an index by digest, and the index itself by its tag.
        assert log.count(method="PUT", kind="manifest", repository="app") >= 19
        assert log.only(kind="blob").bytes_out == 0
        registry.forget_requests()
        assert len(registry.read_requests()) == 0


@pytest.mark.parametrize("name", ["artifact-manifest", "schema1"])
async def test_a_docker_registry_refuses_newer_and_older_kinds(skopeo: Skopeo, name: str) -> None:
    """It knows no artifact manifest, and takes no schema 1 any more."""
    image = newer_kinds()[name]
    with DockerRegistry() as registry:
        headers = {"Content-Type": image.root.media_type}
        url = f"http://{registry.host}/v2/library/old/manifests/{name}"
        async with aiohttp.ClientSession() as http, http.put(url, data=image.root.content, headers=headers) as response:
            assert response.status == 400


def test_htpasswd_lets_those_in_who_know_their_password(skopeo: Skopeo) -> None:
    """And nobody else."""
    with DockerRegistry(DockerProfile(passwords={"alice": "secret"})) as registry, FakeRegistry.in_thread() as fake:
        fake.load("app", single("app"), "v1")
        for credentials in ("alice:wrong", ""):
            with pytest.raises(SkopeoFailed, match=r"unauthorized|authentication required"):
                Skopeo(skopeo.home, credentials).copy(f"{fake.host}/app:v1", f"{registry.host}/app:v1")
        Skopeo(skopeo.home, "alice:secret").copy(f"{fake.host}/app:v1", f"{registry.host}/app:v1")


def test_tokens_carry_the_rights_of_each_user(skopeo: Skopeo) -> None:
    """docker-registry verifies what the token server signed; a user without the right to push is refused."""
    with (
        TokenServer.in_thread(ACCOUNTS) as tokens,
        DockerRegistry(DockerProfile(issuer=tokens.issuer)) as registry,
        FakeRegistry.in_thread() as fake,
    ):
        fake.load("app", single("app"), "v1")
        target = f"{registry.host}/public/app:v1"
        Skopeo(skopeo.home, "alice:secret").copy(f"{fake.host}/app:v1", target)
        bob = Skopeo(skopeo.home, "bob:word")
        assert bob.raw(target) == single("app").root.content
        with pytest.raises(SkopeoFailed, match=r"denied|unauthorized|authentication required"):
            bob.copy(f"{fake.host}/app:v1", f"{registry.host}/public/other:v1")
        assert tokens.requests.count(status=200) >= 3


async def test_tls_has_the_certificate_of_the_private_ca(tmp_path: Path) -> None:
    """Who trusts the CA gets through, who does not is stopped."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key")
    files.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    files.key.write_bytes(issued.private_key_pem.bytes())
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    with DockerRegistry(DockerProfile(tls=files)) as registry:
        async with aiohttp.ClientSession(f"https://{registry.host}") as http:
            async with http.get("/v2/", ssl=trusting) as response:
                assert response.status == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await http.get("/v2/")


def test_htpasswd_lines_hold_no_password() -> None:
    """bcrypt, with a salt of its own for each."""
    text = htpasswd({"alice": "secret", "bob": "secret"})
    assert "secret" not in text
    assert len({line.partition(":")[2] for line in text.splitlines()}) == 2


def test_an_access_log_becomes_requests() -> None:
    """Query and bytes are read, other lines left out."""
    line = '127.0.0.1 - - [23/Nov/2026:22:00:00 +0000] "GET /v2/a/b/tags/list?n=10 HTTP/1.1" 200 42 "" "agent"'
    head = line.replace("GET", "HEAD")
    request, unsent = parse_access_log(["listening on 5000", line, head])
    assert (request.kind, request.repository, request.query) == ("tags", "a/b", (("n", "10"),))
    assert (request.status, request.bytes_out, unsent.bytes_out) == (200, 42, 0)
