"""A frozen worker does not overwrite newer images, with the tool of `script/stress`."""

import pytest

from support.postgres import Postgres
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _needs_postgresql() -> None:
    if not Postgres.is_installed():
        pytest.skip("postgresql is not installed")


@pytest.mark.timeout(130)
@pytest.mark.parametrize("way", ["held", "cut"])
def test_a_worker_that_lost_its_jobs_writes_no_tag(way: str) -> None:
    """Frozen by SIGSTOP, or cut off from PostgreSQL: the other daemon's newer images stay.

    It reads blobs at that moment, so no write is on the way, which no worker could take back.
    """
    figures, broken = stress("frozen", "--way", way)
    assert (broken, figures["tags that fell back, at most"]) == ([], 0)
    assert figures["writes that were refused"] > 0


@pytest.mark.timeout(130)
def test_a_late_write_is_repaired_at_once() -> None:
    """The manifests were on the way when the worker froze: they replace newer ones, and are replaced within seconds."""
    figures, broken = stress("frozen", "--way", "late")
    assert broken == []
    assert figures["late writes that were repaired"] == figures["tags"] == figures["tags that fell back, at most"]
    assert 0 < figures["seconds until all were new again"] < 20
