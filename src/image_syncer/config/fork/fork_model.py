"""Keys, types and bounds of the fork's `sync.yaml`. Keys match in any case; here they are spelled as in its docs."""

from collections.abc import Iterator
from typing import Annotated, Any, Final, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from image_syncer.config.documents.node import ListNode, MapEntry, MapNode, Node, Scalar, map_node
from image_syncer.config.native.native_values import Section, Text, as_list, known_keys

_MINUTES_OF_A_YEAR: Final = 366 * 24 * 60


class ForkSection(Section):
    """A map of the fork's file."""

    model_config = ConfigDict(alias_generator=to_camel)


class AppSection(ForkSection):
    """The server. The fork reads `env` but does not use it."""

    port: Text = ":8080"
    env: Any = None


class RouteSection(ForkSection):
    """A route: copy a namespace of a registry to one or more registries."""

    source_name: Text
    namespace: Text
    destination_name: Text


class RoutesSection(ForkSection):
    """The routes."""

    reg: tuple[RouteSection, ...] = ()


class HookLoginSection(ForkSection):
    """The login of the hook."""

    username: str = ""
    password: SecretStr = SecretStr("")


class FilterSection(ForkSection):
    """The platforms to keep."""

    os_filter_list: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    arch_filter_list: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()


class FilePositionSection(ForkSection):
    """Paths of the fork's files."""

    auth: Text | None = None
    images: Text = "./images.json"
    log: str = "./app.log"


class SyncSection(ForkSection):
    """How images are copied. The fork ignores `maxSyncDes`."""

    routine_num: Annotated[int, Field(ge=1, le=1000)] = 1
    retry_count: Annotated[int, Field(ge=0, le=100)] = 2
    interval: Annotated[int, Field(ge=1, le=_MINUTES_OF_A_YEAR)] = 10
    filter: FilterSection = FilterSection()
    file_position: FilePositionSection = FilePositionSection()
    max_sync_des: Any = None


class BrokerSection(ForkSection):
    """One address of the broker."""

    address: Text
    username: str = ""
    password: SecretStr = SecretStr("")


class RabbitSection(ForkSection):
    """The queue that brings events."""

    queue_name: str = ""
    info: tuple[BrokerSection, ...] = ()


class DatabaseSection(ForkSection):
    """A section that the fork reads but does not use."""

    file: Any = None


class ForkFile(ForkSection):
    """The fork's file. The fork reads `receiver` and `db` but does not use them."""

    app: AppSection = AppSection()
    registry: RoutesSection = RoutesSection()
    auth: HookLoginSection = HookLoginSection()
    sync: SyncSection = SyncSection()
    rabbitmq: RabbitSection = RabbitSection()
    receiver: Any = None
    db: DatabaseSection = DatabaseSection()


def normalise_keys(node: MapNode) -> MapNode:
    """Return *node* with known keys, in any case, spelled as in the models.

    `DocumentError` for a duplicate key.
    """
    spelling = {key.lower(): key for key in _all_keys(ForkFile)}
    return _normalise_map(node, spelling)


def _normalise_map(node: MapNode, spelling: dict[str, str]) -> MapNode:
    entries = [
        MapEntry(_normalise_key(entry.key, spelling), _normalise_node(entry.value, spelling)) for entry in node.entries
    ]
    return map_node(entries, node.line, node.column)


def _normalise_node(node: Node, spelling: dict[str, str]) -> Node:
    match node:
        case MapNode():
            return _normalise_map(node, spelling)
        case ListNode():
            return ListNode(tuple(_normalise_node(item, spelling) for item in node.items), node.line, node.column)
        case Scalar():
            return node


def _normalise_key(key: Scalar, spelling: dict[str, str]) -> Scalar:
    return Scalar(spelling.get(key.text.lower(), key.text), key.kind, key.line, key.column)


def _all_keys(model: type[BaseModel]) -> Iterator[str]:
    yield from known_keys(model)
    for info in model.model_fields.values():
        for part in (info.annotation, *cast("tuple[object, ...]", get_args(info.annotation))):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _all_keys(part)
