"""A Helm chart with the charts in it: metadata, values and templates."""

from collections.abc import Iterator, Mapping
from typing import Final

from image_syncer.errors import Refused
from image_syncer.image_sources.chart_files import DEPTH_LIMIT, ChartFiles, ReadBudget, read_archive
from image_syncer.image_sources.foreign_yaml import Value, ValueMap, as_list, as_map, as_text, parse_foreign
from image_syncer.image_sources.local_files import decode
from image_syncer.structs import Struct

_ARCHIVES: Final = (".tgz", ".tar.gz")


class Dependency(Struct):
    """A chart that a chart needs: its *name*, the key of its values in the parent's, and what switches it on."""

    name: str
    key: str
    condition: str = ""


class Chart(Struct):
    """A chart. *place* is where it was read, *templates* are texts by path, *charts* are those in it by their names."""

    place: str
    name: str
    version: str
    app_version: str
    is_library: bool
    annotations: ValueMap
    dependencies: tuple[Dependency, ...]
    values: ValueMap
    templates: Mapping[str, str]
    charts: Mapping[str, "Chart"]


def load_chart(files: ChartFiles, place: str, budget: ReadBudget, depth: int = 0) -> Chart:
    """Return the chart in *files*, read from *place*; `Refused` if it is none, is broken or nested too deep."""
    if depth > DEPTH_LIMIT:
        raise Refused(f"{place}: charts within charts, deeper than {DEPTH_LIMIT} levels")
    if "Chart.yaml" not in files:
        raise Refused(
            f"{place}: not a chart: it has no Chart.yaml", remedy="name the directory or the archive of a chart"
        )
    metadata = as_map(_document(files, "Chart.yaml", place, budget))
    name = as_text(metadata.get("name"))
    if not name:
        raise Refused(f"{place}: Chart.yaml has no name")
    requirements = as_map(_document(files, "requirements.yaml", place, budget))
    entries = [*as_list(metadata.get("dependencies")), *as_list(requirements.get("dependencies"))]
    return Chart(
        place,
        name,
        as_text(metadata.get("version")),
        as_text(metadata.get("appVersion")),
        as_text(metadata.get("type")) == "library",
        as_map(metadata.get("annotations")),
        tuple(_dependencies(entries)),
        as_map(_document(files, "values.yaml", place, budget)),
        {path: decode(text, f"{place}/{path}") for path, text in files.items() if path.startswith("templates/")},
        dict(_inner_charts(files, place, budget, depth)),
    )


def merge_values(base: ValueMap, over: ValueMap) -> ValueMap:
    """Return *base* with the values of *over*, key by key, as Helm merges values; None removes a key."""
    merged = dict(base)
    for key, value in over.items():
        present = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(present, Mapping) and isinstance(value, Mapping):
            merged[key] = merge_values(present, value)
        else:
            merged[key] = value
    return merged


def value_at(values: ValueMap, path: str) -> Value:
    """Return the value at the dotted *path* of *values*; None without one."""
    found: Value = values
    for step in path.split("."):
        found = as_map(found).get(step)
    return found


def _document(files: ChartFiles, name: str, place: str, budget: ReadBudget) -> Value:
    if name not in files:
        return None
    budget.take_yaml(len(files[name]), place)
    return parse_foreign(decode(files[name], f"{place}/{name}"), f"{place}/{name}")


def _dependencies(entries: list[Value]) -> Iterator[Dependency]:
    for entry in entries:
        dependency = as_map(entry)
        name = as_text(dependency.get("name"))
        if name:
            yield Dependency(name, as_text(dependency.get("alias")) or name, as_text(dependency.get("condition")))


def _inner_charts(files: ChartFiles, place: str, budget: ReadBudget, depth: int) -> Iterator[tuple[str, Chart]]:
    """Yield the charts below `charts/`, which are directories or archives, by their names."""
    folders: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        if not path.startswith("charts/"):
            continue
        folder, _, rest = path.removeprefix("charts/").partition("/")
        inner = f"{place}/charts/{folder}"
        if rest:
            folders.setdefault(inner, {})[rest] = content
        elif folder.endswith(_ARCHIVES):
            folders[inner] = dict(read_archive(content, inner, budget))
    for inner, found in folders.items():
        chart = load_chart(found, inner, budget, depth + 1)
        yield chart.name, chart
