"""Values of options that are plainly right, so that Typer need not check them.

Typer checks every value with pydantic, the defaults too, and to import that takes longer than many a run.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

_DEMANDS: Final = ("exists", "writable", "resolve_path", "path_type", "parser")
_DOUBTFUL: Final = object()


class _Sparing:
    """Takes the place of what Typer checks *parameter* with, which *full* makes; only doubtful values get that far."""

    def __init__(self, parameter: Any, full: Callable[[], Any]) -> None:
        self._parameter = parameter
        self._full = full

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return what the command is given for *value*; raises as Typer does where that cannot be."""
        plain = _plain(self._parameter, value)
        return self._full().coerce(value, param=param, ctx=ctx) if plain is _DOUBTFUL else plain


def spare(command: Any) -> None:
    """Let Typer check those values for *command* alone that are not plainly right."""
    given = command.get_params

    def spared(context: Any) -> Sequence[Any]:
        parameters = given(context)
        for parameter in parameters:
            full = getattr(parameter, "get_runtime_param", None)
            # Typer gets its check from this method; a version without these checks everything, which only takes long.
            if full is not None and hasattr(parameter, "type_descriptor") and not isinstance(full, partial):
                parameter.get_runtime_param = partial(_Sparing, parameter, full)
        return parameters

    command.get_params = spared


def _plain(parameter: Any, value: Any) -> Any:
    kind, wanted = parameter.type_descriptor.annotation, parameter.type_descriptor.parameter_info
    if value is None:
        return () if parameter.multiple or parameter.nargs == -1 else None
    if value == parameter.default:
        return value
    if any(getattr(wanted, demand, None) for demand in _DEMANDS):
        return _DOUBTFUL
    if kind == list[str]:
        return list(value)
    return _of_text(kind, wanted, value) if isinstance(value, str) else _DOUBTFUL


def _of_text(kind: Any, wanted: Any, text: str) -> Any:
    if kind is str:
        return text
    if kind is Path:
        return Path(text)
    if kind is int and text.isdecimal() and text.isascii() and _within(int(text), wanted.min, wanted.max):
        return int(text)
    if get_origin(kind) is Literal and text in get_args(kind):
        return text
    return _DOUBTFUL


def _within(value: int, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)
