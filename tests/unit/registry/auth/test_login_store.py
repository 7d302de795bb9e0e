"""What `login` and `logout` write: docker's file, as docker writes it."""

# ruff: noqa: ASYNC240 - the files are small, and nothing else runs

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from image_syncer.errors import Unauthorized
from image_syncer.oci import Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.auth.login_store import erase_login, store_login
from image_syncer.registry.settings import Credential

LOGIN = Credential("robot$x", "p:w\udcff")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Docker's file, which does not exist yet."""
    return tmp_path / ".docker/config.json"


def content(file: Path) -> dict[str, Any]:
    """Return the content of *file*."""
    return json.loads(file.read_text())


async def stored(file: Path, registry: str) -> Credential | None:
    """Return the login that we read for *registry*."""
    keychain = Keychain([], environment={}, home=file.parent.parent)
    return (await keychain.account_for(Repository.parse(f"{registry}/team/app"))).credential


@pytest.mark.parametrize(
    ("registry", "key"), [("q.io:5000", "q.io:5000"), ("docker.io", "https://index.docker.io/v1/")]
)
async def test_a_login_is_stored_under_the_key_of_docker(file: Path, registry: str, key: str) -> None:
    """Only the owner may read the file; what we write we also read, bytes that are not UTF-8 included."""
    assert await store_login(file, registry, LOGIN, {}) == str(file)
    assert list(content(file)["auths"]) == [key]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert await stored(file, registry) == LOGIN
    assert [path.name for path in file.parent.iterdir()] == ["config.json"]


async def test_everything_else_in_the_file_stays(file: Path) -> None:
    """Other logins, other settings, and logins of namespaces; every form of the registry's own key is replaced."""
    file.parent.mkdir()
    others = {"q.io/team": {"auth": "dTpw"}, "other.io": {"auth": "dTpw"}}
    auths = {"https://q.io": {"auth": "b2xkOm9sZA=="}, "q.io/v2/": {"auth": "b2xkOm9sZA=="}, **others}
    file.write_text(json.dumps({"auths": auths, "HttpHeaders": {"a": "b"}, "credHelpers": {"x.io": "y"}}))
    await store_login(file, "q.io", LOGIN, {})
    found = content(file)
    assert found["auths"].keys() == {"q.io", *others}
    assert (found["HttpHeaders"], found["credHelpers"]) == ({"a": "b"}, {"x.io": "y"})
    assert await erase_login(file, "q.io", {})
    assert content(file) == found | {"auths": others}
    before = file.stat().st_ino
    assert not await erase_login(file, "q.io", {})
    assert file.stat().st_ino == before


async def test_nothing_is_erased_from_a_file_that_does_not_exist(file: Path) -> None:
    """And none is made."""
    assert not await erase_login(file, "q.io", {})
    assert not file.parent.exists()


async def test_a_symbolic_link_stays(file: Path, tmp_path: Path) -> None:
    """Dotfiles are often links into a repository."""
    file.parent.mkdir()
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    file.symlink_to(real)
    await store_login(file, "q.io", LOGIN, {})
    assert file.is_symlink()
    assert content(real)["auths"].keys() == {"q.io"}


@pytest.mark.parametrize("text", ["{broken SECRET", "[]", '{"auths": 7}'])
async def test_a_broken_file_is_not_overwritten(file: Path, text: str) -> None:
    """It may hold logins that a repair brings back."""
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(Unauthorized, match="logins cannot be read from it"):
        await store_login(file, "q.io", LOGIN, {})
    assert file.read_text() == text


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """With the reason of the system."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unauthorized, match=r"config.json: the login cannot be written: File exists"):
        await store_login(tmp_path / "file/config.json", "q.io", LOGIN, {})


@pytest.mark.parametrize("settings", [{"credsStore": "test"}, {"credHelpers": {"q.io": "test"}}])
async def test_a_helper_stores_and_erases_logins(file: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    """Then the file has an empty entry, as docker writes it, and no secret."""
    log = tmp_path / "log"
    program = tmp_path / "bin/docker-credential-test"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable} -IS\nimport sys\n"
        f"open({str(log)!r}, 'a').write(sys.argv[1] + ' ' + sys.stdin.read() + chr(10))\n"
    )
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.defpath}"}
    file.parent.mkdir()
    file.write_text(json.dumps(settings))
    login = Credential("u", "hunter2")
    assert await store_login(file, "q.io", login, environment) == "docker-credential-test"
    assert content(file) == settings | {"auths": {"q.io": {}}}
    assert await erase_login(file, "q.io", environment)
    assert content(file) == settings | {"auths": {}}
    store, erase = log.read_text().splitlines()
    assert json.loads(store.removeprefix("store ")) == {"ServerURL": "q.io", "Username": "u", "Secret": "hunter2"}
    assert erase == "erase q.io"


async def test_a_helper_that_fails_leaves_the_file(file: Path) -> None:
    """The message names it, and not the secret."""
    file.parent.mkdir()
    file.write_text('{"credsStore": "absent"}')
    with pytest.raises(Unauthorized, match="docker-credential-absent cannot be run") as raised:
        await store_login(file, "q.io", Credential("u", "hunter2"), {"PATH": os.defpath})
    assert "hunter2" not in str(raised.value)
    assert file.read_text() == '{"credsStore": "absent"}'
