"""The meaning of `images_from:` in the native file, and its errors."""

import importlib.util
from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.errors import ConfigError
from image_syncer.oci import PlatformFilter
from image_syncer.sync.image_lists import ClusterScope, ImageList
from image_syncer.sync.rule import AllTags, Every, Rule


def rule(directory: Path, images_from: str, more: str = "", targets: str = "t.io/{repository}") -> Rule:
    """Return the only rule of a file with the list *images_from*."""
    path = directory / "n.yaml"
    path.write_text(
        f"version: 1\nrules:\n - name: one\n   images_from: {images_from}\n   targets: {targets}\n   {more}\n"
    )
    return load_file(path, platforms=PlatformFilter(), environment={"V": "1.2"}).rules[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{list: images.txt}", ImageList("list", ("/images.txt",))),
        ("{list: [a.txt, /b/*.txt, a.txt]}", ImageList("list", ("/a.txt", "//b/*.txt"))),
        ("{compose: 'dc*.yaml', uncertain: true}", ImageList("compose", ("/dc*.yaml",), uncertain=True)),
        (
            "{manifests: k8s/, paths: [spec.image, '$.a.b[*].c']}",
            ImageList("manifests", ("/k8s",), paths=("spec.image", "$.a.b[*].c")),
        ),
        (
            "{helm: ['oci://r.io/charts/app:${V}', ./c], include_chart: true, values: v.yaml}",
            ImageList("helm", ("oci://r.io/charts/app:1.2", "/c"), include_chart=True, values=("/v.yaml",)),
        ),
    ],
)
def test_a_list_names_files_relative_to_the_configuration(tmp_path: Path, text: str, expected: ImageList) -> None:
    """Variables work in them; artifacts keep their reference. In the table `//` is an absolute path."""
    found = rule(tmp_path, text)
    assert isinstance(found.source, ImageList)

    def place(location: str) -> str:
        return location[1:] if location.startswith("//") else location.replace("/", f"{tmp_path}/", 1)

    locations = tuple(one if one.startswith("oci:") else place(one) for one in expected.locations)
    assert found.source.locations == locations
    assert found.source.values == tuple(map(place, expected.values))
    assert (found.source.kind, found.source.uncertain, found.source.include_chart, found.source.paths) == (
        expected.kind,
        expected.uncertain,
        expected.include_chart,
        expected.paths,
    )
    assert found.selection == AllTags()


def test_a_list_has_a_schedule_as_other_rules(tmp_path: Path) -> None:
    """Only events are not for it."""
    assert rule(tmp_path, "{list: a.txt}", "every: 1h").triggers.schedule == Every(3600.0)


@pytest.mark.parametrize(
    ("images_from", "more", "message"),
    [
        ("{}", "", "4:4: images_from: nothing to read (write one of helm, compose, manifests, list, kubernetes)"),
        ("{list: a, helm: b}", "", "4:4: images_from: helm and list exclude each other (write a rule for each)"),
        ("{list: a, uncertain: true}", "", "images_from: uncertain has no meaning for list (leave it out)"),
        ("{compose: a, paths: b}", "", "images_from: paths has no meaning for compose (leave it out)"),
        ("{lists: a}", "", "rules[0].images_from: unknown key 'lists' (did you mean list?)"),
        ("{list: a}", "source: q.io/a", "source and images_from exclude each other (keep one of them, or write"),
        ("{list: a}", "tags: v1", "images_from names images with their tags, so tags: has no meaning"),
        ("{list: a}", "on: event", "images_from has no repository that an event could announce"),
        ("{list: 'https://u:hunter2@h/a'}", "", "a place that begins with https:// (write a path, a glob, or oci://"),
        ("{helm: 'oci://r.io/charts/app'}", "", "a tag or a digest is missing"),
        ("{helm: 'oci://r.io/Charts:1'}", "", "a repository name must be lower case"),
        ("{manifests: a, paths: 'a..b'}", "", "'a..b': not a path, such as spec.image, spec.*.image or"),
        ("{kubernetes: {in_cluster: true, context: x}}", "", "in_cluster excludes context and kubeconfig"),
        ("{kubernetes: {namespaces: [a, B_]}}", "", "'B_': not the name of a namespace"),
        ("{kubernetes: {grace: 7}}", "", "expected a duration with its unit"),
    ],
)
def test_wrong_values_are_errors(tmp_path: Path, images_from: str, more: str, message: str) -> None:
    """They say what to do, with the line."""
    with pytest.raises(ConfigError) as error:
        rule(tmp_path, images_from, more)
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)
    assert error.value.line == 4


def test_the_images_of_a_list_need_repositories_of_their_own(tmp_path: Path) -> None:
    """A target without a placeholder would take all of them."""
    with pytest.raises(ConfigError, match=r"one repository for all images of a list \(write t.io/x/\{repository\}\)"):
        rule(tmp_path, "{list: a}", targets="t.io/x")


def test_a_cluster_has_a_scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its defaults are the current context and all namespaces."""
    monkeypatch.setattr(importlib.util, "find_spec", str)
    assert rule(tmp_path, "{kubernetes: {}}").source == ImageList("kubernetes", cluster=ClusterScope())
    names = "context: 'c-${V}', kubeconfig: k, namespaces: [a, b]"
    text = f"{{{names}, include_init: false, grace: 7d, watch: false}}"
    assert rule(tmp_path, f"{{kubernetes: {text}}}").source == ImageList(
        "kubernetes",
        cluster=ClusterScope(
            "c-1.2",
            str(tmp_path / "k"),
            namespaces=("a", "b"),
            include_init=False,
            grace_seconds=7 * 86400.0,
            watch=False,
        ),
    )


def test_a_missing_extra_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed by itself."""
    monkeypatch.setattr(importlib.util, "find_spec", dict[str, str]().get)
    with pytest.raises(ConfigError, match=r"pip install '.\[kubernetes\]'"):
        rule(tmp_path, "{kubernetes: {}}")
