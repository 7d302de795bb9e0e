"""Accounts of the native file's `registries`: one login, several, or those that a cloud issues."""

from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step, path_text
from image_syncer.config.go_tool.auth_file import parse_prefix
from image_syncer.config.native.native_creation import parse_control, parse_create
from image_syncer.config.native.native_model import RegistrySection
from image_syncer.errors import UsageError
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.roles.ways import ALL_WAYS
from image_syncer.structs import replace

_GOOGLE_KEY_USER = "_json_key"  # Google's own name for the key of a service account as a password.


def parse_account(key: str, section: RegistrySection, config_file: SourceFile) -> RegistryAccount:
    """Return the account of `registries.KEY`; `UsageError` if its login is not complete."""
    place: tuple[Step, ...] = ("registries", key)
    account = RegistryAccount(
        parse_prefix(key),
        insecure=section.insecure,
        origin=config_file.location(*place),
        private_network=section.private_network,
        plain_http=section.plain_http,
        cloud=section.auth,
        create=parse_create(section.create),
        control=parse_control(key, section, config_file),
        share_credentials=section.share_credentials,
        pulls_from=_upstream(key, section, config_file),
        ways=ALL_WAYS if section.ways is None else frozenset(section.ways),
    )
    if section.logins:
        return _with_logins(account, key, section, config_file)
    username, password = section.username, section.password
    if username is None and password is not None and section.auth == "gcp":
        username = _GOOGLE_KEY_USER
    if (username is None) != (password is None):
        given, missing = ("username", "password") if username else ("password", "username")
        raise UsageError(
            f"registries.{key}: a {given} without a {missing}", remedy="give both, or none for anonymous access"
        )
    if username is None or password is None:
        return account
    username = config_file.substitute(username, *place, "username")
    return replace(account, credential=Credential(username, config_file.substitute(password, *place, "password")))


def _upstream(key: str, section: RegistrySection, config_file: SourceFile) -> str:
    """Return what the registry or namespace of *section* caches; empty for nothing."""
    if section.pulls_from is None:
        return ""
    text = config_file.substitute(section.pulls_from, "registries", key, "pulls_from")
    try:
        return parse_prefix(text)
    except UsageError as error:
        raise UsageError(
            f"registries.{key}.pulls_from: {quoted(text)}: neither registry nor registry/prefix", remedy=error.remedy
        ) from error


def _with_logins(
    account: RegistryAccount, key: str, section: RegistrySection, config_file: SourceFile
) -> RegistryAccount:
    """Return *account* with the first of the logins, and the others as its `further` accounts."""
    if section.username is not None or section.password is not None:
        raise UsageError(
            f"registries.{key}: username and logins exclude each other", remedy="make it the first of the logins"
        )
    found: dict[str, RegistryAccount] = {}
    for number, login in enumerate(section.logins):
        place: tuple[Step, ...] = ("registries", key, "logins", number)
        username = config_file.substitute(login.username, *place, "username")
        credential = Credential(username, config_file.substitute(login.password, *place, "password"))
        if username in found:
            raise UsageError(f"{path_text(place)}: duplicate username {quoted(username)}", remedy="keep one of them")
        found[username] = replace(account, credential=credential, origin=config_file.location(*place))
    first, *others = found.values()
    return replace(first, further=tuple(others))
