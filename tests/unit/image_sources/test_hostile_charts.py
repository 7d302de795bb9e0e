"""Charts, files and expressions that are broken or made to hurt: each ends as one clear error."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from image_syncer.errors import InvalidReference, Refused
from image_syncer.image_sources import chart_files, local_files
from image_syncer.image_sources.chart_files import ReadBudget, read_archive, read_directory
from image_syncer.image_sources.chart_images import without_comments
from image_syncer.image_sources.compose_variables import interpolate
from image_syncer.image_sources.foreign_yaml import parse_foreign
from image_syncer.image_sources.helm_chart import load_chart
from image_syncer.image_sources.image_reader import collect_images
from image_syncer.image_sources.local_files import read_file, read_texts
from image_syncer.image_sources.template_text import TemplateScope, Unresolved
from image_syncer.sync.image_lists import ImageList
from image_syncer.sync.image_text import parse_image

CHART = b"{apiVersion: v2, name: a, version: 1.0.0}"


def archive(*members: tuple[str, bytes | str]) -> bytes:
    """Return an archive of *members*: a name with its content, or with the target of a link."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as opened:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if isinstance(data, str):
                member.type, member.linkname = tarfile.SYMTYPE, data
                opened.addfile(member)
            else:
                member.size = len(data)
                opened.addfile(member, io.BytesIO(data))
    return content.getvalue()


def nested(levels: int) -> bytes:
    """Return a chart in *levels* charts."""
    packed = archive(("a/Chart.yaml", CHART))
    for _ in range(levels):
        packed = archive(("a/Chart.yaml", CHART), ("a/charts/a-1.0.0.tgz", packed))
    return packed


def load(packed: bytes, budget: ReadBudget | None = None) -> None:
    """Read the chart in *packed*."""
    budget = budget or ReadBudget()
    load_chart(read_archive(packed, "a.tgz", budget), "a.tgz", budget)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"", "a.tgz: not an archive of a chart, or a damaged one"),
        (b"<html>not found</html>", "a.tgz: not an archive of a chart, or a damaged one"),
        (gzip.compress(b"x" * 600), "a.tgz: not an archive of a chart, or a damaged one"),
        (archive(("a/Chart.yaml", CHART * 300))[:-60], "a.tgz: not an archive of a chart, or a damaged one"),
        (archive(("a/README.md", b"")), "a.tgz: not a chart: it has no Chart.yaml"),
        (archive(("a/Chart.yaml", "/etc/passwd")), "a.tgz: not a chart: it has no Chart.yaml"),
        (archive(("../Chart.yaml", CHART), ("/a/Chart.yaml", CHART)), "a.tgz: not a chart: it has no Chart.yaml"),
        (archive(("a/Chart.yaml", b"version: 1")), "a.tgz: Chart.yaml has no name"),
        (archive(("a/Chart.yaml", b"\xff")), "a.tgz/Chart.yaml:1: not UTF-8"),
        (archive(("a/Chart.yaml", CHART), ("a/values.yaml", b"a: [")), "a.tgz/values.yaml:1: not YAML"),
        (nested(9), "charts within charts, deeper than 8 levels"),
    ],
    ids=range(11),
)
def test_a_broken_archive_is_one_error(packed: bytes, message: str) -> None:
    """It names the chart and the file in it."""
    with pytest.raises(Refused) as error:
        load(packed)
    assert message in str(error.value)


def test_charts_within_charts_are_read_to_a_depth() -> None:
    """Eight levels are enough for people."""
    load(nested(8))


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a file that is not read, nor spread over charts in a chart, nor in many empty files."""
    zeros = bytes(1024 * 1024)
    large = archive(("a/Chart.yaml", CHART), ("a/files/x", zeros))
    with pytest.raises(Refused, match=r"a.tgz: unpacks to more than"):
        load(large, ReadBudget(size_bytes=len(zeros)))
    several = archive(("a/Chart.yaml", CHART), ("a/charts/b.tgz", large), ("a/charts/c.tgz", large))
    load(several, ReadBudget(size_bytes=3 * len(zeros)))
    with pytest.raises(Refused, match=r"a.tgz/charts/c.tgz: unpacks to more than"):
        load(several, ReadBudget(size_bytes=2 * len(zeros)))
    with pytest.raises(Refused, match="has more than"):
        load(archive(("a/Chart.yaml", CHART), *((f"a/{number}", b"") for number in range(10))), ReadBudget(entries=10))
    monkeypatch.setattr(chart_files, "FILE_LIMIT_BYTES", 1024)
    with pytest.raises(Refused, match=r"a.tgz: values.yaml: larger than"):
        load(archive(("a/Chart.yaml", CHART), ("a/values.yaml", b"#" * 2000)))


def test_links_out_of_a_directory_are_not_followed(tmp_path: Path) -> None:
    """A chart from a stranger must not read the files of this machine."""
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_bytes(CHART)
    (tmp_path / "secret.yaml").write_text("image: secret:1")
    (chart / "templates" / "a.yaml").symlink_to(tmp_path / "secret.yaml")
    (chart / "templates" / "b.yaml").symlink_to(chart / "Chart.yaml")
    assert sorted(read_directory(chart, ReadBudget())) == ["Chart.yaml", "templates/b.yaml"]


def _nothing(_folder: Path) -> None:
    pass


def _directory(folder: Path) -> None:
    (folder / "x").mkdir()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "x")


def _large(folder: Path) -> None:
    with (folder / "x").open("wb") as stream:
        stream.truncate(17 * 1024 * 1024)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_nothing, "no such file (check the path; it is relative to the configuration file)"),
        (_directory, "a directory, not a file"),
        (_pipe, "not a file"),
        (_large, "larger than 16 MiB"),
    ],
)
def test_a_path_that_is_no_small_file_is_one_error(
    tmp_path: Path, prepare: Callable[[Path], None], message: str
) -> None:
    """A pipe does not block."""
    prepare(tmp_path)
    with pytest.raises(Refused) as error:
        read_file(tmp_path / "x")
    assert message in str(error.value)


def test_a_glob_has_to_match_some_files_and_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories among them are left out."""
    monkeypatch.setattr(local_files, "FILES_LIMIT", 3)
    with pytest.raises(Refused, match="no file matches"):
        read_texts(f"{tmp_path}/*.yaml")
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text("x")
    (tmp_path / "c.yaml").unlink()
    (tmp_path / "c.yaml").mkdir()
    assert [Path(text.name).name for text in read_texts(f"{tmp_path}/*.yaml")] == ["a.yaml", "b.yaml"]
    (tmp_path / "[x].yaml").write_text("x")
    assert [text.content for text in read_texts(f"{tmp_path}/[x].yaml")] == [b"x"]
    (tmp_path / "e.yaml").write_text("x")
    with pytest.raises(Refused, match="more than 3 files match"):
        read_texts(f"{tmp_path}/*.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Values.missing }}",
        "{{ .Values.map }}",
        "{{ .Release.Name }}",
        "{{ include `x` . }}",
        "{{ if .Values.a }}x{{ end }}",
        "{{ printf `%s` }}",
        "{{ printf `%s` .Values.a .Values.a }}",
        "{{ printf .Values.map }}",
        "{{ default }}",
        "{{ .Values.a .Values.a }}",
        "{{ ( .Values.a }}",
        "{{ .Values.a | }}",
        "{{ .Values.a @ }}",
        "{{ }}",
        "{{ .Values.a",
        "{{ tpl .Values.loop . }}",
        "{{ " + "( " * 2_000 + "}}",
        "x" * 5_000,
    ],
    ids=lambda text: text[:30],
)
def test_what_cannot_be_evaluated_stays_unresolved(text: str) -> None:
    """In little time, whatever it is."""
    scope = TemplateScope({"a": "1", "map": {}, "loop": "{{ tpl .Values.loop . }}"})
    with pytest.raises(Unresolved):
        scope.render(text)


def test_an_annotation_that_is_no_yaml_is_a_warning(tmp_path: Path) -> None:
    """The rest of the chart is read."""
    (tmp_path / "Chart.yaml").write_text(
        "{apiVersion: v2, name: a, version: 1.0.0, annotations: {artifacthub.io/images: '[', images: 'a: b'}}"
    )
    (tmp_path / "values.yaml").write_text("image: {repository: x, tag: '1'}")
    found = collect_images(ImageList("helm", (str(tmp_path),)), {}, {})
    assert [str(image) for image in found.images] == ["docker.io/library/x:1"]
    (warning,) = found.warnings
    assert warning.startswith(f"{tmp_path}/Chart.yaml: artifacthub.io/images:1: not YAML")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A-${A}", "1-1"),
        ("${B:-x}${E:-y}${E-z}", "xy"),
        ("${B-${A}}", "1"),
        ("${B:-${C:-2}}", "2"),
        ("${A:?error}", "1"),
        ("${B:?error}", "${B}"),
        ("${A:+x}${B:+y}${E+z}", "xz"),
        ("$$A", "$A"),
        ("${B}", "${B}"),
        ("${", "${"),
        ("a:$", "a:$"),
    ],
)
def test_variables_of_compose_files(text: str, expected: str) -> None:
    """A is 1, E is empty, B and C are unset."""
    assert interpolate(text, {"A": "1", "E": ""}) == expected


def test_deep_and_wide_documents_are_bounded() -> None:
    """Nesting, and aliases that multiply."""
    with pytest.raises(Refused, match="nested deeper than 64 levels"):
        parse_foreign("a: " + "[" * 70 + "]" * 70, "x.yaml")
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    with pytest.raises(Refused, match="more than 1000000 values"):
        parse_foreign(bomb, "x.yaml")


def test_foreign_files_may_have_what_ours_may_not() -> None:
    """Tags, and duplicate keys, of which the last one counts."""
    assert parse_foreign("a: !custom {b: 1.20}\na: !x [yes, ~]", "x.yaml") == {"a": [True, None]}


@pytest.mark.parametrize(
    "template",
    [
        "{{/*" * 200_000,
        "{{" * 400_000,
        "image: x" + " " * 800_000 + "y",
        "image: " + "{{ " * 250_000,
        "\n" * 800_000 + "{{",
        "image: __A" + "_A" * 400_000,
        "image: ${A:-" + "${A:-" * 150_000,
        "- " * 400_000,
        "aImage" * 150_000,
    ],
    ids=range(9),
)
def test_templates_are_searched_in_linear_time(tmp_path: Path, template: str) -> None:
    """Each takes hours if the time grows with the square of the length."""
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_bytes(CHART)
    (chart / "templates" / "a.yaml").write_text(template)
    (tmp_path / "m.yaml").write_text(template)
    assert not collect_images(ImageList("helm", (str(chart),)), {}, {}).images
    assert not interpolate(template, {}).startswith("x")
    # Whatever it is to the manifests: an error, or nothing.
    assert not collect_images(ImageList("list", (str(tmp_path / "m.yaml"),)), {}, {}).images


def test_comments_of_templates_leave_their_lines() -> None:
    """An open one, or one that is closed wrongly, hides nothing else."""
    assert without_comments("a{{/* x\ny */}}b{{- /* z */ -}}c") == "a\nbc"
    assert without_comments("a{{/* x\nimage: b") == "a{{/* x\nimage: b"
    assert without_comments("a{{/* x */ y }}b") == "a y }}b"


def test_the_yaml_of_a_chart_is_bounded() -> None:
    """Parsing takes long."""
    inner = archive(("a/Chart.yaml", CHART), ("a/values.yaml", b"a: 1\n" + b"#" * 500))
    several = archive(("a/Chart.yaml", CHART), ("a/charts/b.tgz", inner), ("a/charts/c.tgz", inner))
    load(several, ReadBudget(yaml_bytes=1200))
    with pytest.raises(Refused, match="of metadata and values"):
        load(several, ReadBudget(yaml_bytes=900))


@pytest.mark.parametrize("text", ["5", "1024", "null", "~", "True"])
def test_a_number_or_a_word_of_yaml_is_no_image(text: str) -> None:
    """YAML without quotes is a number or nothing; it must not become an image of Docker Hub."""
    with pytest.raises(InvalidReference, match="a number or a word of YAML"):
        parse_image(text)
    assert parse_image(f"docker.io/library/{text.lower().replace('~', 'x')}").explicit is False
