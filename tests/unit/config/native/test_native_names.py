"""The table of names at the target: source, keys of the rule, target, and the name that follows."""

from pathlib import Path
from typing import Final

import pytest

from image_syncer.config.load import load_file
from image_syncer.config.model import Configuration
from image_syncer.errors import ConfigError
from image_syncer.oci import Digest, PlatformFilter, Reference
from image_syncer.sync.pairing import Facts, pair_up
from image_syncer.sync.rule import Rule

DIGEST: Final = Digest.parse("sha256:" + "0123456789abcdef" * 4)
NGINX: Final = "docker.io/library/nginx:v1.27.0"
APP: Final = "q.io:5000/team/sub/app:v1"

NAMES: Final = [
    # Placeholders.
    (NGINX, "", "t.io/x", "t.io/x:v1.27.0"),
    (NGINX, "", "t.io/{repository}", "t.io/library/nginx:v1.27.0"),
    (NGINX, "", "t.io/{registry}/{repository}", "t.io/docker.io/library/nginx:v1.27.0"),
    (NGINX, "", "t.io/{namespace}/x/{name}", "t.io/library/x/nginx:v1.27.0"),
    (NGINX, "", "t.io/all:{name}-{tag}", "t.io/all:nginx-v1.27.0"),
    (NGINX, "", "t.io/{name}:{tag}-{digest_short}", "t.io/nginx:v1.27.0-0123456789ab"),
    (NGINX, "", "t.io/{digest_short}/{name}", "t.io/0123456789ab/nginx:v1.27.0"),
    (NGINX, "", "t.io/{date}/{name}", "t.io/2026-12-01/nginx:v1.27.0"),
    (NGINX, "", "t.io/x:{tag}_{date}", "t.io/x:v1.27.0_2026-12-01"),
    ("q.io/app:v1", "", "t.io/{namespace}/{name}", "t.io/app:v1"),
    ("q.io/app:v1", "", "t.io/m/{namespace}/{name}", "t.io/m/app:v1"),
    (APP, "", "t.io/{namespace}/x", "t.io/team/sub/x:v1"),
    (APP, "", "t.io/{registry_path}/{name}", "t.io/q.io-5000/app:v1"),
    ("'[::1]:5000/app:v1'", "", "t.io/{registry_path}/{name}", "t.io/1-5000/app:v1"),
    ("a_b.test/app:v1", "", "t.io/{registry_path}/{name}", "t.io/a_b.test/app:v1"),
    # strip, rename, flatten, prefix.
    (NGINX, "strip: library", "t.io/{repository}", "t.io/nginx:v1.27.0"),
    (NGINX, "strip: lib", "t.io/{repository}", "t.io/library/nginx:v1.27.0"),
    (NGINX, "strip: /library/nginx/", "t.io/{repository}", "t.io/library/nginx:v1.27.0"),
    (APP, "strip: team/sub", "t.io/{repository}", "t.io/app:v1"),
    (APP, "strip: 1", "t.io/{repository}", "t.io/sub/app:v1"),
    (APP, "strip: 9", "t.io/{repository}", "t.io/app:v1"),
    (NGINX, r"rename: {'^library/(.+)$': 'hub/\1'}", "t.io/{repository}", "t.io/hub/nginx:v1.27.0"),
    (APP, r"rename: {'^library/(.+)$': 'hub/\1'}", "t.io/{repository}", "t.io/team/sub/app:v1"),
    (APP, r"rename: {'^(\w+)/(\w+)/': '\2/\1-'}", "t.io/{repository}", "t.io/sub/team-app:v1"),
    (APP, "rename: {sub: base, team: never}", "t.io/{repository}", "t.io/team/base/app:v1"),
    (APP, "rename: {'/sub': ''}", "t.io/{namespace}/x", "t.io/team/x:v1"),
    (APP, r"rename: {'^(x)?team': '\1crew'}", "t.io/{repository}", "t.io/crew/sub/app:v1"),
    (APP, "flatten: true", "t.io/{repository}", "t.io/team-sub-app:v1"),
    (APP, "flatten: __", "t.io/{repository}", "t.io/team__sub__app:v1"),
    (APP, "flatten: .", "t.io/x:{name}", "t.io/x:team.sub.app"),
    (APP, "flatten: false", "t.io/{repository}", "t.io/team/sub/app:v1"),
    (APP, "prefix: mirror/", "t.io/{repository}", "t.io/mirror/team/sub/app:v1"),
    (APP, "strip: 1; rename: {sub: base}; flatten: true; prefix: m", "t.io/{repository}", "t.io/m/base-app:v1"),
    (APP, "flatten: true; rename: {team/sub: crew}", "t.io/{repository}", "t.io/crew-app:v1"),
    # Tags.
    (NGINX, r"rename_tags: {'^v(.+)$': '\1'}", "t.io/x", "t.io/x:1.27.0"),
    (NGINX, r"rename_tags: {'^v(.+)$': '\1'}", "t.io/x:{tag}-mirror", "t.io/x:1.27.0-mirror"),
    (NGINX, r"rename_tags: {'^(v\d+)\..*': '\1', v: w}", "t.io/x", "t.io/x:v1"),
    (NGINX, "rename_tags: {'^w': ''}", "t.io/x", "t.io/x:v1.27.0"),
    # By digest.
    (f"q.io/app@{DIGEST}", "", "t.io/{name}", f"t.io/app@{DIGEST}"),
    (f"q.io/app@{DIGEST}", "", "t.io/{name}:{digest_short}", "t.io/app:0123456789ab"),
]


def load(directory: Path, source: str, keys: str, target: str) -> Configuration:
    """Return the configuration of one rule."""
    more = "".join(f"   {line}\n" for line in keys.split("; "))
    (directory / "n.yaml").write_text(
        f"version: 1\nrules:\n - name: one\n   source: {source}\n   targets: '{target}'\n{more}"
    )
    return load_file(directory / "n.yaml", platforms=PlatformFilter(), environment={})


def named(rule: Rule, source: Reference) -> list[str]:
    """Return the targets of *source*, or the reason why there are none."""
    paired = pair_up(rule, [source], Facts({source: DIGEST}, "2026-12-01"))
    return [str(copy.target) for copy in paired.copies] + [str(failure.failure) for failure in paired.failures]


@pytest.mark.parametrize(("source", "keys", "target", "expected"), NAMES)
def test_names_follow_from_the_rule(tmp_path: Path, source: str, keys: str, target: str, expected: str) -> None:
    """Steps: strip, rename, flatten, prefix; then the placeholders."""
    reference = Reference.parse(source.strip("'"))
    where = source if reference.digest else str(reference.repository).join(("'", "'"))
    (rule,) = load(tmp_path, where, keys, target).rules
    assert named(rule, reference) == [expected]


def test_a_name_by_the_digest_names_that_content(tmp_path: Path) -> None:
    """The copy reads the digest that the name was made of, whatever the tag names later."""
    (rule,) = load(tmp_path, "q.io/app", "tags: v1", "t.io/x:{digest_short}").rules
    source = Reference.parse("q.io/app:v1")
    (copy,) = pair_up(rule, [source], Facts({source: DIGEST})).copies
    assert copy.source == source.repository.at(DIGEST)


def test_a_name_that_is_not_legal_fails_that_image(tmp_path: Path) -> None:
    """Too long, or made of parts that only some sources have."""
    (rule,) = load(tmp_path, "q.io/app", r"rename_tags: {'^(\d*).*': '\1'}", "t.io/x:{tag}").rules
    assert named(rule, Reference.parse("q.io/app:1-a")) == ["t.io/x:1"]
    (failure,) = named(rule, Reference.parse("q.io/app:latest"))
    assert failure.startswith("target: select: '': not a tag")


WRONG: Final = [
    ("q.io/a", r"rename: {'(a)': '\2'}", "t.io/{repository}", r"'\\2': \2, but '(a)' has one group"),
    ("q.io/a", r"rename: {'a': '\1'}", "t.io/{repository}", r"'\\1': \1, but 'a' has no group"),
    ("q.io/a", "rename: {'(a)': '$1'}", "t.io/{repository}", "'$1': not a replacement (write parts of a name"),
    ("q.io/a", r"rename: {'(a)': '\g<1>'}", "t.io/{repository}", r"'\\g<1>': not a replacement"),
    ("q.io/a", r"rename: {'(a)': '\0'}", "t.io/{repository}", r"'\\0': not a replacement"),
    ("q.io/a", r"rename: {'(a)': '\10'}", "t.io/{repository}", r"'\\10': not a replacement"),
    ("q.io/a", "rename_tags: {v: a/b}", "t.io/x", "'a/b': a tag has no slash"),
    ("q.io/a", "", "t.io/{{name}}", "'{{name}}': a brace that belongs to no placeholder"),
    ("q.io/a", "", "t.io/{name", "'{name': a brace that belongs to no placeholder"),
    ("q.io/a", "", "t.io/name}", "'name}': a brace that belongs to no placeholder"),
    ("q.io/a", "", "t.io/a:{tag}}", "'{tag}}': a brace that belongs to no placeholder"),
    ("q.io:5000/a", "", "t.io/{registry}/{name}", "a path has no port: write {registry_path}"),
    ("q.io/a", "rename: {'(a': x}", "t.io/{repository}", "/(a/: not a regular expression"),
    ("q.io/a", "rename: {'a(?=b)': x}", "t.io/{repository}", "/a(?=b)/: unsupported: lookaround"),
    ("q.io/a", "rename: {'a': Upper}", "t.io/{repository}", "'Upper': a repository name must be lower case"),
    ("q.io/a", "strip: 0", "t.io/{repository}", "rules[0].strip"),
    ("q.io/a", "strip: a//b", "t.io/{repository}", "strip: 'a//b': not the beginning of a repository's path"),
    ("q.io/a", "prefix: Team", "t.io/{repository}", "prefix: 'Team': not the beginning of a repository's path"),
    ("q.io/a", "flatten: '/'", "t.io/{repository}", "rules[0].flatten"),
    ("q.io/a", "prefix: m", "t.io/x", "prefix: no target has {repository}, {namespace} or {name}"),
    ("q.io/a", "rename_tags: {a: b}", "t.io/x:new", "rename_tags: no target has the tag of the source"),
    ("q.io/a", "tags: [v1, v2]", "t.io/x:{name}", "'t.io/x:{name}': one tag for 2 images"),
    ("q.io/a", "on: event", "t.io/x:{date}", "'t.io/x:{date}': {date} in a rule with on: event"),
    (
        "q.io/a",
        "on: event",
        "t.io/x:{digest_short}",
        "'t.io/x:{digest_short}': {digest_short} in a rule with",
    ),
    ("q.io/a", "", "t.io/x:{repository}", "'{repository}' is not allowed here; allowed: {date}, {digest_short}"),
    ("q.io/a", "", "t.io/{tag}", "'{tag}' is not allowed here; allowed: {date}, {digest_short}, {name}"),
    ("q.io/a", "referrers: {to: 't.io/{date}'}", "t.io/x", "'t.io/{date}': neither {digest_short} nor {date}"),
    ("q.io/a", "strip: 1", "q.io/{repository}", "'q.io/{repository}': source and target are the same"),
]


@pytest.mark.parametrize(("source", "keys", "target", "message"), WRONG)
def test_wrong_names_are_errors_with_their_line(
    tmp_path: Path, source: str, keys: str, target: str, message: str
) -> None:
    """One line each: what is wrong, and where it is known what to do."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, source, keys, target)
    assert message in str(caught.value)
    assert f"{tmp_path}/n.yaml:" in str(caught.value)


def test_rules_that_select_alike_for_one_target_are_warnings(tmp_path: Path) -> None:
    """Events would replace the image of one by that of the other, without a word."""
    rules = [
        "{name: one, source: q.io/a, targets: t.io/x, on: event}",
        "{name: two, source: q.io/b, targets: [t.io/y, t.io/x], on: event}",
        "{name: same, source: q.io/a, targets: t.io/x}",
        "{name: versions, source: q.io/c, targets: t.io/x, tags: {semver: '1.x'}}",
        "{name: others, source: q.io/d, targets: t.io/x, tags: {semver: '2.x'}}",
        "{name: again, source: q.io/e, targets: t.io/x, tags: {semver: '2.x'}}",
        "{name: apart, source: q.io/f, targets: t.io/x, tags: {semver: '2.x'}, rename_tags: {'^': f-}}",
        "{name: pattern, source: q.io/**, targets: 't.io/{name}'}",
        "{name: team, source: q.io/team/**, targets: 't.io/{repository}', on: event, tags: v1}",
        "{name: team-2, source: r.io/team/**, targets: ['t.io/z/{name}', 't.io/{repository}'], on: event, tags: v1}",
        "{name: narrow, source: s.io/team/**, repositories: team/a, targets: 't.io/{repository}', tags: v1}",
        "{name: by-registry, source: s.io/team/**, targets: 't.io/{registry}/{repository}', tags: v1}",
    ]
    path = tmp_path / "n.yaml"
    hook = "hooks: {h: {kind: plain, allow_open: true}}\nserver: {}\n"
    path.write_text(f"version: 1\n{hook}rules:\n" + "".join(f"- {rule}\n" for rule in rules))
    warnings = load_file(path, platforms=PlatformFilter(), environment={}).warnings
    assert list(warnings) == [
        f"{path}:{line} and {path}:{line + 1}: rules {name!r} and {other!r} both write {target}, from {source} and "
        f"{next_source}: tags that both have collide (give one of them another target)"
        for line, name, other, target, source, next_source in (
            (5, "one", "two", "t.io/x", "q.io/a", "q.io/b"),
            (9, "others", "again", "t.io/x", "q.io/d", "q.io/e"),
            (13, "team", "team-2", "t.io/{repository}", "q.io/team/**", "r.io/team/**"),
        )
    ]


HINT = "(write {repository} or {name} in the target)"


def test_a_pattern_whose_target_is_one_repository_is_a_warning(tmp_path: Path) -> None:
    """All its repositories would end there; so is a login that nothing replaces."""
    path = tmp_path / "n.yaml"
    login = "registries: {t.io: {username: robot$mirror, password: $PASSWORD}, u.io: {username: a, password: a$b}}\n"
    path.write_text(f"version: 1\n{login}rules:\n- {{name: one, source: q.io/team/*, list: true, targets: t.io/x}}\n")
    assert load_file(path, platforms=PlatformFilter(), environment={"PASSWORD": "x"}).warnings == (
        "t.io: a user name or password that begins with $ is used as written (write ${NAME} for a variable)",
        f"{path}:4: rule 'one' writes all repositories of q.io/team/* to t.io/x {HINT}",
    )
    path.write_text("version: 1\nrules: [{name: one, source: hub.docker.com/_/nginx, targets: t.io/x}]\n")
    with pytest.raises(ConfigError, match="a web page, not a registry"):
        load_file(path, platforms=PlatformFilter(), environment={})


def test_rules_that_certainly_collide_are_warnings(tmp_path: Path) -> None:
    """With the lines of both rules, before anything is copied; what depends on the registry is found in a run."""
    rules = [
        "{name: one, source: q.io/a, tags: [v1, v2], targets: t.io/x}",
        "{name: two, source: q.io/b, tags: [v2, v3], targets: [t.io/y, t.io/x]}",
        "{name: same, source: q.io/a, tags: v1, targets: t.io/x}",
        "{name: renamed, source: q.io/c, tags: w1, targets: t.io/x, rename_tags: {w: v}}",
        "{name: listed, source: q.io/d, targets: t.io/x}",
        "{name: pattern, source: q.io/**, targets: 't.io/{name}', tags: v1}",
        "{name: dated, source: q.io/e, targets: 't.io/x:{date}', tags: v1}",
        f"{{name: digest, source: 'q.io/f@{DIGEST}', targets: 't.io/y:v3'}}",
    ]
    path = tmp_path / "n.yaml"
    path.write_text("version: 1\nrules:\n" + "".join(f"- {rule}\n" for rule in rules))
    collisions = [
        (3, 4, "one", "two", "t.io/x:v2", "q.io/a:v2", "q.io/b:v2"),
        (3, 6, "one", "renamed", "t.io/x:v1", "q.io/a:v1", "q.io/c:w1"),
        (4, 10, "two", "digest", "t.io/y:v3", "q.io/b:v3", f"q.io/f@{DIGEST}"),
    ]
    assert list(load_file(path, platforms=PlatformFilter(), environment={}).warnings) == [
        f"{path}:{line} and {path}:{other_line}: rules {name!r} and {other!r} both write {target}, "
        f"from {source} and {other_source} (give one of them another target)"
        for line, other_line, name, other, target, source, other_source in collisions
    ]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("strip: 0", "rules[0].strip: at least 1"),
        ("flatten: '+'", "rules[0].flatten: unknown value '+' (known values: -, _, ., __)"),
        ("flatten: [a]", "rules[0].flatten: expected one of -, _, ., __, found a list"),
    ],
)
def test_a_key_of_several_types_has_one_error(tmp_path: Path, keys: str, problem: str) -> None:
    """Errors of the types that the value is not meant for are left out."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "r.io/team/app", keys, "t.io/{repository}")
    message = str(caught.value)
    assert message.endswith(problem)
    assert message.count("rules[0]") == 1
