"""The settings of a daemon that follow from its configuration."""

from image_syncer.config.model import Configuration
from image_syncer.daemon.services import syncer_options
from image_syncer.registry.settings import HostLimits


def test_limits_of_the_file_apply_to_the_daemon() -> None:
    """In every dialect of the configuration."""
    host_limits = {"a.test": HostLimits(transfers=2)}
    assert syncer_options(Configuration((), (), host_limits=host_limits)).host_limits == host_limits
