"""Well-formed input is read as intended, however it is split into pieces."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import InvalidReference
from image_syncer.oci import Repository
from image_syncer.registry.auth.challenge import merge_scopes, parse_challenges
from image_syncer.registry.http.body import ChunkedFraming
from image_syncer.registry.http.head import take_head
from image_syncer.registry.paging import next_link

TOKENS = st.text("abcdefgh-XYZ09!#$", min_size=1, max_size=8)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=10)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return *data* in pieces of the lengths *cuts*, repeated."""
    found: list[bytes] = []
    while data:
        length = cuts[len(found) % len(cuts)]
        found.append(data[:length])
        data = data[length:]
    return found


@given(st.integers(200, 599), st.lists(st.tuples(TOKENS, VALUES), max_size=10), CUTS, st.binary(max_size=20))
def test_a_response_head_reads_back_in_any_pieces(
    status: int, fields: list[tuple[str, str]], cuts: list[int], rest: bytes
) -> None:
    """All fields arrive in their order; the bytes after the head remain."""
    lines = [f"HTTP/1.1 {status} Fine", *(f"X-{name}: {value}" for name, value in fields)]
    received = bytearray()
    found = None
    for piece in pieces("\r\n".join(lines).encode() + b"\r\n\r\n", cuts):
        assert found is None
        received += piece
        found = take_head(received)
    assert found is not None
    assert found.status == status
    for name, _ in fields:
        wanted = [value.strip(" ") for other, value in fields if other.lower() == name.lower()]
        assert found.headers.all(f"x-{name}") == wanted
    received += rest
    assert received == rest


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), CUTS, st.binary(max_size=10))
def test_a_chunked_body_reads_back_in_any_pieces(chunks: list[bytes], cuts: list[int], rest: bytes) -> None:
    """However it is split, and without reading past its end."""
    body = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\n"
    framing, content, fed = ChunkedFraming(), bytearray(), 0
    for piece in pieces(body + rest, cuts):
        for part in framing.feed(memoryview(piece)):
            content += part
        fed += len(piece)
        if framing.has_ended:
            break
    assert content == b"".join(chunks)
    assert framing.has_ended
    assert framing.is_clean == (fed == len(body))


@given(st.lists(st.tuples(TOKENS, st.dictionaries(TOKENS.map(str.lower), VALUES, min_size=1, max_size=4)), max_size=4))
def test_challenges_read_back_in_any_form(challenges: list[tuple[str, Mapping[str, str]]]) -> None:
    """Quoted, with commas and quotes inside; in one line or in several."""

    def written(scheme: str, parameters: Mapping[str, str]) -> str:
        quoted = (f'{name}="{_quoted(value)}"' for name, value in parameters.items())
        return f"{scheme} {', '.join(quoted)}"

    lines = [written(scheme, parameters) for scheme, parameters in challenges]
    wanted = [(scheme.lower(), dict(parameters)) for scheme, parameters in challenges]
    for form in (lines, [", ".join(lines)]):
        found = [(one.scheme, dict(one.parameters)) for one in parse_challenges(form)]
        assert found == wanted


@given(st.text("abc/?=&,;%-", min_size=1, max_size=30), VALUES, st.sampled_from(["next", "prev next", "NEXT"]))
def test_the_next_link_is_found_among_other_links(target: str, title: str, relation: str) -> None:
    """Whatever else is in the header."""
    line = f'<https://first.example/>; rel=first, <{target}>; title="{_quoted(title)}"; rel="{relation}", <x>; rel=last'
    assert next_link([line]) == target


@given(st.lists(st.lists(st.sampled_from(["pull", "push", "delete"]), min_size=1), max_size=3), TOKENS)
def test_merged_scopes_contain_every_action(actions: list[list[str]], name: str) -> None:
    """Once each, in a stable order."""
    scopes = [f"repository:{name.lower()}:{','.join(group)}" for group in actions]
    merged = merge_scopes(scopes, scopes)
    assert merged == merge_scopes(reversed(scopes))
    assert {action for scope in merged for action in scope.rpartition(":")[2].split(",")} == {
        action for group in actions for action in group
    }


@given(st.text("abcz019._-/", min_size=1, max_size=40))
def test_a_repository_is_written_as_it_was_read(path: str) -> None:
    """Or it is refused, and the error names the text."""
    try:
        found = Repository.parse(f"registry.example/{path}")
    except InvalidReference as error:
        assert repr(f"registry.example/{path}") in str(error)  # noqa: PT017 - both branches are the property
        return
    assert (found.registry, found.path) == ("registry.example", path)
    assert Repository.parse(str(found)) == found


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
