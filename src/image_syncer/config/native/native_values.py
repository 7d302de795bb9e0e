"""The values of strict models: sections that refuse unknown keys, durations with a unit, lists of one."""

from datetime import timedelta
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from image_syncer.config.duration import parse_duration

_DURATION_SCHEMA: Final = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$", "examples": ["10m"]}


class Section(BaseModel):
    """A map of the file. A key with nothing behind it counts as left out, and one that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nothing(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = known_keys(cls)
        entries = cast("dict[str, Any]", data)
        return {key: value for key, value in entries.items() if value is not None or key not in known}


def known_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of *model* as they are written in a file."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def as_list(value: Any) -> Any:
    """Return a list of one where a single text stands instead of a list."""
    return [value] if isinstance(value, str) else value


def _truth(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("expected true or false, without quotes")  # noqa: TRY004 - what pydantic turns into a fault
    return value


Truth = Annotated[bool, BeforeValidator(_truth, json_schema_input_type=bool)]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
Several = Annotated[
    tuple[Text, ...],
    BeforeValidator(as_list, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
Duration = Annotated[timedelta, BeforeValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA, mode="validation")]
