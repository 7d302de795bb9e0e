"""The auth file of the Go tool."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from image_syncer.config.go_tool.auth_file import load_auth
from image_syncer.errors import ConfigError
from image_syncer.registry.settings import Credential, RegistryAccount
from support.config_errors import without_columns

NOTHING: Mapping[str, str] = MappingProxyType({})


def error_text(directory: Path, load: Callable[[], object]) -> str:
    """Return the text of the error that *load* raises, without the directory."""
    with pytest.raises(ConfigError) as error:
        load()
    return without_columns(str(error.value).replace(f"{directory}/", ""))


def access(
    directory: Path, text: str, environment: Mapping[str, str] = NOTHING, *, name: str = "auth.yaml"
) -> list[RegistryAccount]:
    """Return the accounts of an auth file with *text*."""
    path = directory / name
    path.write_text(text)
    return list(load_auth(path, environment=environment))


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("quay.io", "quay.io"),
        ("quay.io/", "quay.io"),
        ("Quay.IO/core/os", "quay.io/core/os"),
        ("registry:5000", "registry:5000"),
        ("localhost/team", "localhost/team"),
        ("'[::1]:5000/team'", "[::1]:5000/team"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io/myorg/", "docker.io/myorg"),
        ("docker.io/library/nginx", "docker.io/library/nginx"),
    ],
)
def test_keys_are_normalised(tmp_path: Path, key: str, prefix: str) -> None:
    """Ports, IPv6 hosts, full repositories and the aliases of Docker Hub are all keys."""
    assert [access.prefix for access in access(tmp_path, f"{key}: {{}}")] == [prefix]


def test_an_entry_has_a_login_a_flag_and_a_place(tmp_path: Path) -> None:
    """Messages can point at the place."""
    text = "# c\nquay.io:\n  username: me\n  password: 0123\nlocalhost:5000: {insecure: yes}\nghcr.io:\n"
    login, insecure, plain = access(tmp_path, text)
    assert login.credential == Credential("me", "0123")
    assert (login.insecure, login.origin.endswith("auth.yaml:2")) == (False, True)
    assert (insecure.credential, insecure.insecure, plain.credential, plain.insecure) == (None, True, None, False)


def test_names_of_fields_match_in_any_case(tmp_path: Path) -> None:
    """Go's JSON does the same, so such files are in use."""
    text = '{"quay.io": {"Username": "me", "PASSWORD": "x", "Insecure": true}}'
    (found,) = access(tmp_path, text, name="auth.json")
    assert (found.credential, found.insecure) == (Credential("me", "x"), True)


def test_variables_work_in_logins_and_not_in_keys(tmp_path: Path) -> None:
    """Both forms are replaced once; an unset `$name` of a Harbor robot stays."""
    environment = {"USER": "${PASS}", "PASS": "a$USER"}
    text = "quay.io: {username: $USER, password: '${PASS}'}\nh.io: {username: robot$team, password: p$$w}"
    first, second = access(tmp_path, text, environment)
    assert (first.credential, second.credential) == (Credential("${PASS}", "a$USER"), Credential("robot$team", "p$w"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://quay.io: {}", "auth.yaml:1: the key of a login names a registry without its scheme (begin"),
        ("# c\nmyorg: {}", "auth.yaml:2: 'myorg': not a registry; its name has a dot or a port, or is localhost"),
        ("$HOST.io: {}", "auth.yaml:1: '$HOST.io': keys cannot contain environment variables"),
        ("quay.io/Team: {}", "auth.yaml:1: 'quay.io/Team': a repository name must be lower case"),
        ("quay.io//: {}", "auth.yaml:1: 'quay.io/': a part of the repository name is empty"),
        (
            "docker.io: {}\nindex.docker.io/: {}",
            "auth.yaml:2: 'index.docker.io/' is docker.io, which line 1 already has",
        ),
        ("quay.io: {}\nquay.io: {}", "auth.yaml:2: duplicate key 'quay.io', first in line 1"),
        ("quay.io:\n  usernam: a", "auth.yaml:2: unknown key 'usernam' (did you mean username?)"),
        ("quay.io:\n  token: a", "auth.yaml:2: unknown key 'token' (known keys: username, password, insecure)"),
        ("quay.io:\n  username: a\n  Username: b", "auth.yaml:3: duplicate key username"),
        ("quay.io: hunter2", "auth.yaml:1: expected a map with username, password and insecure, found a text (check"),
        ("quay.io:\n  username: a\n", "auth.yaml:1: a username without a password (give both"),
        ("quay.io:\n  username: ''\n  password: hunter2", "auth.yaml:2: a password without a username (give both"),
        ("quay.io:\n  username: a\n  password: ~", "auth.yaml:3: a username without a password"),
        ("quay.io:\n  username: a\n  password: [hunter2]", "auth.yaml:3: password: expected a text, found a list"),
        ("quay.io:\n  insecure: maybe", "auth.yaml:2: insecure: expected true or false, found a text"),
        ("quay.io:\n  insecure: 'true'", "auth.yaml:2: insecure: expected true or false, found a text"),
        ("quay.io:\n  insecure: 1", "auth.yaml:2: insecure: expected true or false, found a number"),
        ("q.io:\n  username: a\n  password: hunter2${NO}", "auth.yaml:3: password: the environment variable NO is not"),
        ("q.io:\n  username: a\n  password: ${hunter2", "auth.yaml:3: password: '${' without a variable name"),
    ],
)
def test_problems_have_their_line_and_show_no_secret(tmp_path: Path, text: str, message: str) -> None:
    """Each problem is one line without values of a login."""
    line = error_text(tmp_path, lambda: access(tmp_path, text))
    assert line.startswith(message)
    assert "hunter2" not in line
    assert "\n" not in line


def test_the_google_form_of_a_login_is_the_key_of_a_service_account(tmp_path: Path) -> None:
    """As in the Go tool; Google then issues access tokens for it."""
    (account,) = access(tmp_path, "eu.gcr.io:\n  username: _oauth2_\n  password: e30=")
    assert (account.cloud, account.credential) == ("gcp", Credential("_oauth2_", "e30="))
    (account,) = access(tmp_path, "eu.gcr.io:\n  username: oauth2accesstoken\n  password: e30=")
    assert account.cloud is None


def test_an_empty_variable_is_no_password(tmp_path: Path) -> None:
    """The Go tool silently continues with anonymous access."""
    line = error_text(tmp_path, lambda: access(tmp_path, "q.io: {username: a, password: '${EMPTY}'}", {"EMPTY": ""}))
    assert line.startswith("auth.yaml:1: a username without a password")
