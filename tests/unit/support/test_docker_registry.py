"""The docker-registry starter: real, counting, and gone after the test."""

import shutil
import ssl
from pathlib import Path

import aiohttp
import pytest

from image_syncer.testing import PULL, Account, Accounts
from image_syncer.testing.artifact_kinds import newer_kinds, twenty_kinds
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from image_syncer.testing.token_server import TokenServer
from support.access_log import parse_access_log
from support.docker_registry import DockerProfile, DockerRegistry
from support.htpasswd import htpasswd
from support.skopeo import Skopeo, SkopeoFailed

pytestmark = pytest.mark.real

ACCOUNTS = Accounts({"alice": Account("secret"), "bob": Account("word", {"public/*": PULL})})


def test_requests_are_counted_from_the_log(skopeo: Skopeo, docker_registry: DockerRegistry) -> None:
    """Here skopeo copies an image and an index into a docker-registry."""
    registry = docker_registry
    registry.forget_requests()
    with FakeRegistry.in_thread() as fake:
        for name in ("docker", "oci-index"):
            image = twenty_kinds()[name]
            fake.load("app", image, name)
            skopeo.copy(f"{fake.host}/app:{name}", f"{registry.host}/counted:{name}")
            assert skopeo.raw(f"{registry.host}/counted:{name}") == image.root.content
        log = registry.read_requests()
        # Three images of the index by digest, the index and the other image by tag.
        assert log.count(method="PUT", kind="manifest", repository="counted", status=201) == 5
        assert log.count(kind="manifest", status=200, method="GET") == 2
        assert log.only(kind="blob").bytes_out == 0
        registry.forget_requests()
        assert len(registry.read_requests()) == 0


@pytest.mark.parametrize("name", ["artifact-manifest", "schema1"])
async def test_newer_and_older_kinds_are_refused(docker_registry: DockerRegistry, name: str) -> None:
    """docker-registry knows no artifact manifest, and no longer accepts schema 1."""
    image = newer_kinds()[name]
    headers = {"Content-Type": image.root.media_type}
    url = f"http://{docker_registry.host}/v2/library/old/manifests/{name}"
    async with aiohttp.ClientSession() as http, http.put(url, data=image.root.content, headers=headers) as response:
        assert response.status == 400


@pytest.mark.usefixtures("docker_registry")
def test_htpasswd_authenticates_users_by_password(skopeo: Skopeo) -> None:
    """And refuses everyone else."""
    with DockerRegistry(DockerProfile(passwords={"alice": "secret"})) as registry, FakeRegistry.in_thread() as fake:
        fake.load("app", single("app"), "v1")
        for credentials in ("alice:wrong", ""):
            with pytest.raises(SkopeoFailed, match=r"unauthorized|authentication required"):
                Skopeo(skopeo.home, credentials).copy(f"{fake.host}/app:v1", f"{registry.host}/app:v1")
        Skopeo(skopeo.home, "alice:secret").copy(f"{fake.host}/app:v1", f"{registry.host}/app:v1")


@pytest.mark.usefixtures("docker_registry")
def test_tokens_carry_the_rights_of_each_user(skopeo: Skopeo) -> None:
    """docker-registry verifies the token server's tokens; a user without the right to push is refused."""
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


async def test_tls_uses_the_certificate_of_the_private_ca(docker_tls: DockerRegistry, private_ca: Path) -> None:
    """Only clients that trust the CA connect."""
    trusting = ssl.create_default_context(cafile=private_ca / "ca.pem")
    async with aiohttp.ClientSession(f"https://{docker_tls.host}") as http:
        async with http.get("/v2/", ssl=trusting) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get("/v2/")


@pytest.mark.usefixtures("docker_registry")
@pytest.mark.parametrize(("cache", "status"), [(True, 200), (False, 404)])
async def test_a_registry_with_a_cache_reads_its_disk_once(skopeo: Skopeo, *, cache: bool, status: int) -> None:
    """It still reports a blob that has disappeared from the disk."""
    image = single("cached")
    blob = next(iter(image.blobs))
    with DockerRegistry(DockerProfile(cache=cache)) as registry, FakeRegistry.in_thread() as fake:
        fake.load("app", image, "v1")
        skopeo.copy(f"{fake.host}/app:v1", f"{registry.host}/app:v1")
        shutil.rmtree(registry.storage / f"docker/registry/v2/blobs/sha256/{blob.encoded[:2]}/{blob.encoded}")
        url = f"http://{registry.host}/v2/app/blobs/{blob}"
        async with aiohttp.ClientSession() as http, http.head(url) as response:
            assert response.status == status


def test_htpasswd_lines_contain_no_password() -> None:
    """bcrypt, each with its own salt."""
    text = htpasswd({"alice": "secret", "bob": "secret"})
    assert "secret" not in text
    assert len({line.partition(":")[2] for line in text.splitlines()}) == 2


def test_an_access_log_is_parsed_into_requests() -> None:
    """With query and bytes; other lines are skipped."""
    line = '127.0.0.1 - - [23/Nov/2026:22:00:00 +0000] "GET /v2/a/b/tags/list?n=10 HTTP/1.1" 200 42 "" "agent"'
    head = line.replace("GET", "HEAD")
    request, unsent = parse_access_log(["listening on 5000", line, head])
    assert (request.kind, request.repository, request.query) == ("tags", "a/b", (("n", "10"),))
    assert (request.status, request.bytes_out, unsent.bytes_out) == (200, 42, 0)
