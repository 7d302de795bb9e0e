"""`create:` and `control:` of the native file's registries: what is created there, and with which login."""

from urllib.parse import urlsplit

from image_syncer.config.documents.source_file import SourceFile
from image_syncer.config.native.native_model import CreateSection, RegistrySection
from image_syncer.errors import UsageError
from image_syncer.registry.http.urls import host_of, is_loopback
from image_syncer.registry.settings import ControlAccess, CreateSettings, Credential


def parse_create(section: CreateSection | None) -> CreateSettings | None:
    """Return what is created, None for nothing."""
    if section is None:
        return None
    return CreateSettings(
        section.vendor or "", section.immutable, section.scan, section.public, section.lifecycle or ""
    )


def parse_control(key: str, section: RegistrySection, config_file: SourceFile) -> ControlAccess | None:
    """Return the access of `registries.KEY.control`, None without it; `UsageError` for an address that is not safe."""
    control = section.control
    if control is None:
        return None
    place = ("registries", key, "control")
    username = config_file.substitute(control.username, *place, "username") if control.username else ""
    password = config_file.substitute(control.password, *place, "password") if control.password else ""
    if username and not password:
        raise UsageError(f"registries.{key}.control: a username without a password", remedy="give both, or none")
    url = config_file.substitute(control.url, *place, "url") if control.url else ""
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.netloc or "@" in parts.netloc or parts.query):
        raise UsageError(f"registries.{key}.control.url: not the address of a server", remedy="write https://HOST")
    if parts.scheme == "http" and not (section.plain_http or section.insecure or is_loopback(host_of(parts.netloc))):
        raise UsageError(
            f"registries.{key}.control.url: the login would be sent in plain text", remedy="write https://HOST"
        )
    wait = None if control.wait is None else control.wait.total_seconds()
    if wait is not None and wait < 1:
        raise UsageError(f"registries.{key}.control.wait: shorter than 1s", remedy="ways: [stream] waits for no vendor")
    return ControlAccess(Credential(username, password) if password else None, url, wait)
