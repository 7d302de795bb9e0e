"""Images that a Helm chart uses: by its annotations, its values, and its templates as far as they can be evaluated.

Annotations are the author's own list. Values and templates name what an installation with these values would pull.
What follows from a convention only, such as the tag `appVersion`, is not certain.
"""

import re
from typing import Final

from image_syncer.errors import InvalidReference, Refused
from image_syncer.image_sources.foreign_yaml import ValueMap, as_list, as_map, as_text, parse_foreign
from image_syncer.image_sources.helm_chart import Chart, merge_values, value_at
from image_syncer.image_sources.image_collector import ImageCollector
from image_syncer.image_sources.image_values import ImageValue, global_registry, image_values
from image_syncer.image_sources.template_text import TemplateScope, Unresolved
from image_syncer.structs import Struct, field
from image_syncer.sync.image_text import has_placeholder, parse_image

ANNOTATIONS: Final = ("artifacthub.io/images", "helm.sh/images", "images")
"""Annotations of charts with a YAML list of images."""

_COMMENT_START: Final = re.compile(r"\{\{-?\s*/\*")
_IMAGE_LINE: Final = re.compile(
    r"^[ \t]*(?:-[ \t]+)?[\"']?(?:image|[a-z]\w*Image)[\"']?:[ \t]*(\S[^\n]*)$", re.MULTILINE
)
_ARGUMENT: Final = re.compile(
    r"(?<=[\s\"'=,])((?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?/[a-z0-9._/-]+:[A-Za-z0-9_][\w.-]*(?:@sha256:[0-9a-f]{64})?)"
)
_SHOWN: Final = 5


class ChartScanner(Struct, frozen=False):
    """Adds the images of charts to *collector*."""

    collector: ImageCollector
    _guesses: list[tuple[ImageValue, Chart, str]] = field(default_factory=list[tuple[ImageValue, Chart, str]])
    _unresolved: list[str] = field(default_factory=list[str])

    def scan(self, chart: Chart, values: ValueMap | None = None) -> None:
        """Add the images of *chart* and the charts in it; *values* are laid over its own."""
        self._guesses.clear()
        self._unresolved.clear()
        listed = self._chart(chart, merge_values(chart.values, values or {}), "", {})
        for value, owner, reason in self._guesses:
            self._guess(value, owner, reason)
        if self._unresolved and not listed:
            places = ", ".join(self._unresolved[:_SHOWN])
            more = f" and {len(self._unresolved) - _SHOWN} more" if len(self._unresolved) > _SHOWN else ""
            self.collector.warnings.append(
                f"{chart.place}: images in templates that cannot be evaluated: {places}{more}; "
                "they may be among the values"
            )

    def _chart(self, chart: Chart, values: ValueMap, switched_off: str, shared: ValueMap) -> bool:
        """Add the images of *chart*, which the key *switched_off* disables if any; whether an annotation lists them."""
        values = merge_values(values, {"global": merge_values(as_map(values.get("global")), shared)})
        listed = self._annotations(chart, switched_off)
        if not chart.is_library:
            inner_keys = {key for key, _, _ in _inner(chart)}
            own = {key: value for key, value in values.items() if key not in inner_keys}
            for value in image_values(own, registry=global_registry(values)):
                self._value(value, chart, switched_off)
            self._templates(chart, values, switched_off)
        for key, inner, condition in _inner(chart):
            inner_values = merge_values(inner.values, as_map(values.get(key)))
            off = switched_off or _switch(condition, {**values, key: inner_values})
            self._chart(inner, inner_values, off, as_map(values.get("global")))
        for dependency in chart.dependencies:
            if dependency.name not in chart.charts:
                self.collector.warnings.append(
                    f"{chart.place}: it needs the chart {dependency.name}, which is not in it: its images are unknown"
                )
        return listed

    def _annotations(self, chart: Chart, switched_off: str) -> bool:
        listed = False
        for name in ANNOTATIONS:
            text = as_text(chart.annotations.get(name))
            if not text:
                continue
            place = f"{chart.place}/Chart.yaml"
            try:
                entries = as_list(parse_foreign(text, f"{place}: {name}"))
            except Refused as error:
                self.collector.warnings.append(error.message)
                continue
            for entry in entries:
                image = as_text(as_map(entry).get("image")) or as_text(entry)
                if image:
                    listed = True
                    why = _why(f"{place}: {name}", switched_off)
                    self.collector.add(image, why, certain=not switched_off)
        return listed

    def _value(self, value: ImageValue, chart: Chart, switched_off: str) -> None:
        off = switched_off or value.disabled_by
        why = _why(f"{chart.place}/values.yaml: {value.path}", off)
        if value.has_version:
            self.collector.add(value.text, why, certain=not off, is_guess=True)
        else:
            self._guesses.append((value, chart, why))

    def _guess(self, value: ImageValue, chart: Chart, why: str) -> None:
        """Add an image whose version is not in the values, unless a template told it."""
        try:
            repository = parse_image(value.text).reference.repository
        except InvalidReference:
            return
        if self.collector.has_certain(repository):
            return
        version = f":{chart.app_version}" if chart.app_version else ""
        reason = f"{why}, with the appVersion" if version else f"{why}, without a tag"
        self.collector.add(f"{value.text}{version}", reason, certain=False)

    def _templates(self, chart: Chart, values: ValueMap, switched_off: str) -> None:
        known = {"name": chart.name, "version": chart.version, "appversion": chart.app_version}
        scope = TemplateScope(values, known)
        for path, text in chart.templates.items():
            if path.endswith(("NOTES.txt", ".tpl")):
                continue
            source = without_comments(text)
            is_test = path.startswith("templates/tests/")
            off = switched_off or ("helm test" if is_test else "")
            for match in _IMAGE_LINE.finditer(source):
                line = source.count("\n", 0, match.start(1)) + 1
                self._line(match[1].rstrip(), f"{chart.place}/{path}:{line}", scope, off)
            for match in _ARGUMENT.finditer(source):
                line = source.count("\n", 0, match.start(1)) + 1
                self.collector.add(match[1], f"{chart.place}/{path}:{line}", certain=False)

    def _line(self, text: str, place: str, scope: TemplateScope, off: str) -> None:
        if text.startswith(("#", "{{- include", "{{ include", "{{- toYaml", "|", ">", "&", "{}")):
            if "include" in text:
                self._unresolved.append(place)
            return
        try:
            image = _unquoted(scope.render(text))
        except Unresolved:
            self._unresolved.append(place)
            return
        if not image or image.endswith((":", "@")) or image.startswith((":", "/")) or has_placeholder(image):
            self._unresolved.append(place)
            return
        self.collector.add(image, _why(place, off), certain=not off and not image.endswith("/"), is_guess="{{" in text)


def without_comments(template: str) -> str:
    """Return *template* with the line breaks of its comments alone, so that the numbers of lines stay."""
    parts: list[str] = []
    at = 0
    while (start := _COMMENT_START.search(template, at)) is not None:
        end = template.find("*/", start.end())
        if end < 0:
            break
        parts += [template[at : start.start()], "\n" * template.count("\n", start.start(), end)]
        closing = template.find("}}", end)
        at = end + len("*/") if closing < 0 or template[end + 2 : closing].strip(" \t\r\n-") else closing + len("}}")
    return "".join([*parts, template[at:]])


def _inner(chart: Chart) -> list[tuple[str, Chart, str]]:
    """Return each use of a chart in *chart*: the key of its values, the chart, and its condition."""
    uses = [
        (dependency.key, chart.charts[dependency.name], dependency.condition)
        for dependency in chart.dependencies
        if dependency.name in chart.charts
    ]
    named = {dependency.name for dependency in chart.dependencies}
    return [*uses, *((name, inner, "") for name, inner in chart.charts.items() if name not in named)]


def _switch(condition: str, values: ValueMap) -> str:
    """Return the key in *condition* that switches a chart off; empty if it is on. The first key that is set decides."""
    keys = [key.strip() for key in condition.split(",")]
    decides = next((key for key in keys if isinstance(value_at(values, key), bool)), "")
    return decides if value_at(values, decides) is False else ""


def _why(place: str, off: str) -> str:
    if not off:
        return place
    return f"{place}, a test" if off == "helm test" else f"{place}, but {off} is false"


def _unquoted(text: str) -> str:
    text = re.sub(r"\s+#.*$", "", text).strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
