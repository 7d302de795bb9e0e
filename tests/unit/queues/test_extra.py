"""The extra `queues`: needed for a queue, and for nothing else."""

import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest

from image_syncer.config.model import QueueKind, QueueSettings
from image_syncer.errors import UsageError
from image_syncer.queues import check_installed

QUEUE = QueueSettings("q", "rabbitmq", ("amqp://u:hunter2@h/",), "images", origin="sync.yaml:7")


def test_a_queue_without_the_extra_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where the queue stands and what to install, and nothing of the address."""
    monkeypatch.setitem(sys.modules, "faststream", None)  # As if it were not installed.
    with pytest.raises(UsageError) as error:
        check_installed([QUEUE])
    assert error.value.message == "sync.yaml:7: a queue of rabbitmq needs faststream, which is not installed"
    assert "pip install 'image-syncer[queues]'" in (error.value.remedy or "")


def test_without_a_queue_the_extra_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs a broker's library for no broker."""
    monkeypatch.setitem(sys.modules, "faststream", None)
    check_installed([])


def test_the_extra_is_there_for_the_tests() -> None:
    """Else the tests of queues would be worth nothing."""
    check_installed([replace(QUEUE, kind=kind) for kind in get_args(QueueKind)])


def test_the_daemon_starts_without_importing_a_brokers_library() -> None:
    """Only a queue that is listened to does."""
    code = "import sys, image_syncer.daemon.serve; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = {name.partition(".")[0] for name in done.stdout.splitlines()}
    assert "image_syncer" in names
    assert names.isdisjoint({"faststream", "aio_pika", "aiormq", "pamqp", "aiokafka", "nats", "redis"})
