"""The Go tool's auth file: `registry` or `registry/namespace` to user name, password and `insecure`."""

from collections.abc import Mapping
from pathlib import Path

from image_syncer.config.documents.document import read_document
from image_syncer.config.documents.node import MapEntry, MapNode, Node, Scalar, describe, quoted, unknown_key
from image_syncer.config.documents.problems import Problems, error_at
from image_syncer.config.environment import Substitution
from image_syncer.errors import UsageError
from image_syncer.oci import Repository
from image_syncer.oci.reference import looks_like_host, normalise_host
from image_syncer.registry.settings import Credential, RegistryAccount

_FIELDS = ("username", "password", "insecure")
_TRUE = frozenset({"true", "yes", "on"})
# With this user name, the password is the key of a Google service account in base64.
_GOOGLE_USER = "_oauth2_"


def load_auth(path: Path, *, environment: Mapping[str, str]) -> tuple[RegistryAccount, ...]:
    """Return the registry accounts of the file of `--auth`."""
    problems = Problems()
    access = read_auth_file(path, environment, problems)
    problems.raise_found()
    return access


def read_auth_file(
    path: Path, environment: Mapping[str, str], problems: Problems, watched: dict[str, None] | None = None
) -> tuple[RegistryAccount, ...]:
    """Return the accounts of the auth file at *path*; `ConfigError` if it is no auth file.

    The paths of files with values are added to *watched*.
    """
    document = read_document(path, remedy_if_empty="leave the file out, or write {}, for anonymous access")
    substitution = Substitution.for_file(str(path), environment)
    accounts = parse_auth(document, str(path), substitution, problems)
    if watched is not None:
        watched.update(substitution.files.paths)
    return accounts


def parse_auth(
    document: MapNode, file: str, substitution: Substitution, problems: Problems
) -> tuple[RegistryAccount, ...]:
    """Return the accounts of *document*; errors of single entries are collected in *problems*."""
    found: dict[str, tuple[RegistryAccount, int]] = {}
    for entry in document.entries:
        with problems.collect_at(file, entry.key):
            account = _account(entry, file, substitution)
            earlier = found.setdefault(account.prefix, (account, entry.key.line))
            if earlier[0] is not account:
                raise UsageError(
                    f"{quoted(entry.key.text)} is {account.prefix}, which line {earlier[1]} already has",
                    remedy="keep one of them",
                )
    return tuple(account for account, _ in found.values())


def parse_prefix(text: str) -> str:
    """Return the normalised key *text*: `registry` or `registry/namespace[/...]`, without a trailing slash."""
    key = text.strip()
    if "://" in key:
        raise UsageError(
            "the key of a login names a registry without its scheme",
            remedy="begin with the host, and write docker.io for Docker Hub",
        )
    if "$" in key:
        raise UsageError(f"{quoted(text)}: keys cannot contain environment variables", remedy="write the name itself")
    host, slash, namespace = key.removesuffix("/").partition("/")
    if not looks_like_host(host):
        raise UsageError(
            f"{quoted(text)}: not a registry; its name has a dot or a port, or is localhost",
            remedy=f"write a namespace of Docker Hub as docker.io/{key}" if key else None,
        )
    registry = normalise_host(host)
    if not slash:
        return registry
    # A namespace has the grammar of a repository. A key does not imply Docker Hub's `library/`.
    Repository.parse(f"{registry}/{namespace}")
    return f"{registry}/{namespace}"


def _account(entry: MapEntry, file: str, substitution: Substitution) -> RegistryAccount:
    prefix = parse_prefix(entry.key.text)
    fields = _fields(entry, file)
    credential = _credential(entry.key, fields, file, substitution)
    insecure = _insecure(fields.get("insecure"), file)
    is_google_key = credential is not None and credential.username == _GOOGLE_USER
    cloud = "gcp" if is_google_key else None
    return RegistryAccount(prefix, credential, insecure, f"{file}:{entry.key.line}", cloud=cloud)


def _fields(entry: MapEntry, file: str) -> dict[str, Node]:
    """Return the fields of one entry. As in Go's JSON, their names match in any case."""
    if isinstance(entry.value, Scalar) and entry.value.kind == "null":
        return {}
    if not isinstance(entry.value, MapNode):
        raise error_at(
            f"expected a map with username, password and insecure, found {describe(entry.value)}",
            file,
            entry.value,
            remedy="check the indentation",
        )
    fields: dict[str, Node] = {}
    for field in entry.value.entries:
        name = field.key.text.lower()
        if name not in _FIELDS:
            problem = unknown_key(field.key, _FIELDS)
            raise error_at(problem.message, file, field.key, remedy=problem.remedy)
        if name in fields:
            raise error_at(f"duplicate key {name}", file, field.key, remedy="keep one of them")
        fields[name] = field.value
    return fields


def _credential(key: Scalar, fields: dict[str, Node], file: str, substitution: Substitution) -> Credential | None:
    username = _value("username", fields.get("username"), file, substitution)
    password = _value("password", fields.get("password"), file, substitution)
    if not username and not password:
        return None
    if not username or not password:
        given, missing = ("username", "password") if username else ("password", "username")
        raise error_at(
            f"a {given} without a {missing}",
            file,
            fields.get(missing, key),
            remedy="give both, or none for anonymous access",
        )
    return Credential(username, password)


def _value(name: str, node: Node | None, file: str, substitution: Substitution) -> str:
    """Return the text of a field with its variables replaced, empty if it is absent. A number keeps its text."""
    if node is None:
        return ""
    if not isinstance(node, Scalar):
        raise error_at(f"{name}: expected a text, found {describe(node)}", file, node)
    if node.kind == "null":
        return ""
    try:
        return substitution.apply(node.text)
    except UsageError as error:
        raise error_at(f"{name}: {error.message}", file, node, remedy=error.remedy) from None


def _insecure(node: Node | None, file: str) -> bool:
    if node is None:
        return False
    if not isinstance(node, Scalar) or node.kind != "truth":
        raise error_at(
            f"insecure: expected true or false, found {describe(node)}", file, node, remedy="write it without quotes"
        )
    return node.text.lower() in _TRUE
