"""Which login is used for which repository."""

import asyncio
import base64
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from image_syncer.errors import OutOfResources, StoreError, Unauthorized
from image_syncer.oci import Repository
from image_syncer.registry.auth.credential_helpers import ask_helper
from image_syncer.registry.auth.credentials import Keychain, longest_match
from image_syncer.registry.settings import Credential, RegistryAccount

Helper = Callable[[str], dict[str, str]]
NGINX = Repository.parse("nginx")
APP = Repository.parse("reg.example:5000/team/app")


def basic(pair: str) -> dict[str, str]:
    """Return an entry in docker's form."""
    return {"auth": base64.b64encode(pair.encode()).decode()}


def docker_file(home: Path, document: object) -> Path:
    """Write docker's configuration."""
    file = home / ".docker" / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


async def login(
    home: Path, repository: Repository = APP, environment: Mapping[str, str] | None = None
) -> Credential | None:
    """Return the login from the login files."""
    return (await Keychain([], environment=environment or {}, home=home).account_for(repository)).credential


@pytest.fixture
def helper(tmp_path: Path) -> Helper:
    """Write a program `docker-credential-test` with the Python *source*; return an environment with it in PATH."""

    def write(source: str) -> dict[str, str]:
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        program = programs / "docker-credential-test"
        program.write_text(f"#!{sys.executable} -IS\nimport sys, time\nserver = sys.stdin.read()\n{source}\n")
        program.chmod(0o755)
        return {"PATH": f"{programs}:{os.defpath}"}

    return write


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("quay.io/core/etcd", "quay.io/core"),
        ("quay.io/coreos/etcd", "quay.io"),
        ("quay.io/core", "quay.io/core"),
        ("quay.io/team/app/deep", "quay.io/team/app"),
        ("quay.io/team/application", "quay.io/team/"),
        ("reg.example:5000/a", "reg.example:5000"),
        ("reg.example/a", None),
        ("docker.io/library/nginx", "docker.io"),
    ],
)
def test_the_longest_prefix_wins(repository: str, expected: str | None) -> None:
    """In any order, with or without a final slash, up to a whole repository; only whole path components match."""
    prefixes = ["quay.io/team/", "quay.io", "quay.io/core", "quay.io/team/app", "reg.example:5000", "docker.io"]
    for order in (prefixes, prefixes[::-1]):
        found = longest_match([RegistryAccount(prefix) for prefix in order], Repository.parse(repository))
        assert (found and found.prefix) == expected


async def test_without_any_login_the_account_is_anonymous(tmp_path: Path) -> None:
    """Public registries need no entry."""
    assert await Keychain([], environment={}, home=tmp_path).account_for(APP) == RegistryAccount("reg.example:5000")


async def test_a_configured_login_comes_first(tmp_path: Path) -> None:
    """The files of other tools are not opened then, so a broken one does no harm."""
    docker_file(tmp_path, "{broken")
    entry = RegistryAccount("reg.example:5000", Credential("me", "mine"), origin="auth.yaml:3")
    assert await Keychain([entry], environment={}, home=tmp_path).account_for(APP) is entry


async def test_an_entry_without_a_login_takes_it_from_docker(tmp_path: Path) -> None:
    """Users of the Go tool write `insecure: true` and log in with docker."""
    file = docker_file(tmp_path, {"auths": {"reg.example:5000": basic("u:p")}})
    entry = RegistryAccount("reg.example:5000/team", insecure=True, origin="auth.yaml:3")
    found = await Keychain([entry], environment={}, home=tmp_path).account_for(APP)
    assert found == RegistryAccount("reg.example:5000/team", Credential("u", "p"), insecure=True, origin=str(file))
    assert await Keychain([entry], environment={}, home=tmp_path / "x").account_for(APP) == entry


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (basic("u:p:with:colons"), Credential("u", "p:with:colons")),
        (basic("u:p\0\0"), Credential("u", "p")),
        ({"auth": "dTpwcA"}, Credential("u", "pp")),
        ({"auth": "dTpw\r\ncA==\n"}, Credential("u", "pp")),
        ({"auth": base64.b64encode(b"u:\xff").decode()}, Credential("u", "\udcff")),
        ({"username": "u", "password": "p"}, Credential("u", "p")),
        ({**basic("u:p"), "identitytoken": "t"}, Credential(identity_token="t")),
        ({}, None),
        ("nonsense", None),
    ],
)
async def test_every_form_of_an_entry_is_read(tmp_path: Path, entry: object, expected: Credential | None) -> None:
    """Base64, two fields, or an identity token; an empty entry holds no login."""
    docker_file(tmp_path, {"auths": {"reg.example:5000": entry}, "HttpHeaders": {"a": "b"}})
    assert await login(tmp_path) == expected


@pytest.mark.parametrize(
    ("key", "repository"),
    [
        ("https://index.docker.io/v1/", NGINX),
        ("index.docker.io", NGINX),
        ("docker.io", NGINX),
        ("registry-1.docker.io", NGINX),
        ("docker.io/library/nginx", NGINX),
        ("https://reg.example:5000", APP),
        ("http://reg.example:5000/v2/", APP),
        ("reg.example:5000/v1", APP),
        ("REG.example:5000/", APP),
        ("reg.example:5000/team", APP),
    ],
)
async def test_every_form_of_a_key_is_read(tmp_path: Path, key: str, repository: Repository) -> None:
    """Docker writes URLs, podman writes names and namespaces."""
    docker_file(tmp_path, {"auths": {"other.example": basic("x:y"), key: basic("u:p")}})
    assert await login(tmp_path, repository) == Credential("u", "p")


async def test_the_most_specific_entry_of_a_file_wins(tmp_path: Path) -> None:
    """Repository before namespace before registry, as podman does."""
    entries = {"reg.example:5000": "a:a", "reg.example:5000/team/app": "b:b", "reg.example:5000/team": "c:c"}
    docker_file(tmp_path, {"auths": {key: basic(pair) for key, pair in entries.items()}})
    assert await login(tmp_path) == Credential("b", "b")
    assert await login(tmp_path, Repository.parse("reg.example:5000/team/x")) == Credential("c", "c")


async def test_login_files_have_a_fixed_order(tmp_path: Path) -> None:
    """Each further source takes precedence over those before it."""

    def write(path: Path, pair: str) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {"reg.example:5000": basic(pair)}}))
        return str(path)

    environment: dict[str, str] = {}
    write(tmp_path / ".docker/config.json", "1:x")
    assert await login(tmp_path, APP, environment) == Credential("1", "x")
    write(tmp_path / "elsewhere/config.json", "2:x")
    environment["DOCKER_CONFIG"] = str(tmp_path / "elsewhere")
    assert await login(tmp_path, APP, environment) == Credential("2", "x")
    write(tmp_path / ".config/containers/auth.json", "3:x")
    assert await login(tmp_path, APP, environment) == Credential("3", "x")
    write(tmp_path / "run/containers/auth.json", "4:x")
    environment["XDG_RUNTIME_DIR"] = str(tmp_path / "run")
    assert await login(tmp_path, APP, environment) == Credential("4", "x")
    environment["REGISTRY_AUTH_FILE"] = write(tmp_path / "named.json", "5:x")
    assert await login(tmp_path, APP, environment) == Credential("5", "x")
    environment["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"reg.example:5000": basic("6:x")}})
    assert await login(tmp_path, APP, environment) == Credential("6", "x")


@pytest.mark.parametrize("document", ["", " \n\t", "\ufeff", "\ufeff\r\n", "null"])
async def test_a_blank_login_file_holds_no_login(tmp_path: Path, document: str) -> None:
    """Mounted secrets may be empty; docker and podman accept such files too."""
    docker_file(tmp_path, document)
    assert await login(tmp_path) is None
    assert await login(tmp_path / "elsewhere", APP, {"DOCKER_AUTH_CONFIG": document}) is None


async def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Editors and shells of Windows write one."""
    docker_file(tmp_path, "\ufeff" + json.dumps({"auths": {"reg.example:5000": basic("u:p")}}))
    assert await login(tmp_path) == Credential("u", "p")


@pytest.mark.parametrize(
    "document",
    ['{"auths": {"reg": {"auth": "SECRET"', "[]", '{"auths": 7}', "[" * 100_000, " " * 2_000_000, "\xff\x00"],
)
async def test_an_unreadable_login_file_is_an_error(tmp_path: Path, document: str) -> None:
    """An anonymous request would end in a puzzling 401. The message names the file, not its content."""
    docker_file(tmp_path, document)
    with pytest.raises(Unauthorized, match=r"config.json: logins cannot be read") as raised:
        await login(tmp_path)
    assert "SECRET" not in str(raised.value) + repr(raised.value.__cause__)


@pytest.mark.parametrize("auth", ["SECRET!", base64.b64encode(b"SECRET").decode(), base64.b64encode(b":p").decode()])
async def test_an_invalid_entry_is_named(tmp_path: Path, auth: str) -> None:
    """The message names entry and file, not the content; other entries of the file still work."""
    docker_file(tmp_path, {"auths": {"reg.example:5000": {"auth": auth}, "docker.io": basic("u:p")}})
    with pytest.raises(Unauthorized, match=r"config.json: the entry for reg.example:5000 is invalid") as raised:
        await login(tmp_path)
    assert auth not in str(raised.value)
    assert await login(tmp_path, NGINX) == Credential("u", "p")


async def test_a_refused_thread_is_no_broken_login_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt may get one."""
    docker_file(tmp_path, {"auths": {"reg.example:5000": basic("u:p")}})
    keychain = Keychain([], environment={}, home=tmp_path)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OutOfResources, match="refuses another thread"):
            await keychain.account_for(APP)
    assert (await keychain.account_for(APP)).credential == Credential("u", "p")


async def test_a_file_that_vanishes_leaves_its_logins(tmp_path: Path) -> None:
    """It may be about to be replaced, and the registry says whether they are still valid."""
    file = docker_file(tmp_path, {"auths": {"reg.example:5000": basic("u:p")}})
    keychain = Keychain([], environment={}, home=tmp_path)
    await keychain.account_for(APP)
    file.unlink()
    assert (await keychain.account_for(APP)).credential == Credential("u", "p")


@pytest.mark.parametrize(("repository", "server"), [(APP, "reg.example:5000"), (NGINX, "https://index.docker.io/v1/")])
async def test_a_helper_runs_once_for_its_registry(
    tmp_path: Path, helper: Helper, repository: Repository, server: str
) -> None:
    """It gets the registry in docker's form, with docker's own key for Docker Hub."""
    docker_file(tmp_path, {"credHelpers": {repository.registry: "test"}})
    log = tmp_path / "log"
    source = f'open({str(log)!r}, \'a\').write(server + chr(10)); print(\'{{"Username": "u", "Secret": "p"}}\')'
    keychain = Keychain([], environment=helper(source), home=tmp_path)
    for _ in range(2):
        found = await keychain.account_for(repository)
        assert found == RegistryAccount(repository.registry, Credential("u", "p"), origin="docker-credential-test")
    assert log.read_text() == f"{server}\n"


async def test_the_default_helper_serves_registries_without_an_entry(tmp_path: Path, helper: Helper) -> None:
    """An empty entry means that the helper has the login; a full one is used itself."""
    environment = helper("""print('{"Username": "<token>", "Secret": "t"}')""")
    docker_file(tmp_path, {"credsStore": "test", "auths": {"reg.example:5000": {}, "docker.io": basic("u:p")}})
    assert await login(tmp_path, APP, environment) == Credential(identity_token="t")
    assert await login(tmp_path, NGINX, environment) == Credential("u", "p")


@pytest.mark.parametrize(("entry", "expected"), [(basic("u:p"), Credential("u", "p")), ({}, None)])
async def test_an_empty_helper_means_the_file(
    tmp_path: Path, helper: Helper, entry: object, expected: Credential | None
) -> None:
    """It takes one registry out of the default helper."""
    environment = helper("""print('{"Username": "helper", "Secret": "x"}')""")
    auths = {"reg.example:5000": entry}
    docker_file(tmp_path, {"credsStore": "test", "credHelpers": {"reg.example:5000": ""}, "auths": auths})
    assert await login(tmp_path, APP, environment) == expected
    assert await login(tmp_path, NGINX, environment) == Credential("helper", "x")


async def test_a_helper_without_a_login_means_anonymous(tmp_path: Path, helper: Helper) -> None:
    """In the protocol that is an exit status with a fixed sentence."""
    docker_file(tmp_path, {"credsStore": "test"})
    source = "print('credentials not found in native keychain'); sys.exit(1)"
    assert await login(tmp_path, APP, helper(source)) is None


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print('SECRET is locked'); sys.exit(1)", "failed with status 1"),
        ("print('SECRET')", "did not return a login"),
        ("""print('{"Username": "", "Secret": "SECRET"}')""", "did not return a login"),
        ("print('SECRET' * 1_000_000)", "failed"),
    ],
)
async def test_a_failing_helper_is_named(helper: Helper, source: str, reason: str) -> None:
    """The message names helper and registry, without the output, which may hold the secret."""
    with pytest.raises(
        Unauthorized, match=f"reg.example: the credential helper docker-credential-test {reason}"
    ) as raised:
        await ask_helper("test", "reg.example", helper(source))
    assert "SECRET" not in str(raised.value)


async def test_a_hanging_helper_times_out(helper: Helper) -> None:
    """Its pipe is closed, even if a child of the helper still holds the other end."""

    def pipes() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = pipes()
    environment = helper("import os; os.fork(); time.sleep(30)")
    async with asyncio.timeout(15):
        with pytest.raises(Unauthorized, match=r"docker-credential-test did not answer within 0\.5 s"):
            await ask_helper("test", "reg.example", environment, seconds=0.5)
    await asyncio.sleep(0)  # The loop closes them in its next turn.
    assert pipes() <= before


@pytest.mark.parametrize("suffix", ["missing", "../evil", "a b", ""])
async def test_an_invalid_helper_name_is_refused(tmp_path: Path, suffix: str) -> None:
    """A login file cannot make us run another program."""
    with pytest.raises(StoreError, match="credential helper"):
        await ask_helper(suffix, "reg.example", {"PATH": str(tmp_path)})


def test_a_keychain_shows_no_secret(tmp_path: Path) -> None:
    """The same holds for its entries."""
    entry = RegistryAccount("a.example", Credential("me", "hunter2", "hunter3"))
    shown = repr(entry) + repr(Keychain([entry], environment={}, home=tmp_path))
    assert "hunter" not in shown
