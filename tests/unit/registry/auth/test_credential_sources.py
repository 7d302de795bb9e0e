"""Credentials that change while the process runs: when they are read and issued again, and when not."""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path

import pytest

from image_syncer.errors import Unauthorized
from image_syncer.registry.auth.credential_sources import (
    FileCredentialSource,
    IssuedCredential,
    IssuedCredentialSource,
)
from image_syncer.registry.auth.login_files import LoginFiles
from image_syncer.registry.settings import Credential

HOST = "reg.example"


class Time:
    """A clock that a test moves by hand."""

    seconds = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


class Issuer:
    """A provider whose logins are numbered and live for *life* seconds; *is_broken* makes it fail."""

    def __init__(self, time: Time, life: float | None) -> None:
        self.time = time
        self.life = life
        self.is_broken = False
        self.is_constant = False
        self.calls = 0

    async def credential(self, registry: str) -> IssuedCredential:
        """Return the next login."""
        self.calls += 1
        await asyncio.sleep(0)
        if self.is_broken:
            raise Unauthorized(f"{registry}: broken")
        expires_at = None if self.life is None else self.time.seconds + self.life
        return IssuedCredential(Credential("u", "same" if self.is_constant else str(self.calls)), expires_at)


@pytest.mark.parametrize(("life", "renewed_after"), [(43_200.0, 42_900.0), (400.0, 200.0), (600.0, 300.0)])
async def test_an_issued_login_is_renewed_before_it_expires(life: float, renewed_after: float) -> None:
    """Five minutes before the end, or after half of a short life: an upload may begin with the old one."""
    time = Time()
    source = IssuedCredentialSource(Issuer(time, life), HOST, now=time)
    assert await source.current() == Credential("u", "1")
    time.seconds += renewed_after - 1
    assert await source.current() == Credential("u", "1")
    assert source.expires_at == 1000.0 + life
    time.seconds += 1
    assert await source.current() == Credential("u", "2")


async def test_a_login_without_an_end_is_issued_once() -> None:
    """Such as one that is derived from an access key."""
    time = Time()
    source = IssuedCredentialSource(Issuer(time, None), HOST, now=time)
    first = await source.current()
    time.seconds += 1e9
    assert await source.current() == first
    assert source.expires_at is None


async def test_concurrent_requests_share_one_issued_login() -> None:
    """The vendor's API has limits of its own."""
    time = Time()
    issuer = Issuer(time, 43_200.0)
    source = IssuedCredentialSource(issuer, HOST, now=time)
    assert set(await asyncio.gather(*(source.current() for _ in range(9)))) == {Credential("u", "1")}
    assert issuer.calls == 1


async def test_a_refused_login_is_issued_again_once_a_minute() -> None:
    """A registry that refuses the new one too has another reason; asking the cloud again would not help."""
    time = Time()
    issuer = Issuer(time, 43_200.0)
    source = IssuedCredentialSource(issuer, HOST, now=time)
    first = await source.current()
    assert await source.replace(first)
    assert await source.replace(first)  # Another request that was refused with the first one.
    second = await source.current()
    assert (issuer.calls, second) == (2, Credential("u", "2"))
    assert not await source.replace(second)
    time.seconds += 60
    assert await source.replace(second)
    assert issuer.calls == 3


async def test_the_same_login_again_is_no_replacement() -> None:
    """Then the error of the registry is the answer."""
    time = Time()
    issuer = Issuer(time, 43_200.0)
    issuer.is_constant = True
    source = IssuedCredentialSource(issuer, HOST, now=time)
    assert not await source.replace(await source.current())
    assert issuer.calls == 2


async def test_an_old_login_is_used_while_the_cloud_is_away() -> None:
    """It is valid for five more minutes; the cloud is asked once a minute, and its error shows at the end."""
    time = Time()
    issuer = Issuer(time, 3600.0)
    source = IssuedCredentialSource(issuer, HOST, now=time)
    await source.current()
    issuer.is_broken = True
    time.seconds += 3300
    for _ in range(3):
        assert await source.current() == Credential("u", "1")
    assert issuer.calls == 2
    time.seconds += 300
    for _ in range(3):
        with pytest.raises(Unauthorized, match="broken"):
            await source.current()
    assert issuer.calls == 3
    issuer.is_broken = False
    time.seconds += 60
    assert await source.current() == Credential("u", "4")


def write(file: Path, pair: str | None, **settings: object) -> None:
    """Replace docker's file by one with the login *pair*, as docker does: a new file in its place."""
    auths = {} if pair is None else {HOST: {"auth": base64.b64encode(pair.encode()).decode()}}
    new = file.with_suffix(".new")
    file.parent.mkdir(exist_ok=True)
    new.write_text(json.dumps({"auths": auths} | settings))
    new.replace(file)


async def file_source(home: Path, time: Time, environment: dict[str, str] | None = None) -> FileCredentialSource:
    """Return the source of the login for `reg.example` in docker's file."""
    files = LoginFiles(environment or {}, home, monotonic=time)
    return FileCredentialSource(files, HOST, await files.find(HOST))


async def test_a_changed_login_file_is_read_again(tmp_path: Path) -> None:
    """A secret that rotates is a file that changes; a login that appears, or goes, counts too."""
    file, time = tmp_path / ".docker/config.json", Time()
    source = await file_source(tmp_path, time)
    assert await source.current() is None
    for pair in ("u:1", "u:2", "v:3"):
        write(file, pair)
        time.seconds += 1
        user, password = pair.split(":")
        assert await source.current() == Credential(user, password)


async def test_an_unchanged_login_file_is_not_read_again(tmp_path: Path) -> None:
    """Otherwise each token would cost a thread."""
    file, time = tmp_path / ".docker/config.json", Time()
    write(file, "u:1")
    source = await file_source(tmp_path, time)
    stamp = file.stat()
    file.write_text(file.read_text().replace("dTox", "dToy"))  # Same size and inode; the time is set back.
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    time.seconds += 1
    assert await source.current() == Credential("u", "1")


@pytest.mark.parametrize("content", ["{broken", None])
async def test_a_login_survives_a_file_that_is_being_written(tmp_path: Path, content: str | None) -> None:
    """It is used until the file is whole again."""
    file, time = tmp_path / ".docker/config.json", Time()
    write(file, "u:1")
    source = await file_source(tmp_path, time)
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    time.seconds += 1
    assert await source.current() == Credential("u", "1")
    write(file, "u:22")
    time.seconds += 1
    assert await source.current() == Credential("u", "22")


async def test_a_refused_login_is_read_again_at_once(tmp_path: Path) -> None:
    """The file may have changed since the last look; the same content is no replacement."""
    file, time = tmp_path / ".docker/config.json", Time()
    write(file, "u:1")
    source = await file_source(tmp_path, time)
    first = await source.current()
    assert not await source.replace(first)
    write(file, "u:22")
    assert not await source.replace(first)  # Within a minute of a search in vain.
    time.seconds += 60
    assert await source.replace(first)
    assert await source.current() == Credential("u", "22")


async def test_a_helper_is_asked_again_after_an_hour_and_when_refused(tmp_path: Path) -> None:
    """Its protocol does not tell when a login expires: those of ECR do after 12 hours."""
    program, log = tmp_path / "bin/docker-credential-count", tmp_path / "log"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable} -IS\nimport sys\nsys.stdin.read()\nopen({str(log)!r}, 'a').write('x')\n"
        f'print(\'{{"Username": "u", "Secret": "\' + open({str(log)!r}).read() + \'"}}\')\n'
    )
    program.chmod(0o755)
    write(tmp_path / ".docker/config.json", None, credHelpers={HOST: "count"})
    time = Time()
    source = await file_source(tmp_path, time, {"PATH": f"{program.parent}:{os.defpath}"})
    time.seconds += 3599
    assert await source.current() == Credential("u", "x")
    time.seconds += 1
    assert await source.current() == Credential("u", "xx")
    assert await source.replace(Credential("u", "xx"))
    assert await source.current() == Credential("u", "xxx")
