"""The settings of a daemon that follow from its configuration."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file
from image_syncer.config.model import Configuration
from image_syncer.daemon.services import syncer_options, web_settings
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import HostLimits
from image_syncer.server.server_settings import Listen, check_exposure


def test_limits_of_the_file_apply_to_the_daemon() -> None:
    """In every dialect of the configuration."""
    host_limits = {"a.test": HostLimits(transfers=2)}
    assert syncer_options(Configuration((), (), host_limits=host_limits)).host_limits == host_limits


@pytest.mark.parametrize("server", ["allow_open: true", "auth: {tokens: [a-token-of-more-than-16-characters]}"])
def test_allow_open_in_the_file_opens_the_server_or_a_webhook(server: str, tmp_path: Path) -> None:
    """On every address, without an option of the command line."""
    hook = "hooks: {open: {kind: distribution, registry: r.test, allow_open: true}}"
    file = tmp_path / "sync.yaml"
    file.write_text(f"version: 1\nrules: []\n{hook}\nserver: {{listen: ':8080', {server}}}\n")
    configuration = load_file(file, platforms=PlatformFilter(), environment={}, allow_open=False)
    assert configuration.server is not None
    check_exposure(Listen("", 8080), web_settings(configuration, configuration.server, allow_open=False))


def test_without_allow_open_an_open_server_stays_on_loopback(tmp_path: Path) -> None:
    """The file is refused before that."""
    file = tmp_path / "sync.yaml"
    file.write_text("version: 1\nrules: []\nserver: {listen: ':8080'}\n")
    with pytest.raises(UsageError, match="unauthenticated"):
        load_file(file, platforms=PlatformFilter(), environment={}, allow_open=False)
