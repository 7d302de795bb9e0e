"""Lists of images in the shapes that people have: `tests/data/image_sources.yaml` is the table."""

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from image_syncer.image_sources.image_reader import collect_images
from image_syncer.sync.image_lists import FoundImages, ImageList

TABLE = Path(__file__).parents[2] / "data" / "image_sources.yaml"
CASES = cast("list[dict[str, Any]]", cast("Any", YAML(typ="safe")).load(TABLE))


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write *files* to *folder*; those below a path that ends in .tgz make an archive."""
    archives: dict[str, dict[str, str]] = {}
    for name, text in files.items():
        archive, slash, inner = name.partition(".tgz/")
        if slash:
            archives.setdefault(f"{archive}.tgz", {})[inner] = text
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    for name, inner_files in archives.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(packed(inner_files))


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """Return an archive of *files*."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def filled(value: Any) -> Any:
    """Return *value* with the short forms of digests replaced."""
    match value:
        case str():
            return value.replace("A64", "a" * 64).replace("B64", "b" * 64)
        case dict():
            return {filled(key): filled(item) for key, item in cast("dict[str, Any]", value).items()}
        case list():
            return [filled(item) for item in cast("list[Any]", value)]
        case _:
            return value


def shown(found: FoundImages, folder: Path) -> dict[str, Any]:
    """Return *found* as the table has it, without *folder*."""

    def short(text: str) -> str:
        return text.replace(f"{folder}/", "")

    table: dict[str, Any] = {
        "images": {str(image): short(image.why) for image in found.images if image.certain},
        "uncertain": {str(image): short(image.why) for image in found.images if not image.certain},
        "invalid": {short(one.text): short(one.why or one.message) for one in found.invalid},
        "warnings": sorted(short(text) for text in found.warnings),
    }
    return {key: value for key, value in table.items() if value}


@pytest.mark.parametrize("case", CASES, ids=lambda case: cast("str", case["name"]))
def test_images_are_found_with_the_place_that_names_them(tmp_path: Path, case: dict[str, Any]) -> None:
    """Certain ones, uncertain ones, failures and warnings are those of the table."""
    case = cast("dict[str, Any]", filled(case))
    locations, values = cast("list[str]", case["locations"]), cast("list[str]", case.get("values", []))
    write(tmp_path, case["files"])
    wanted = ImageList(
        case["kind"],
        tuple(os.fspath(tmp_path / location) for location in locations),
        paths=tuple(case.get("paths", ())),
        values=tuple(os.fspath(tmp_path / name) for name in values),
    )
    found = collect_images(wanted, {}, case.get("variables", {}))
    expected = {key: case[key] for key in ("images", "uncertain", "invalid") if key in case}
    if "warnings" in case:
        expected["warnings"] = sorted(case["warnings"])
    assert shown(found, tmp_path) == expected


def test_the_table_has_inputs_of_each_kind() -> None:
    """At least 20 inputs, of the four kinds of files."""
    assert len(CASES) >= 20
    assert {case["kind"] for case in CASES} == {"helm", "compose", "manifests", "list"}
