"""Native files that include others, and directories of files."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_daemon_state, load_file
from image_syncer.config.model import Configuration
from image_syncer.config.native import native_parts
from image_syncer.errors import ConfigError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import Timeouts
from image_syncer.sync.rule import Every, wants_tag

NO_REGISTRY = (
    "'q': not a registry; its name has a dot or a port, or is localhost "
    "(write a namespace of Docker Hub as docker.io/q)"
)
RULE = "rules:\n - {{name: {0}, source: q.io/{0}, targets: t.io/{0}}}\n"


def write(directory: Path, files: dict[str, str]) -> None:
    """Write *files* into *directory*."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def load(path: Path, **environment: str) -> Configuration:
    """Return the configuration of *path*."""
    return load_file(path, platforms=PlatformFilter(), environment=environment)


def problems(path: Path, **environment: str) -> list[str]:
    """Return the problems of *path* without its directory."""
    with pytest.raises(ConfigError) as error:
        load(path, **environment)
    return str(error.value).replace(f"{path.parent}/", "").splitlines()


def test_sections_of_included_files_are_merged(tmp_path: Path) -> None:
    """Lists are joined in the order of the files, maps are united, any other section comes from one file."""
    write(
        tmp_path,
        {
            "n.yaml": f"version: 1\ninclude: [access.yaml, rules/*.yaml, more]\n{RULE.format('one')}",
            "access.yaml": "registries: {q.io: {username: u, password: p}}\nserver: {}\ntimeouts: {stall: 5s}\n",
            "rules/b.yaml": RULE.format("three"),
            "rules/a.yaml": f"version: 1\n{RULE.format('two')}registries: {{t.io: {{insecure: true}}}}\n",
            "rules/notes.txt": "not read",
            "more/c.json": '{"rules": [{"name": "four", "source": "q.io/four", "targets": "t.io/four"}]}',
            "more/.hidden.yaml": "nonsense",
            "more/empty.yaml": "# nothing yet\n",
        },
    )
    loaded = load(tmp_path / "n.yaml")
    assert [rule.name for rule in loaded.rules] == ["one", "two", "three", "four"]
    assert [rule.origin.removeprefix(f"{tmp_path}/") for rule in loaded.rules] == [
        "n.yaml:4",
        "rules/a.yaml:3",
        "rules/b.yaml:2",
        "more/c.json:1",
    ]
    assert [account.prefix for account in loaded.accounts] == ["q.io", "t.io"]
    assert (loaded.server is not None, loaded.timeouts) == (True, Timeouts(stall=5))
    assert {name.removeprefix(f"{tmp_path}/") for name in loaded.files} == {
        "access.yaml",
        "rules",
        "rules/a.yaml",
        "rules/b.yaml",
        "more",
        "more/c.json",
        "more/empty.yaml",
    }


def test_a_directory_is_one_configuration(tmp_path: Path) -> None:
    """Its files are read in the order of their names; paths in them are relative to it."""
    write(
        tmp_path,
        {
            "conf.d/20-rules.yaml": RULE.format("two"),
            "conf.d/10-base.yaml": f"version: 1\nserver: {{}}\nstate: {{path: kept}}\n{RULE.format('one')}",
        },
    )
    loaded = load(tmp_path / "conf.d")
    assert [rule.name for rule in loaded.rules] == ["one", "two"]
    assert loaded.state.path == f"{tmp_path}/conf.d/kept"
    assert load_daemon_state(tmp_path / "conf.d", environment={}).path == f"{tmp_path}/conf.d/kept"
    assert f"{tmp_path}/conf.d" in loaded.files


def test_included_files_may_include_others_and_each_is_read_once(tmp_path: Path) -> None:
    """A circle does no harm."""
    write(
        tmp_path,
        {
            "n.yaml": "version: 1\ninclude: ['*.yaml', sub/a.yaml]\n",
            "sub/a.yaml": f"include: [../n.yaml, b.yaml, a.yaml, '${{NEXT:-none}}/*.yaml']\n{RULE.format('one')}",
            "sub/b.yaml": RULE.format("two"),
        },
    )
    assert [rule.name for rule in load(tmp_path / "n.yaml").rules] == ["one", "two"]


def test_paths_in_an_included_file_are_relative_to_it(tmp_path: Path) -> None:
    """A file moves with what it names."""
    write(
        tmp_path,
        {
            "n.yaml": "version: 1\ninclude: sub/a.yaml\nregistries: {t.io: {username: u, password: '${file:two}'}}\n",
            "sub/a.yaml": "registries: {q.io: {username: u, password: '${file:one}'}}\n"
            "server: {}\nstate: {path: kept}\n",
            "sub/one": "secret 1\n",
            "two": "secret 2\n",
        },
    )
    loaded = load(tmp_path / "n.yaml")
    passwords = {account.prefix: account.credential and account.credential.password for account in loaded.accounts}
    assert passwords == {"q.io": "secret 1", "t.io": "secret 2"}
    assert loaded.state.path == f"{tmp_path}/sub/kept"
    assert {f"{tmp_path}/sub/one", f"{tmp_path}/two"} <= set(loaded.files)


def test_problems_name_the_included_file(tmp_path: Path) -> None:
    """Items count in their own file; a duplicate names the place of the first."""
    write(
        tmp_path,
        {
            "n.yaml": f"version: 1\ninclude: a.yaml\nregistries: {{q.io: }}\nstate: {{path: x}}\n{RULE.format('one')}",
            "a.yaml": f"{RULE.format('one')} - {{name: b, source: q.io/B, targets: t.io/b}}\n"
            " - {name: c, sauce: x}\n - {name: d, source: q.io/d, targets: '${NO}'}\n"
            "registries:\n  q.io: {insecure: true}\n  q: {}\nstate: {path: y}\nversion: 2\nservre: {}\n",
        },
    )
    assert problems(tmp_path / "n.yaml") == [
        "a.yaml:2:5: rules[0].name: the rule in n.yaml:6 is called 'one', too (give each rule its own name)",
        "a.yaml:3:14: 'q.io/B': a repository name must be lower case",
        "a.yaml:4:4: rules[2]: targets is missing",
        "a.yaml:4:4: rules[2]: source is missing",
        "a.yaml:4:14: rules[2]: unknown key 'sauce' (did you mean source?)",
        "a.yaml:5:30: rules[3].targets: the environment variable NO is not set (set it, or write $${NO})",
        "a.yaml:7:3: duplicate key 'registries.q.io', first in n.yaml:3 (keep one of them)",
        f"a.yaml:8:3: {NO_REGISTRY}",
        "a.yaml:9:1: duplicate key 'state', first in n.yaml:4 (keep one of them)",
        "a.yaml:10:1: version: this image-syncer reads version 1",
        "a.yaml:11:1: unknown key 'servre' (did you mean server?)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("include: gone.yaml", "n.yaml:2:10: include: 'gone.yaml': no such file or directory (check the path)"),
        (
            "include: [a.yaml, {b: c}]",
            "n.yaml:2:19: include: expected a text, found a map (name files, patterns",
        ),
        ("include: ['']", "n.yaml:2:11: include: empty (write . for the directory of this file)"),
        ("include: '${NO:-}'", "n.yaml:2:10: include: empty (write . for the directory of this file)"),
        ("include: a.txt", "a.txt: cannot tell YAML from JSON"),
        ("include: list.yaml", "list.yaml:1:1: expected a map, found a list"),
        ("include: broken.yaml", "broken.yaml:1:5: not YAML"),
        ("include: '${NO}/x.yaml'", "n.yaml:2:10: the environment variable NO is not set"),
    ],
)
def test_a_file_that_cannot_be_included_is_an_error(tmp_path: Path, text: str, problem: str) -> None:
    """The error has the place of the include, or the place in the included file."""
    write(
        tmp_path,
        {
            "n.yaml": f"version: 1\n{text}\n",
            "a.yaml": "",
            "a.txt": "",
            "list.yaml": "- a",
            "broken.yaml": "a: b: c",
        },
    )
    (line,) = problems(tmp_path / "n.yaml")
    assert line.startswith(problem)


def test_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    """It would be a configuration without rules."""
    (tmp_path / "conf.d").mkdir()
    assert problems(tmp_path / "conf.d") == ["conf.d: this directory has no .yaml, .yml or .json file (check the path)"]


def test_anchors_may_stand_in_sections_of_their_own(tmp_path: Path) -> None:
    """A key at the top that begins with `x-` is not read, as in Compose files."""
    text = (
        "version: 1\nx-daily: &daily {every: 1d, jitter: 1h}\nrules:\n"
        " - {<<: *daily, name: one, source: q.io/a, targets: t.io/a}\n"
        " - {<<: *daily, name: two, source: q.io/b, targets: t.io/b, jitter: 2h}\n"
    )
    write(tmp_path, {"n.yaml": text})
    schedules = [rule.triggers.schedule for rule in load(tmp_path / "n.yaml").rules]
    assert schedules == [Every(86400.0, 3600.0), Every(86400.0, 7200.0)]


def test_variables_work_in_every_value(tmp_path: Path) -> None:
    """Numbers, truth values, durations, names and lists may be variables; a key may not."""
    text = """version: 1
registries:
  q.io:
    insecure: ${INSECURE:-false}
    limits: {copies: '${COPIES:-3}'}
  t.io: {insecure: '${YES}', same_as: '${SAME:-q.io}'}
timeouts: {stall: '${STALL:-7s}'}
rules:
  - name: ${TEAM}-app
    source: ${REGISTRY:-q.io}/${TEAM}/app
    tags: ['${TAG}', 'v*']
    targets: ${TARGET:-t.io/{repository}}
    platforms: ${PLATFORM:-linux/amd64}
    every: ${EVERY:-6h}
  - name: two
    source: q.io/b
    tags: /^v[0-9]+$/
    targets: t.io/$${x}
"""
    write(tmp_path, {"n.yaml": text.replace("t.io/$${x}", "t.io/b")})
    loaded = load(tmp_path / "n.yaml", TEAM="blue", TAG="1.10", YES="true")
    rule = loaded.rules[0]
    assert (rule.name, str(rule.source), str(rule.targets[0])) == ("blue-app", "q.io/blue/app", "t.io/{repository}")
    assert (wants_tag(rule.selection, "1.10"), rule.platforms) == (
        True,
        PlatformFilter.parse(platforms=["linux/amd64"]),
    )
    assert [account.insecure for account in loaded.accounts] == [False, True]
    assert (loaded.limits, loaded.same_as, loaded.timeouts.stall) == ({"q.io": 3}, {"t.io": "q.io"}, 7.0)
    write(tmp_path, {"n.yaml": text})
    assert problems(tmp_path / "n.yaml", TEAM="blue", TAG="v1", YES="maybe", EVERY="soon", COPIES="x") == [
        "n.yaml:5:14: registries.q.io.limits.copies: expected a whole number, found a text",
        "n.yaml:6:10: registries.t.io.insecure: expected true or false, without quotes",
        "n.yaml:14:5: rules[0].every: expected a duration with its unit, such as 90s, 10m, 1h30m or 7d",
        (
            "n.yaml:18:5: '{x}' is not allowed here; allowed: "
            "{date}, {digest_short}, {name}, {namespace}, {registry}, {registry_path} and {repository}"
        ),
    ]


def test_each_broken_file_of_a_directory_is_named(tmp_path: Path) -> None:
    """So the user corrects all of them at once; the files behind a broken one are read too."""
    write(
        tmp_path,
        {
            "conf.d/1.yaml": RULE.format("one"),
            "conf.d/2.yaml": "rules: [",
            "conf.d/3.json": "rules: []",
            "conf.d/4.yaml": RULE.format("one"),
            "conf.d/5.yaml": "- no map",
        },
    )
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "conf.d")
    assert [name for name in "12345" if f"conf.d/{name}." in str(error.value)] == ["1", "2", "3", "4", "5"]
    assert "'one'" in str(error.value)


def test_the_most_files_are_an_error_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken files count as well, and the files that are left out do not go unnoticed."""
    monkeypatch.setattr(native_parts, "FILES_LIMIT", 3)
    write(tmp_path, {"all.yaml": "version: 1\ninclude: conf.d\n", **{f"conf.d/{n}.yaml": "rules: [" for n in range(2)}})
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "all.yaml")
    assert "more than" not in str(error.value)
    write(tmp_path, {f"conf.d/{number}.yaml": "" for number in range(3, 9)})
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "all.yaml")
    assert str(error.value).count("include: more than 3 files") == 1
