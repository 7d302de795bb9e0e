"""From the configuration to what the server has to know."""

from image_syncer.config.model import (
    BasicCredentials,
    Configuration,
    HeaderProof,
    HmacProof,
    HookSettings,
    ServerConfig,
    TokenClaims,
    UrlSecretProof,
)
from image_syncer.daemon.jwks import token_check
from image_syncer.events import signatures
from image_syncer.server import server_settings as web


def web_settings(configuration: Configuration, server: ServerConfig, *, allow_open: bool) -> web.ServerSettings:
    """Return what the routes have to know."""
    login = None if server.login is None else signatures.Basic(server.login.username, server.login.password)
    logins: tuple[web.Login, ...] = tuple(signatures.Bearer(token) for token in server.tokens)
    return web.ServerSettings(
        logins=(*logins, *((login,) if login else ())),
        hooks={hook.name: _source(hook) for hook in configuration.hooks},
        fork=None if configuration.fork is None else web.ForkHook(login),
        allow_open=allow_open,
    )


def _source(hook: HookSettings) -> web.HookSource:
    return web.HookSource(hook.kind, hook.registry, _checks(hook), hook.prefix)


def _checks(hook: HookSettings) -> tuple[signatures.Check, ...]:
    match hook.proof:
        case None:
            return ()
        case BasicCredentials(username, password):
            return (signatures.Basic(username, password),)
        case HmacProof(secret):
            return (signatures.signed(hook.kind, secret),)
        case HeaderProof(name, value):
            return (signatures.StaticHeader(value, name.lower()),)
        case UrlSecretProof(secret):
            return (signatures.UrlSecret(secret),)
        case TokenClaims() as claims:
            return (token_check(claims),)
