"""`create:` and `control:` of the native file's registries."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from image_syncer.config.load import load_file
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import ControlAccess, CreateSettings, Credential, RegistryAccount

NOTHING: Mapping[str, str] = MappingProxyType({})


def account(directory: Path, section: str, environment: Mapping[str, str] = NOTHING) -> RegistryAccount:
    """Return the account of a registry with *section*."""
    file = directory / "mirror.yaml"
    file.write_text(f"version: 1\nregistries:\n  r.example.com: {section}\nrules: []\n")
    return load_file(file, platforms=PlatformFilter(), environment=environment).accounts[0]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{create: true}", CreateSettings()),
        ("{create: '${YES}'}", CreateSettings()),
        ("{create: {}}", CreateSettings()),
        ("{create: false}", None),
        ("{}", None),
        (
            "{create: {vendor: harbor, immutable: true, scan: true, public: true, lifecycle: '{}'}}",
            CreateSettings("harbor", immutable=True, scan=True, public=True, lifecycle="{}"),
        ),
    ],
)
def test_what_is_created(tmp_path: Path, section: str, expected: CreateSettings | None) -> None:
    """Nothing, unless it is said; and private."""
    assert account(tmp_path, section, {"YES": "true"}).create == expected


def test_the_login_of_the_api_takes_variables_and_is_not_shown(tmp_path: Path) -> None:
    """For tokens it has no user name."""
    found = account(tmp_path, "{control: {password: '${TOKEN}', url: 'https://api.example.com'}}", {"TOKEN": "hush"})
    assert found.control == ControlAccess(Credential("", "hush"), "https://api.example.com")
    assert "hush" not in repr(found)
    assert account(tmp_path, "{}").control is None
    waits = account(tmp_path, "{control: {url: 'https://api.example.com', wait: 5m}}")
    assert waits.control == ControlAccess(None, "https://api.example.com", 300.0)
    assert not waits.share_credentials
    assert account(tmp_path, "{share_credentials: true}").share_credentials


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{create: maybe}", r"create: expected a map, found a text"),
        ("{create: {vendor: quai}}", r"create\.vendor: unknown value 'quai' \(did you mean quay\?\)"),
        ("{create: {imutable: true}}", r"create: unknown key 'imutable' \(did you mean immutable\?\)"),
        ("{control: {username: admin}}", r"control: .*password"),
        ("{control: {url: 'https://x', wait: 100ms}}", r"control\.wait"),
        ("{control: {password: HUSH, url: ftp://x}}", r"control\.url: not the address of a server"),
        ("{control: {password: HUSH, url: 'https://u:p@x'}}", r"control\.url: not the address of a server"),
        (
            "{control: {password: HUSH, url: 'http://x.example'}}",
            r"control\.url: the login would be sent in plain text",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, section: str, message: str) -> None:
    """With file and line, and without secrets."""
    with pytest.raises(UsageError, match=message) as raised:
        account(tmp_path, section)
    assert "mirror.yaml:3" in str(raised.value)
    assert "HUSH" not in str(raised.value)
