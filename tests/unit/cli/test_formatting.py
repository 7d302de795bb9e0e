import pytest

from image_syncer.cli.formatting import duration, number, printable, rough_duration, size


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ümläut, 镜像", "plain text, ümläut, 镜像"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("one\nimage-syncer: all is well", "one\\x0aimage-syncer: all is well"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("\x9b31m", "\\x9b31m"),
        ("\udc80", "\\udc80"),
        ("a\u2028b\xa0c", "a\\u2028b\\xa0c"),
        ("pay\u200dload\u00ad\ufeff", "pay\\u200dload\\xad\\ufeff"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    """Control characters, line breaks and direction marks become escapes; other text stays."""
    assert printable(text) == shown


def test_untrusted_text_is_cut_to_a_bounded_length() -> None:
    """A registry cannot fill the screen."""
    assert len(printable("x" * 1_000_000)) < 2_100


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_897_485, "12.3 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (3 << 30, "3.0 GiB"),
    ],
)
def test_sizes_have_binary_units(size_bytes: int, shown: str) -> None:
    """1024.0 of a unit is shown as 1.0 of the next."""
    assert size(size_bytes) == shown


def test_a_size_beyond_the_last_unit_stays_in_it() -> None:
    """The largest unit is PiB."""
    assert size(5000 * 1024**5) == "5000.0 PiB"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (2.31, "2.3 s"), (59.99, "1 min 00 s"), (245, "4 min 05 s"), (3725, "1 h 02 min")],
)
def test_durations_have_one_or_two_units(seconds: float, shown: str) -> None:
    """Tenths of a second, then minutes and seconds, then hours and minutes."""
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (172_799, "47 h"), (172_800, "2 d")],
)
def test_a_rough_duration_has_one_unit(seconds: float, shown: str) -> None:
    """A negative duration, after a clock was set back, is 0 s."""
    assert rough_duration(seconds) == shown


def test_a_noun_follows_its_number() -> None:
    """One image, two images."""
    assert [number(1, "image"), number(2, "image"), number(0, "image")] == ["1 image", "2 images", "0 images"]
