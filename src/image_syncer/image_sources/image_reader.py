"""Finds the images of a list, whatever its kind."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from image_syncer.errors import Refused
from image_syncer.image_sources.artifact_files import CHART_TYPE, read_artifact
from image_syncer.image_sources.chart_files import ARCHIVE_LIMIT_BYTES, ReadBudget, read_archive, read_directory
from image_syncer.image_sources.chart_images import ChartScanner
from image_syncer.image_sources.compose_file import ComposeReader
from image_syncer.image_sources.foreign_yaml import ValueMap, as_map, parse_foreign
from image_syncer.image_sources.helm_chart import load_chart, merge_values
from image_syncer.image_sources.image_collector import ImageCollector
from image_syncer.image_sources.list_text import collect_list
from image_syncer.image_sources.local_files import NamedText, decode, find_paths, read_file, read_texts
from image_syncer.image_sources.pod_manifests import ManifestScanner
from image_syncer.roles import Stores
from image_syncer.structs import Struct
from image_syncer.sync.image_lists import FoundImage, FoundImages, ImageList
from image_syncer.sync.image_text import ARTIFACT_SCHEME, parse_artifact, parse_value_path

Artifacts = Mapping[str, Sequence[NamedText]]
"""The files of artifacts by their location."""

_Read = Callable[[NamedText, Path | None], None]


async def read_images(wanted: ImageList, stores: Stores, variables: Mapping[str, str]) -> FoundImages:
    """Return the images of *wanted*, whose artifacts are read from *stores*; raises `StoreError`.

    A local file that cannot be read is among the `invalid` ones. *variables* are those that Compose files may use.
    """
    artifacts: dict[str, Sequence[NamedText]] = {}
    only = CHART_TYPE if wanted.kind == "helm" else None
    for location in wanted.locations:
        if location.startswith(ARTIFACT_SCHEME):
            artifacts[location] = await read_artifact(stores, parse_artifact(location), only=only)
    # Large files take seconds to parse.
    return await asyncio.to_thread(lambda: collect_images(wanted, artifacts, variables))


def collect_images(wanted: ImageList, artifacts: Artifacts, variables: Mapping[str, str]) -> FoundImages:
    """Return the images of *wanted*, given the files of its *artifacts*."""
    collector = ImageCollector()
    if wanted.kind == "helm":
        _Charts(wanted, artifacts, collector).collect()
        return collector.found()
    read = _reader(wanted, collector, variables)
    for location in wanted.locations:
        for text, path in _texts(location, artifacts, collector):
            try:
                read(text, path)
            except Refused as error:
                collector.fail(text.name, str(error))
    return collector.found()


def _texts(location: str, artifacts: Artifacts, collector: ImageCollector) -> Iterator[tuple[NamedText, Path | None]]:
    """Yield the files of *location*, with their paths if they are local."""
    if location in artifacts:
        yield from ((text, None) for text in artifacts[location])
        return
    try:
        texts = read_texts(location)
    except Refused as error:
        collector.fail(location, str(error))
        return
    yield from ((text, Path(text.name)) for text in texts)


def _reader(wanted: ImageList, collector: ImageCollector, variables: Mapping[str, str]) -> _Read:
    if wanted.kind == "list":
        return lambda text, _: collect_list(decode(text.content, text.name), text.name, collector)
    if wanted.kind == "compose":
        compose = ComposeReader(collector, variables)
        return lambda text, path: compose.read(text.content, text.name, path)
    scanner = ManifestScanner(collector, tuple(parse_value_path(path) for path in wanted.paths))
    return lambda text, _: scanner.read(decode(text.content, text.name), text.name)


class _Charts(Struct):
    """Reads the charts of a list."""

    wanted: ImageList
    artifacts: Artifacts
    collector: ImageCollector

    def collect(self) -> None:
        """Add the images of all charts."""
        values: ValueMap = {}
        for location in self.wanted.values:
            try:
                for text in read_texts(location):
                    values = merge_values(values, as_map(parse_foreign(decode(text.content, text.name), text.name)))
            except Refused as error:
                self.collector.fail(location, str(error))
        for location in self.wanted.locations:
            if location in self.artifacts:
                for text in self.artifacts[location]:
                    self._chart(text.name, text.content, values)
                if self.wanted.include_chart:
                    self.collector.add_image(FoundImage(parse_artifact(location), "the chart itself"))
                continue
            try:
                paths = find_paths(location)
            except Refused as error:
                self.collector.fail(location, str(error))
                continue
            for path in paths:
                self._chart(str(path), path, values)

    def _chart(self, name: str, content: bytes | Path, values: ValueMap) -> None:
        budget = ReadBudget()
        try:
            if isinstance(content, Path) and content.is_dir():
                files = read_directory(content, budget)
            else:
                packed = read_file(content, limit=ARCHIVE_LIMIT_BYTES) if isinstance(content, Path) else content
                files = read_archive(packed, name, budget)
            ChartScanner(self.collector).scan(load_chart(files, name, budget), values)
        except Refused as error:
            self.collector.fail(name, str(error))
