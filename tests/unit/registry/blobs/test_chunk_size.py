"""The size of upload chunks: pure, with invented times."""

from hypothesis import given
from hypothesis import strategies as st

from image_syncer.registry.blobs.chunk_size import LEAST_BYTES, ChunkSize

MIB = 1024 * 1024
NEW = ChunkSize.of(32 * MIB)


def test_quick_chunks_grow_up_to_eight_times() -> None:
    """A checkpoint costs a round trip, and on a fast connection a break loses little time."""
    chunk, sizes = NEW, list[int]()
    for _ in range(5):
        sizes.append(chunk.at(0) // MIB)
        chunk = chunk.after_success(chunk.at(0), 1.0, 0)
    assert sizes == [32, 64, 128, 256, 256]


def test_slow_chunks_shrink_down_to_a_quarter() -> None:
    """So checkpoints are never far apart in time."""
    chunk, sizes = NEW, list[int]()
    for _ in range(4):
        sizes.append(chunk.at(0) // MIB)
        chunk = chunk.after_success(chunk.at(0), 30.0, 0)
    assert sizes == [32, 16, 8, 8]


def test_other_chunks_do_not_change_the_size() -> None:
    """Neither quick nor slow, or a smaller last part."""
    assert NEW.after_success(32 * MIB, 10.0, 0) == NEW
    assert NEW.after_success(5 * MIB, 0.1, 0) == NEW


def test_after_a_break_a_chunk_is_well_below_the_sent_bytes() -> None:
    """64 MiB were sent before the break, and not all arrived: chunks of 16 MiB, which do not grow for ten minutes."""
    chunk = NEW.after_success(32 * MIB, 1.0, 0).after_break(64 * MIB, 64 * MIB, 100)
    assert chunk.at(100) == 16 * MIB
    assert chunk.is_wary(699)
    assert not chunk.is_wary(701)
    assert chunk.after_success(16 * MIB, 0.1, 200).at(200) == 16 * MIB
    assert chunk.after_success(16 * MIB, 0.1, 800).at(800) == 32 * MIB


def test_a_break_at_once_does_not_make_chunks_tiny() -> None:
    """It says nothing about the distance between breaks."""
    assert NEW.after_break(32 * MIB, 1000, 0).at(0) == 8 * MIB


def test_a_refused_chunk_is_halved_for_good() -> None:
    """The limit of a proxy is permanent."""
    chunk = NEW.after_413(32 * MIB)
    assert chunk.at(0) == 16 * MIB
    assert chunk.after_success(16 * MIB, 0.1, 10_000).at(10_000) == 16 * MIB


def test_a_lost_session_stops_growth_and_shrinks_no_chunk() -> None:
    """For ten minutes; no break was seen here."""
    chunk = NEW.after_loss(100)
    assert (chunk.at(100), chunk.is_wary(100), chunk.is_wary(800)) == (NEW.at(0), True, False)
    assert chunk.after_success(NEW.at(0), 0.1, 100).at(100) == NEW.at(0)


steps = st.one_of(
    st.tuples(st.just("success"), st.floats(0, 100)),
    st.tuples(st.just("break"), st.integers(0, 300 * MIB)),
    st.tuples(st.just("refusal"), st.just(0)),
)


@given(st.lists(st.tuples(steps, st.floats(0, 1000)), max_size=40))
def test_the_size_stays_within_bounds(history: list[tuple[tuple[str, float], float]]) -> None:
    """Between 1 MiB and eight times the initial size; a break never makes it larger."""
    chunk, now = NEW, 0.0
    for (what, value), later in history:
        now += later
        before = chunk.at(now)
        match what:
            case "success":
                chunk = chunk.after_success(before, value, now)
            case "break":
                chunk = chunk.after_break(before, int(value), now)
                assert chunk.at(now) <= before
            case _:
                chunk = chunk.after_413(before)
                assert chunk.at(now) <= before
        assert LEAST_BYTES <= chunk.at(now) <= 256 * MIB
