"""Checks of a registry: what they find in sound and in broken set-ups, which remedy helps, and that nothing stays."""

import dataclasses
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from image_syncer.app_check import check_registries
from image_syncer.app_options import Options
from image_syncer.oci import Repository
from image_syncer.registry.auth.credential_sources import IssuedCredential, IssuedCredentialSource
from image_syncer.registry.checks.check_values import CheckStep, RegistryToCheck
from image_syncer.registry.checks.connection_check import ConnectionCheck
from image_syncer.registry.checks.registry_check import credentials_step
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.settings import Credential, RegistryAccount, Timeouts
from image_syncer.registry.transport_settings import TransportSettings
from image_syncer.registry.vendor_profiles import known_limits
from image_syncer.structs import replace
from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.accounts import PULL
from image_syncer.testing.images import single
from image_syncer.testing.profile import Profile, QuotaProfile
from support.http_exchange import Open

NAME = "registry.example"
PATH = "team/app"
MIB = 1024 * 1024

ALICE = Accounts({"alice": Account("secret"), "reader": Account("secret", {"*": PULL})})


def options(tmp_path: Path, *accounts: RegistryAccount, transport: TransportSettings | None = None) -> Options:
    """Options without any login of this machine."""
    return Options(
        access=accounts,
        environment={},
        home=tmp_path,
        timeouts=Timeouts(patience=0.0),
        transports={} if transport is None else {transport.host: transport},
    )


def replace_profile(**changes: object) -> Profile:
    """Return the generous profile with *changes*."""
    return dataclasses.replace(profiles.OCI, **changes)


async def found(given: Options, wanted: RegistryToCheck, *, writes: bool = False) -> Mapping[str, CheckStep]:
    """Return the steps of one check by their names."""
    (report,) = await check_registries(given, [wanted], writes=writes)
    assert report.has_failed == any(step.status == "failed" for step in report.steps)
    return {step.name: step for step in report.steps}


async def checked(
    profile: Profile, tmp_path: Path, *accounts: RegistryAccount, writes: bool = False
) -> tuple[Mapping[str, CheckStep], FakeRegistry]:
    """Return the steps for a repository of a registry with *profile*, which is source and target, and the registry."""
    async with FakeRegistry(profile) as registry:
        registry.load(PATH, single("image"), "v1")
        repository = registry.repository(PATH)
        wanted = RegistryToCheck(registry.host, repository, repository)
        given = [replace(account, prefix=registry.host) for account in accounts]
        steps = await found(options(tmp_path, *given), wanted, writes=writes)
        assert registry.unfinished_uploads == 0
        return steps, registry


def failed(steps: Mapping[str, CheckStep]) -> Sequence[str]:
    """Return the names of the steps that failed."""
    return [name for name, step in steps.items() if step.status == "failed"]


@pytest.mark.parametrize("profile", profiles.ALL, ids=lambda profile: profile.name)
async def test_no_step_fails_at_a_sound_registry_and_nothing_stays_there(profile: Profile, tmp_path: Path) -> None:
    """The upload is cancelled; no manifest is pushed, and none is deleted."""
    steps, registry = await checked(profile, tmp_path)
    assert failed(steps) == []
    assert {"credentials", "name", "tls", "ping", "login", "pull", "head", "push", "chunks", "mount"} <= set(steps)
    assert set(registry.content(PATH).tags) == {"v1"}
    assert registry.requests.count(method="PUT") == 0
    assert registry.requests.count(method="DELETE", kind="manifest") == 0
    assert registry.requests.count(method="GET", kind="manifest") == 1
    assert len(registry.requests) <= 20


async def test_what_a_generous_registry_can_do(tmp_path: Path) -> None:
    """Each step that is tried succeeds."""
    steps, _ = await checked(profiles.OCI, tmp_path)
    assert {name for name, step in steps.items() if step.status != "ok"} == {"credentials", "tls"}


async def test_write_pushes_a_tag_and_deletes_it(tmp_path: Path) -> None:
    """Other tags stay."""
    steps, registry = await checked(profiles.OCI, tmp_path, writes=True)
    assert (steps["write"].status, steps["delete"].status) == ("ok", "ok")
    assert set(registry.content(PATH).tags) == {"v1"}
    assert registry.requests.count(method="PUT", kind="manifest") == 1


async def test_a_tag_that_cannot_be_deleted_is_named(tmp_path: Path) -> None:
    """It is all that --write may leave behind."""
    steps, registry = await checked(replace_profile(deletes="nothing"), tmp_path, writes=True)
    assert steps["delete"].status == "note"
    assert "image-syncer-check stays at" in (steps["delete"].remedy or "")
    assert set(registry.content(PATH).tags) == {"v1", "image-syncer-check"}


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_a_wrong_password_fails_and_the_remedy_says_where_it_is(auth: str, tmp_path: Path) -> None:
    """With the right one, the check passes."""
    profile = replace_profile(auth=auth, accounts=ALICE)
    wrong = RegistryAccount("", Credential("alice", "wrong"), origin="mirror.yaml:3")
    steps, _ = await checked(profile, tmp_path, wrong)
    assert failed(steps) == ["login"]
    assert steps["credentials"].text == "alice from mirror.yaml:3"
    assert "login" in (steps["login"].remedy or "") or "mirror.yaml:3" in (steps["login"].remedy or "")
    assert "wrong" not in str(steps)
    steps, _ = await checked(profile, tmp_path, replace(wrong, credential=Credential("alice", "secret")))
    assert failed(steps) == []


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_a_login_that_may_not_push_fails_at_the_push(auth: str, tmp_path: Path) -> None:
    """It may read, which is enough for a source."""
    reader = RegistryAccount("", Credential("reader", "secret"))
    steps, _ = await checked(replace_profile(auth=auth, accounts=ALICE), tmp_path, reader)
    assert failed(steps) == ["push"]
    assert steps["pull"].status == "ok"
    assert steps["push"].remedy


async def test_a_body_limit_of_1_mib_is_found(tmp_path: Path) -> None:
    """A proxy such as nginx has it by default. Copies send smaller chunks, so it is a warning."""
    steps, _ = await checked(replace_profile(chunk_max_bytes=MIB), tmp_path)
    assert steps["chunks"].status == "warning"
    assert steps["chunks"].remedy == "raise the limit of the registry or of the proxy in front of it"
    steps, _ = await checked(replace_profile(chunk_max_bytes=MIB + 1), tmp_path)
    assert steps["chunks"].status == "ok"


@pytest.mark.parametrize(("head", "text"), [("refused", "answered 405"), ("no digest", "no Docker-Content-Digest")])
async def test_a_head_that_tells_less_than_get_is_found(head: str, text: str, tmp_path: Path) -> None:
    """Each check of a tag then costs a pull."""
    steps, _ = await checked(replace_profile(head=head), tmp_path)
    assert steps["head"].status == "warning"
    assert text in steps["head"].text


async def test_the_quota_is_shown_and_a_used_up_one_fails(tmp_path: Path) -> None:
    """A low one is a warning."""
    seen: list[tuple[str, str]] = []
    async with FakeRegistry(replace_profile(quota=QuotaProfile(2, 3600))) as registry:
        registry.load(PATH, single("image"), "v1")
        wanted = RegistryToCheck(registry.host, registry.repository(PATH))
        for _ in range(3):
            steps = await found(options(tmp_path), wanted)
            seen.append((steps["quota"].status, steps["quota"].text))
    assert seen == [
        ("ok", "2 left of 2 per 1 h"),
        ("ok", "1 left of 2 per 1 h"),
        ("failed", "0 left of 2 per 1 h"),
    ]


async def test_abilities_that_are_missing_are_notes(tmp_path: Path) -> None:
    """Copies work without them."""
    steps, _ = await checked(replace_profile(referrers=False, catalog=False, mount="never"), tmp_path)
    assert failed(steps) == []
    assert {steps[name].status for name in ("referrers", "catalogue", "mount")} == {"note"}


async def test_a_closed_catalogue_fails_if_a_pattern_needs_it(tmp_path: Path) -> None:
    """The remedy is that of a run."""
    async with FakeRegistry(replace_profile(catalog=False)) as registry:
        steps = await found(options(tmp_path), RegistryToCheck(registry.host, needs_catalogue=True))
    assert failed(steps) == ["catalogue"]
    assert "name the repositories" in (steps["catalogue"].remedy or "")
    assert steps["pull"].status == "skipped"


async def test_a_registry_alone_is_read_at_its_first_repository(tmp_path: Path) -> None:
    """Nothing is pushed there."""
    async with FakeRegistry() as registry:
        registry.load(PATH, single("image"), "v1")
        steps = await found(options(tmp_path), RegistryToCheck(registry.host))
        assert PATH in steps["pull"].text
        assert "push" not in steps
        assert {request.method for request in registry.requests} == {"GET", "HEAD"}


async def test_a_missing_source_fails_and_a_missing_target_does_not(tmp_path: Path) -> None:
    """Most registries create the target at the first push."""
    async with FakeRegistry() as registry:
        missing = registry.repository("no/such")
        source = await found(options(tmp_path), RegistryToCheck(registry.host, missing))
        target = await found(options(tmp_path), RegistryToCheck(registry.host, target=missing))
    assert failed(source) == ["pull"]
    assert (target["pull"].status, target["push"].status) == ("note", "ok")


async def test_the_end_of_a_login_that_a_cloud_issued_is_shown(tmp_path: Path) -> None:
    """The login of a file has no end that is known."""

    class Cloud:
        async def credential(self, registry: str) -> IssuedCredential:
            assert registry == NAME
            return IssuedCredential(Credential("AWS", "secret"), 1_900_000_000.0)

    source = IssuedCredentialSource(Cloud(), NAME)
    account = RegistryAccount(NAME, await source.current(), origin="mirror.yaml:3", source=source)
    assert credentials_step(account).text == "AWS from mirror.yaml:3, valid until 2030-03-17 17:46 UTC"
    assert credentials_step(replace(account, source=None)).text == "AWS from mirror.yaml:3"


async def test_a_product_that_names_itself_is_shown(tmp_path: Path) -> None:
    """By its header; the text of a server is cut."""
    steps, _ = await checked(profiles.ARTIFACTORY, tmp_path)
    assert ", Artifactory " in steps["ping"].text
    steps, _ = await checked(replace_profile(headers={"Server": "x" * 500}), tmp_path)
    assert f", server {'x' * 80}...; login: none demanded" in steps["ping"].text


@pytest.mark.parametrize(
    ("registry", "text"),
    [
        ("ghcr.io", "10 minutes"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "60 000 tags"),
        ("docker.io", "pulls are counted"),
    ],
)
def test_limits_that_no_response_tells_are_known(registry: str, text: str) -> None:
    """By the name of the vendor's host; other hosts have none."""
    assert any(text in limit for limit in known_limits(registry))
    assert known_limits(f"mirror.{registry}:5000" if registry == "ghcr.io" else "registry.example.com") == ()


async def test_a_server_that_is_no_registry_fails_at_the_ping(tmp_path: Path) -> None:
    """No login is sent there."""

    async def not_found(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    async with FakeRegistry() as registry:
        registry.intercept.append(not_found)
        account = RegistryAccount(registry.host, Credential("alice", "secret"))
        steps = await found(options(tmp_path, account), RegistryToCheck(registry.host))
        assert failed(steps) == ["ping"]
        assert list(steps)[-1] == "ping"
        assert [request.path for request in registry.requests] == ["/v2/"]


async def test_a_name_that_does_not_exist_and_a_closed_port_end_the_check(tmp_path: Path) -> None:
    """No name server is asked: the name has an empty label."""
    steps = await found(options(tmp_path), RegistryToCheck("registry..example"))
    assert failed(steps) == ["name"]
    assert steps["name"].remedy
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))  # Not listening.
        steps = await found(options(tmp_path), RegistryToCheck(f"127.0.0.1:{bound.getsockname()[1]}"))
    assert failed(steps) == ["connection"]
    assert "check the address and the port" in (steps["connection"].remedy or "")


def tls_of(
    authority: trustme.CA, *, not_before: datetime | None = None, not_after: datetime | None = None
) -> ssl.SSLContext:
    """Return the context of a server for `registry.example`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.issue_cert(
        NAME, not_before=not_before, not_after=not_after
    ).private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    return context


async def over_tls(
    tmp_path: Path, tls: ssl.SSLContext, *authorities: Path, insecure: bool = False
) -> Mapping[str, CheckStep]:
    """Return the steps for a registry called `registry.example` that speaks TLS."""
    async with FakeRegistry(replace_profile(tls=tls)) as registry:
        host = f"{NAME}:{registry.host.rpartition(':')[2]}"
        trusted = tuple(map(str, authorities))
        transport = TransportSettings(host, addresses=("127.0.0.1",), authorities=trusted)
        accounts = [RegistryAccount(host, insecure=True)] if insecure else []
        registry.load(PATH, single("image"), "v1")
        wanted = RegistryToCheck(host, Repository(host, PATH))
        return await found(options(tmp_path, *accounts, transport=transport), wanted)


async def test_an_untrusted_certificate_fails_until_its_authority_is_configured(
    tmp_path: Path, authority: trustme.CA, authority_file: Path
) -> None:
    """The step shows issuer and expiry; `insecure` accepts the certificate, and is then a warning, or not needed."""
    tls = tls_of(authority)
    steps = await over_tls(tmp_path, tls)
    assert failed(steps) == ["tls"]
    assert "put its CA into" in (steps["tls"].remedy or "")
    steps = await over_tls(tmp_path, tls, insecure=True)
    assert (failed(steps), steps["tls"].status) == ([], "warning")
    steps = await over_tls(tmp_path, tls, authority_file)
    assert (failed(steps), steps["tls"].status) == ([], "ok")
    assert "issued by trustme" in steps["tls"].text
    steps = await over_tls(tmp_path, tls, authority_file, insecure=True)
    assert steps["tls"].remedy == "remove insecure: true, which this registry does not need"


async def test_a_certificate_that_expires_soon_is_a_warning_and_an_expired_one_fails(
    tmp_path: Path, authority: trustme.CA, authority_file: Path
) -> None:
    """Two weeks are soon."""
    now = datetime.now(UTC)
    soon = tls_of(authority, not_after=now + timedelta(days=3, hours=1))
    steps = await over_tls(tmp_path, soon, authority_file)
    assert (failed(steps), steps["tls"].status) == ([], "warning")
    assert steps["tls"].text.endswith(": in 3 days")
    expired = tls_of(authority, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
    steps = await over_tls(tmp_path, expired, authority_file)
    assert failed(steps) == ["tls"]
    assert "expired" in steps["tls"].text


async def test_a_slow_handshake_is_not_taken_for_plain_http(authority: trustme.CA, open_transport: Open) -> None:
    """The first one has no time at all here; the server does not speak plain HTTP, so the next one has no limit."""
    async with FakeRegistry(replace_profile(tls=tls_of(authority))) as registry:
        account = RegistryAccount(registry.host, insecure=True)
        transport = await open_transport()
        check = ConnectionCheck(registry.host, account, transport, Clock(), handshake_seconds=0.0)
        steps = {step.name: step.status async for step in check.steps()}
    assert steps == {"name": "ok", "tls": "warning", "ping": "ok"}
