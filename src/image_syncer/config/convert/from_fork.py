"""The fork's `sync.yaml`: routes become rules that events trigger, its hook one of kind `plain`."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

from image_syncer.config.convert.conversion import Conversion, Value, literal
from image_syncer.config.convert.fields import Fields
from image_syncer.config.convert.from_go_tool import convert_auth
from image_syncer.config.documents.document import read_document
from image_syncer.config.documents.node import MapNode, Node
from image_syncer.config.fork.fork_model import normalise_keys

_DEFAULT_AUTH_FILE: Final = "./auth.yaml"


def convert_fork(document: Node, conversion: Conversion) -> None:
    """Add the file *document* and its auth file to *conversion*."""
    file = Fields.of(normalise_keys(document) if isinstance(document, MapNode) else document, conversion)
    app, auth = file.section("app"), file.section("auth")
    listen = app.text("port") or ":8080"
    app.note("env", why="the fork does not use it either")
    app.finish()
    username, password = (literal(auth.text(key) or "") for key in ("username", "password"))
    auth.finish()
    if not username:
        conversion.note(
            file.line, "the file has no login: the daemon accepts unauthenticated requests (allow_open: true)"
        )
    login: Value = {"username": username, "password": password}
    server: dict[str, Value] = {"listen": listen if ":" in listen else f":{listen}"}
    conversion.others["server"] = server | ({"auth": {"basic": login}} if username else {"allow_open": True})
    proof: dict[str, Value] = {"basic": login} if username else {"allow_open": True}
    conversion.others["hooks"] = {"push": {"kind": "plain"} | proof}
    conversion.lose(
        file.line, "GET /images/sync/hook and /images/sync/do: senders call POST /hooks/push instead, or keep this file"
    )
    platforms = _convert_sync(file.section("sync"), conversion)
    for route in file.section("registry").sections("reg"):
        _convert_route(route, platforms)
    _convert_queue(file.section("rabbitmq"), conversion)
    file.note("receiver", "db", why="the fork does not use it either")
    file.finish()


def _convert_sync(sync: Fields, conversion: Conversion) -> list[str]:
    """Return the platforms, and add the logins of the auth file."""
    filters = sync.section("filter")
    systems, architectures = (filters.texts(f"{name}FilterList") for name in ("os", "arch"))
    filters.finish()
    position = sync.section("filePosition")
    auth_file = position.text("auth")
    path = Path(auth_file or _DEFAULT_AUTH_FILE)
    if auth_file is not None or path.exists():
        logins = read_document(path, remedy_if_empty="write {} for anonymous access")
        convert_auth(logins, Conversion(str(path), registries=conversion.registries))
    position.note("images", why="the state has the pending events")
    position.note("log", why="use --log")
    position.finish()
    sync.note("routineNum", "retryCount", why="image-syncer finds the right number by itself, and retries jobs")
    sync.note("interval", why="image-syncer copies at once")
    sync.note("maxSyncDes", why="the fork does not use it either")
    sync.finish()
    return [f"{system}/{architecture}" for system in systems or ["linux"] for architecture in architectures]


def _convert_route(route: Fields, platforms: list[str]) -> None:
    host, namespace = route.required("sourceName"), route.required("namespace").strip("/")
    targets = [f"{item.strip().rstrip('/')}/{{repository}}" for item in route.required("destinationName").split(",")]
    source = f"{host}/{namespace}/**"
    route.conversion.add_rule(f"{host}/{namespace}", source, targets, on="event", platforms=platforms)
    route.finish()


def _convert_queue(rabbitmq: Fields, conversion: Conversion) -> None:
    urls: list[Value] = []
    for broker in rabbitmq.sections("info"):
        address, username, password = broker.required("address"), broker.text("username"), broker.text("password")
        login = f"{quote(username, safe='')}:{_quote(password or '')}@" if username else ""
        urls.append(f"amqp://{login}{address}/")
        broker.finish()
    queue = rabbitmq.text("queueName")
    if urls and queue:
        conversion.others["queues"] = {"rabbitmq": {"kind": "rabbitmq", "urls": urls, "queue": queue}}
    rabbitmq.finish()


def _quote(password: str) -> str:
    """Return *password* percent-encoded; a variable stays as it is."""
    return password if password.startswith("${") and password.endswith("}") else quote(password, safe="")
