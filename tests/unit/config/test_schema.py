"""The JSON Schema for editors agrees with the loader."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from image_syncer.config.model import HookKind
from image_syncer.config.schema import json_schema

EXAMPLE = Path(__file__).parents[3] / "examples" / "native.yaml"
NATIVE_EXAMPLES = [
    path for path in sorted(EXAMPLE.parent.rglob("*.yaml")) if re.search("^version: 1$", path.read_text(), re.MULTILINE)
]
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether *value* fits *schema*; knows the keywords that the schema uses."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema and not any(fits(value, one, root) for one in schema["anyOf"]):
        return False
    if "type" not in schema:
        return "required" not in schema or set(schema["required"]) <= set(value)
    if value not in schema.get("enum", [value]) or schema.get("const", value) != value:
        return False
    if not isinstance(value, _TYPES[schema["type"]]):
        return False
    if schema["type"] == "object":
        return fits_map(value, schema, root)
    if schema["type"] == "array":
        return len(value) >= schema.get("minItems", 0) and all(fits(item, schema["items"], root) for item in value)
    return not isinstance(value, str) or re.search(schema.get("pattern", ""), value) is not None


def fits_map(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether the keys of *value* are known and complete, and their values fit."""
    others = schema.get("additionalProperties", True)
    known = schema.get("properties", {})
    free = {key for key in value for pattern in schema.get("patternProperties", {}) if re.search(pattern, key)}
    unknown = value.keys() - known.keys() - free
    if not value.keys() >= set(schema.get("required", [])) or (unknown and others is False):
        return False
    return all(fits(item, known.get(key, others), root) for key, item in value.items() if key not in free)


def example(path: Path = EXAMPLE) -> dict[str, Any]:
    """Return the example as plain data."""
    parser: Any = YAML(typ="safe", pure=True)
    return parser.load(path.read_text())


@pytest.mark.parametrize("path", NATIVE_EXAMPLES, ids=lambda path: path.name)
def test_the_examples_fit(path: Path) -> None:
    """An editor accepts them, and finds the schema by their first line."""
    schema = json_schema()
    assert fits(example(path), schema, schema)
    assert path.read_text().startswith("# yaml-language-server: $schema=image-syncer.schema.json\n")
    assert json.loads((path.parent / "image-syncer.schema.json").read_text())["$schema"] == schema["$schema"]


@pytest.mark.parametrize(
    "more",
    [
        {"x-common": {"every": "6h", "anything": [1]}},
        {"include": "rules/*.yaml"},
        {"include": ["registries.yaml", "conf.d"]},
        {"timeouts": {"stall": "${STALL:-30s}"}},
        {"registries": {"q.io": {"insecure": "${INSECURE:-false}", "limits": {"copies": "${COPIES}"}}}},
    ],
)
def test_files_with_variables_and_shared_parts_fit(more: dict[str, Any]) -> None:
    """A variable may be a number or a truth value."""
    schema = json_schema()
    assert fits({**example(), **more}, schema, schema)


@pytest.mark.parametrize(
    "more",
    [
        {"rulez": []},
        {"version": 2},
        {"rules": [{"name": "a", "source": "q.io/a"}]},
        {"rules": [{"name": "a", "source": "q.io/a", "targets": "t.io/a", "evry": "1m"}]},
        {"rules": [{"name": "a", "source": "q.io/a", "targets": "t.io/a", "every": "soon"}]},
        {"rules": [{"name": "a", "source": "q.io/a", "targets": "t.io/a", "on": "push"}]},
        {"rules": [{"name": "a", "source": "q.io/a", "targets": "t.io/a", "tags": {"inclde": "v1"}}]},
        {"hooks": {"a": {"kind": "harbour"}}},
        {"server": {"allow_open": "yes"}},
        {"queues": {"a": {"kind": "rabbitmq", "queue": "q"}}},
    ],
)
def test_files_that_the_loader_refuses_do_not_fit(more: dict[str, Any]) -> None:
    """Unknown and missing keys and wrong values do not fit."""
    schema = json_schema()
    assert not fits({**example(), **more}, schema, schema)


def test_every_kind_of_hook_is_in_it() -> None:
    """An editor can complete them."""
    kinds = json_schema()["$defs"]["HookSection"]["properties"]["kind"]["enum"]
    assert kinds == list(HookKind.__args__) == sorted(kinds)
