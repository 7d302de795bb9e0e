"""Two files or one, the choice of the dialect, and several problems at once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from image_syncer.config.load import load_file, load_go_tool_files
from image_syncer.config.model import Configuration
from image_syncer.errors import ConfigError, UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import Credential
from image_syncer.sync.rule import Rule
from support.config_errors import without_columns

NOTHING: Mapping[str, str] = MappingProxyType({})


def error_text(directory: Path, load: Callable[[], object]) -> str:
    """Return the text of the error that *load* raises, without the directory."""
    with pytest.raises(ConfigError) as error:
        load()
    return without_columns(str(error.value).replace(f"{directory}/", ""))


def write(directory: Path, name: str, text: str | bytes) -> Path:
    """Return the path of a new file."""
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rules(
    directory: Path, text: str, environment: Mapping[str, str] = NOTHING, *, name: str = "images.yaml"
) -> list[Rule]:
    """Return the rules of an images file with *text*."""
    path = directory / name
    path.write_text(text)
    return list(load_go_tool_files(auth=None, images=path, platforms=PlatformFilter(), environment=environment).rules)


def single(
    directory: Path, text: str, environment: Mapping[str, str] = NOTHING, *, name: str = "c.yaml"
) -> Configuration:
    """Return the configuration of a single file with *text*."""
    return load_file(write(directory, name, text), platforms=PlatformFilter(), environment=environment)


SINGLE = "auth:\n  q.io: {username: u, password: p}\nimages:\n  q.io/a:v1: t.io/x\n"


def test_both_files_make_one_configuration(tmp_path: Path) -> None:
    """It has the logins, the rules and the platform filter of the command line."""
    platforms = PlatformFilter.parse(["linux"])
    loaded = load_go_tool_files(
        auth=write(tmp_path, "auth.json", '{"q.io": {"username": "u", "password": "p"}}'),
        images=write(tmp_path, "images.yml", "a:v1: t.io/x"),
        platforms=platforms,
        environment={},
    )
    assert (loaded.accounts[0].credential, loaded.rules[0].platforms) == (Credential("u", "p"), platforms)
    assert loaded.warnings == ()


def test_a_missing_auth_file_is_a_warning(tmp_path: Path) -> None:
    """As in the Go tool, access is anonymous then."""
    path = write(tmp_path, "images.yaml", "a:v1: t.io/x")
    loaded = load_go_tool_files(auth=None, images=path, platforms=PlatformFilter(), environment={})
    assert loaded.accounts == ()
    assert "no auth file" in loaded.warnings[0]


def test_an_unknown_platform_is_one_warning(tmp_path: Path) -> None:
    """It would select no image and fail nothing. Each filter is reported once, where it first occurs."""
    platforms = PlatformFilter.parse([], ["amd46", "x86_64"])
    path = write(tmp_path, "images.yaml", "a:v1: t.io/x\nb:v1: t.io/y")
    loaded = load_go_tool_files(auth=None, images=path, platforms=platforms, environment={})
    (warning,) = loaded.warnings[1:]
    assert warning.startswith(f"{path}:1: unknown architecture 'amd46' (did you mean amd64?) in a platform filter")
    native = "version: 1\nrules: [{name: r, source: a.io/x, targets: [b.io/x], platforms: [linus/amd64]}]"
    (warning,) = (text for text in single(tmp_path, native).warnings if "unknown os" in text)
    assert "unknown os 'linus' (did you mean linux?)" in warning


def test_missing_rules_are_a_usage_error() -> None:
    """The error names the option."""
    with pytest.raises(UsageError, match="--images"):
        load_go_tool_files(auth=None, images=None, platforms=PlatformFilter(), environment={})


def test_an_empty_map_of_rules_is_a_warning(tmp_path: Path) -> None:
    """A generated file may be empty on purpose."""
    assert single(tmp_path, "images: {}").warnings == ("no rules: nothing will be copied",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", SINGLE),
        ("c.json", '{"Auth": {"q.io": {"username": "u", "password": "p"}}, "IMAGES": {"q.io/a:v1": "t.io/x"}}'),
    ],
)
def test_the_single_file_has_logins_and_rules(tmp_path: Path, name: str, text: str) -> None:
    """As in Go's JSON, the names of its sections match in any case."""
    loaded = single(tmp_path, text, name=name)
    assert (loaded.accounts[0].credential, str(loaded.rules[0].targets[0])) == (Credential("u", "p"), "t.io/x")


def test_logins_are_optional_in_the_single_file(tmp_path: Path) -> None:
    """An empty or absent `auth:` means anonymous access."""
    assert (
        single(tmp_path, "auth:\nimages: {a: t.io/x}").accounts
        == single(tmp_path, "images: {a: t.io/x}").accounts
        == ()
    )


def test_logins_of_the_single_file_replace_only_names_in_braces(tmp_path: Path) -> None:
    """In the Go tool passwords with a bare dollar work there; targets replace both forms."""
    text = "auth:\n  q.io: {username: u$A, password: 'x$$${A}'}\nimages:\n  a: $A/x\n"
    loaded = single(tmp_path, text.replace("$$$", "$$ $"), {"A": "t.io"})
    assert loaded.accounts[0].credential == Credential("u$A", "x$$ t.io")
    assert str(loaded.rules[0].targets[0]) == "t.io/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\nversion: 1\nimages: {}", "c.yaml:1: unknown key 'a' (known keys: version, registries, rules"),
        ("# c\nApp: {}\nSynk: {}", "c.yaml:3: unknown key 'Synk' (did you mean sync?)"),
        ("rabbitMQ: {}", "c.yaml:1: auth: no username and password"),
        ("nginx: t.io/x", "c.yaml: not a configuration file of image-syncer (it needs version: (native), images:"),
        ("{}", "c.yaml: not a configuration file of image-syncer"),
        ("rules: [{name: a, source: q.io/a, targets: t.io/a}]", "c.yaml: version is missing (begin the file with"),
        (
            "q.io: {images: {a: [v1]}}",
            "c.yaml: not a configuration file of image-syncer (it looks like one of skopeo: --from skopeo reads it",
        ),
        ("version: 1\nsync: []", "c.yaml:2: unknown key 'sync' (a file of regsync has it: --from regsync reads"),
        ("", "c.yaml: the file is empty (write auth: and images:"),
        ("images: {}\nauht: {}", "c.yaml:2: unknown key 'auht' (did you mean auth?)"),
        ("images: {}\nImages: {}", "c.yaml:2: duplicate key images"),
        ("images: [a]", "c.yaml:1: images: expected a map, found a list"),
        ("images:", "c.yaml:1: images: expected a map, found nothing"),
        ("images: {}\nauth: hunter2", "c.yaml:2: auth: expected a map, found a text"),
        (
            "images: {}\nauth:\n q.io: {username: a, password: '${NO}'}",
            "c.yaml:3: password: the environment variable NO",
        ),
    ],
)
def test_the_top_level_keys_select_the_dialect(tmp_path: Path, text: str, message: str) -> None:
    """A native file has a version, the fork's file its sections in any case; other keys select no dialect."""
    assert error_text(tmp_path, lambda: single(tmp_path, text)).startswith(message)


def test_problems_of_both_files_are_reported_together(tmp_path: Path) -> None:
    """Each has a line; the error has the place of the first one."""
    auth = write(tmp_path, "auth.yaml", "q.io: 5\nw.io: 6\n")
    images = write(tmp_path, "images.yaml", "a:v1: t.io/x\nb:v1: T\n")
    with pytest.raises(ConfigError) as error:
        load_go_tool_files(auth=auth, images=images, platforms=PlatformFilter(), environment={})
    places = [line.partition(": ")[0] for line in str(error.value).splitlines()]
    assert places == [f"{auth}:1:7", f"{auth}:2:7", f"{images}:2:7"]
    assert (error.value.file, error.value.line, error.value.column) == (str(auth), 1, 7)


def test_a_missing_file_hides_no_problem_of_the_other(tmp_path: Path) -> None:
    """Both are reported."""
    images = write(tmp_path, "images.yaml", "b:v1: T\n")
    with pytest.raises(ConfigError) as error:
        load_go_tool_files(auth=Path("gone.yaml"), images=images, platforms=PlatformFilter(), environment={})
    first, second = str(error.value).splitlines()
    assert first == "gone.yaml: no such file (check the path)"
    assert second.startswith(f"{images}:1:7: ")


def test_many_problems_are_cut_to_twenty_lines(tmp_path: Path) -> None:
    """The last line counts the others."""
    lines = error_text(tmp_path, lambda: rules(tmp_path, "".join(f"a{n}: T\n" for n in range(100)))).splitlines()
    assert (len(lines), lines[-1]) == (20, "and 81 more problems")


def test_a_secret_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    """In the Go tool's files, too, its path is relative to the file that names it."""
    (tmp_path / "secrets").mkdir()
    write(tmp_path, "secrets/quay", "hunter2\n")
    text = "q.io: {username: '${USER_NAME:-me}', password: '${file:secrets/quay}'}\n"
    auth = write(tmp_path, "auth.yaml", text)
    images = write(tmp_path, "images.yaml", "q.io/a:v1: ${HOST:-t.io}/a\n")
    single = write(tmp_path, "c.yaml", f"auth:\n  {text}images: {{'q.io/a:v1': '${{HOST:-t.io}}/a'}}\n")
    two = load_go_tool_files(auth=auth, images=images, platforms=PlatformFilter(), environment={})
    one = load_file(single, platforms=PlatformFilter(), environment={})
    for loaded in (one, two):
        assert [account.credential for account in loaded.accounts] == [Credential("me", "hunter2")]
        assert str(loaded.rules[0].targets[0]) == "t.io/a"
