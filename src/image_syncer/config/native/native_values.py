"""Types of strict models: sections that refuse unknown keys, durations with a unit, single values as lists."""

from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Final, Generic, TypeVar, cast, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from image_syncer.config.byte_size import checked_size
from image_syncer.config.duration import parse_duration, parse_long_duration

_Model = TypeVar("_Model", bound=BaseModel)
_DURATION_SCHEMA: Final = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$", "examples": ["10m"]}
_SIZE_SCHEMA: Final = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(kB|MB|GB|KiB|MiB|GiB)$", "examples": ["10MiB"]}


class Section(BaseModel):
    """A map of the file. A key without a value counts as absent; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        entries = cast("dict[str, Any]", data)
        if None not in entries.values():
            return entries
        known = known_keys(cls)
        return {key: value for key, value in entries.items() if value is not None or key not in known}


@cache
def known_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of *model* in a file."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


class Checked(Generic[_Model]):
    """Stands for a valid item of a long list. `SourceFile.item` makes the item when it is needed.

    20 000 rules as models would take twice the memory of their nodes.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate as the model, and keep nothing of it."""
        (model,) = get_args(source)
        return core_schema.no_info_after_validator_function(lambda _: _CHECKED, handler.generate_schema(model))


_CHECKED: Final = Checked[Any]()


def as_list(value: Any) -> Any:
    """Return a single text as a list with one item, other values unchanged."""
    return [value] if isinstance(value, str) else value


class ReplacedText(str):
    """A text in which variables were replaced. It may be a number or a truth value as well."""

    __slots__ = ()


def _truth(value: object) -> object:
    if isinstance(value, ReplacedText) and value in {"true", "false"}:
        return value == "true"
    if not isinstance(value, bool):
        raise ValueError("expected true or false, without quotes")  # noqa: TRY004 - pydantic expects it
    return value


Truth = Annotated[bool, BeforeValidator(_truth, json_schema_input_type=bool)]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
Several = Annotated[
    tuple[Text, ...],
    BeforeValidator(as_list, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA, mode="validation")]
Size = Annotated[str, BeforeValidator(checked_size), WithJsonSchema(_SIZE_SCHEMA, mode="validation")]
LongDuration = Annotated[
    timedelta, BeforeValidator(parse_long_duration), WithJsonSchema(_DURATION_SCHEMA, mode="validation")
]
