"""How large a chunk is: pure, with times made up."""

from hypothesis import given
from hypothesis import strategies as st

from image_syncer.registry.blobs.chunk_size import LEAST_BYTES, ChunkSize

MIB = 1024 * 1024
NEW = ChunkSize.of(32 * MIB)


def test_quick_chunks_grow_up_to_eight_times() -> None:
    """A checkpoint costs a round trip, and on a fast line little is lost without it."""
    chunk, sizes = NEW, list[int]()
    for _ in range(5):
        sizes.append(chunk.at(0) // MIB)
        chunk = chunk.after_success(chunk.at(0), 1.0, 0)
    assert sizes == [32, 64, 128, 256, 256]


def test_slow_chunks_become_smaller_down_to_a_quarter() -> None:
    """So checkpoints are never far apart in time."""
    chunk, sizes = NEW, list[int]()
    for _ in range(4):
        sizes.append(chunk.at(0) // MIB)
        chunk = chunk.after_success(chunk.at(0), 30.0, 0)
    assert sizes == [32, 16, 8, 8]


def test_what_takes_a_while_stays() -> None:
    """Neither quick nor slow; and a last bit that is smaller tells nothing."""
    assert NEW.after_success(32 * MIB, 10.0, 0) == NEW
    assert NEW.after_success(5 * MIB, 0.1, 0) == NEW


def test_after_a_break_a_chunk_is_well_below_what_was_sent() -> None:
    """64 MiB went out before the line broke, of which not all arrived: 16 MiB pass, and do not grow for ten minutes."""
    chunk = NEW.after_success(32 * MIB, 1.0, 0).after_break(64 * MIB, 64 * MIB, 100)
    assert chunk.at(100) == 16 * MIB
    assert chunk.is_wary(699)
    assert not chunk.is_wary(701)
    assert chunk.after_success(16 * MIB, 0.1, 200).at(200) == 16 * MIB
    assert chunk.after_success(16 * MIB, 0.1, 800).at(800) == 32 * MIB


def test_a_break_at_once_does_not_make_chunks_tiny() -> None:
    """It tells of the moment, not of the line."""
    assert NEW.after_break(32 * MIB, 1000, 0).at(0) == 8 * MIB


def test_a_chunk_that_was_refused_is_halved_for_good() -> None:
    """A limit of a proxy does not go away."""
    chunk = NEW.after_413(32 * MIB)
    assert chunk.at(0) == 16 * MIB
    assert chunk.after_success(16 * MIB, 0.1, 10_000).at(10_000) == 16 * MIB


def test_a_session_that_is_lost_makes_wary_and_no_chunk_smaller() -> None:
    """For ten minutes; nothing broke on this line, as far as we know."""
    chunk = NEW.after_loss(100)
    assert (chunk.at(100), chunk.is_wary(100), chunk.is_wary(800)) == (NEW.at(0), True, False)
    assert chunk.after_success(NEW.at(0), 0.1, 100).at(100) == NEW.at(0)


steps = st.one_of(
    st.tuples(st.just("passed"), st.floats(0, 100)),
    st.tuples(st.just("broke"), st.integers(0, 300 * MIB)),
    st.tuples(st.just("refused"), st.just(0)),
)


@given(st.lists(st.tuples(steps, st.floats(0, 1000)), max_size=40))
def test_whatever_happens_it_stays_within_bounds(history: list[tuple[tuple[str, float], float]]) -> None:
    """Never below 1 MiB, never above eight times the usual, and a break never makes it larger."""
    chunk, now = NEW, 0.0
    for (what, value), later in history:
        now += later
        before = chunk.at(now)
        match what:
            case "passed":
                chunk = chunk.after_success(before, value, now)
            case "broke":
                chunk = chunk.after_break(before, int(value), now)
                assert chunk.at(now) <= before
            case _:
                chunk = chunk.after_413(before)
                assert chunk.at(now) <= before
        assert LEAST_BYTES <= chunk.at(now) <= 256 * MIB
