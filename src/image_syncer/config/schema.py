"""The JSON Schema of the native file, for editors."""

from typing import Any, Final, cast

from image_syncer.config.native.native_model import NativeFile

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}
_EXTENSION: Final = "^x-"


def json_schema() -> dict[str, Any]:
    """Return the schema of the native file: the keys, types and bounds that the loader checks."""
    schema = _with_variables(NativeFile.model_json_schema(mode="validation"))
    return {"$schema": _DIALECT, **schema, "patternProperties": {_EXTENSION: {}}}


def _with_variables(schema: Any) -> Any:
    """Return *schema*, in which numbers, truth values and texts of a pattern may also be variables."""
    if isinstance(schema, list):
        return [_with_variables(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = {key: _with_variables(value) for key, value in cast("dict[str, Any]", schema).items()}
    if found.get("type") in {"integer", "boolean"} or (found.get("type") == "string" and "pattern" in found):
        notes = {key: found.pop(key) for key in ("title", "description", "default", "examples") if key in found}
        return {**notes, "anyOf": [found, _VARIABLE]}
    return found
