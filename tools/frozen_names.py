"""The names that users rely on, as one JSON document: `python tools/frozen_names.py > tests/frozen_names.json`.

Configuration keys, command line options, API fields, metrics with their labels, log events and database columns.
`tests/unit/test_frozen_names.py` fails if one of them is renamed or removed; run this tool to add new ones.
It also writes the JSON Schema that the examples name.
"""

import ast
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry

from image_syncer.cli.main import root
from image_syncer.config.fork.fork_model import ForkFile
from image_syncer.config.schema import json_schema
from image_syncer.server.metrics import Metrics
from image_syncer.state.tables import metadata

SCHEMA = Path(__file__).parent.parent / "examples" / "image-syncer.schema.json"
SOURCES = Path(__file__).parent.parent / "src" / "image_syncer"
_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "log"})
JsonSchema = Mapping[str, Any]


def frozen_names() -> dict[str, list[str]]:
    """Return every list of names, sorted."""
    return {
        "configuration": sorted(set(_keys(json_schema()))),
        "configuration of the fork": sorted(set(_keys(ForkFile.model_json_schema(by_alias=True)))),
        "command line": sorted(_options(root, "image-syncer")),
        "metrics": sorted(_metrics()),
        "log events": sorted(set(_log_events())),
        "database": sorted(
            f"{table.name}.{column.name}" for table in metadata.sorted_tables for column in table.columns
        ),
    }


def api_fields(document: JsonSchema) -> list[str]:
    """Return every operation of the OpenAPI *document* with its parameters and the fields of its JSON responses."""
    found: set[str] = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            found.add(name)
            found |= {f"{name} ? {parameter['name']}" for parameter in operation.get("parameters", ())}
            for status, response in operation["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema")
                if schema is not None:
                    fields = _keys(schema, document)
                    found |= {f"{name} {status} {field}" for field in fields}
    return sorted(found)


def _options(command: Any, name: str) -> Iterator[str]:
    yield name
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield from (f"{name} {option}" for option in (*parameter.opts, *parameter.secondary_opts))
    for child, sub in getattr(command, "commands", {}).items():
        yield from _options(sub, f"{name} {child}")


def _metrics() -> Iterator[str]:
    registry = CollectorRegistry()
    Metrics(registry)
    collectors = cast("dict[Any, list[str]]", registry._collector_to_names)  # noqa: SLF001 - there is no public way  # pyright: ignore[reportPrivateUsage]
    for collector, names in collectors.items():
        labels = ",".join(collector._labelnames)  # noqa: SLF001
        yield from (f"{name}{{{labels}}}" for name in names if not name.endswith("_created"))


def _log_events() -> Iterator[str]:
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr=level), args=[*arguments]) if level in _LEVELS:
                    for argument in arguments[:2]:
                        match argument:
                            case ast.Constant(value=str(text)) if _is_event(text):
                                yield text
                            case _:
                                pass
                case _:
                    pass


def _is_event(text: str) -> bool:
    first, dot, second = text.partition(".")
    return bool(dot) and first.replace("_", "").isalpha() and second.replace("_", "").isalpha() and text.islower()


def _keys(schema: JsonSchema, document: JsonSchema | None = None, path: str = "", depth: int = 0) -> Iterator[str]:
    document = schema if document is None else document
    if depth > 12:  # noqa: PLR2004 - a schema that refers to itself
        return
    if "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        yield from _keys(target, document, path, depth + 1)
    for key, inner in schema.get("properties", {}).items():
        yield f"{path}.{key}".lstrip(".")
        yield from _keys(inner, document, f"{path}.{key}", depth + 1)
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _keys(inner, document, path, depth + 1)
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        inner = schema.get(key)
        if isinstance(inner, dict):
            yield from _keys(cast("JsonSchema", inner), document, f"{path}{mark}", depth + 1)
    if "enum" in schema:
        yield from (f"{path} = {value}" for value in schema["enum"])


def api_document() -> JsonSchema:
    """Return the OpenAPI description of a server with every feature enabled."""
    from image_syncer.server.server_settings import ForkHook, HookSource, ServerSettings  # noqa: PLC0415
    from image_syncer.server.web_app import create_app  # noqa: PLC0415

    settings = ServerSettings(hooks={"any": HookSource("harbor", "harbor.test", ())}, fork=ForkHook(None))
    backend: Any = _Anything()
    application = create_app(settings, backend, metrics=Metrics(CollectorRegistry()), clock=time.time)
    return application.openapi()


class _Anything:
    """A backend without content: the description does not call it."""

    def __getattr__(self, name: str) -> object:
        return self


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n")
    json.dump({**frozen_names(), "api": api_fields(api_document())}, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
