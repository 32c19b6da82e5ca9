from collections.abc import Sequence

import anyio
import pytest

from coding_assistant.domain import TextPiece
from coding_assistant.errors import EngineFailed
from coding_assistant.inference.server_answers import Chunk, Writing, generation_ended, parsed

# As llama.cpp's server tells them: an emoji is three tokens, of which it tells the last.
ROCKET = (240, 159, 154)


async def tokenize(text: str) -> tuple[int, ...]:
    """As a SentencePiece vocabulary does: with a space (32) before a text that stands alone."""
    return (32, *(number for character in text for number in (ROCKET if character == "🚀" else (97,))))


def pieces_of(*chunks: Chunk) -> list[TextPiece]:
    async def run() -> list[TextPiece]:
        writing = Writing(tokenize)
        told = [await writing.piece(chunk) for chunk in chunks]
        return [piece for piece in told if piece is not None]

    return anyio.run(run)


def chunk(text: str, tokens: Sequence[int], counted: int) -> Chunk:
    return Chunk(content=text, tokens=tuple(tokens), tokens_predicted=counted)


def test_each_piece_has_the_tokens_that_it_was_written_in() -> None:
    assert pieces_of(chunk("It", [7], 1), chunk(" is", [8], 2)) == [
        TextPiece("It", (7,)),
        TextPiece(" is", (8,)),
    ]


def test_tokens_whose_text_was_held_back_come_with_the_text() -> None:
    assert pieces_of(chunk("", [7], 1), chunk("<s", [8], 2)) == [TextPiece("<s", (7, 8))]


def test_the_token_that_ends_an_answer_is_none_of_it() -> None:
    assert pieces_of(chunk("It", [7], 1), chunk("", [2], 2)) == [TextPiece("It", (7,))]


def test_tokens_inside_of_a_character_are_found_by_its_text() -> None:
    assert pieces_of(chunk("🚀", [154], 3)) == [TextPiece("🚀", ROCKET)]


@pytest.mark.parametrize(("last", "counted"), [(153, 3), (154, 2), (154, 5)])
def test_tokens_that_cannot_be_known_are_not_guessed(last: int, counted: int) -> None:
    assert pieces_of(chunk("🚀", [last], counted)) == [TextPiece("🚀")]


def test_text_that_a_stop_string_cut_has_no_tokens() -> None:
    cut = '{"content": " ", "tokens": [9], "tokens_predicted": 1, "timings": %s}'
    timings = '{"cache_n": 0, "prompt_n": 1, "prompt_ms": 1, "predicted_n": 1, "predicted_ms": 1}'

    assert pieces_of(parsed(cut % timings)) == [TextPiece(" ")]


def test_an_answer_that_is_none_is_told() -> None:
    with pytest.raises(EngineFailed, match="not an answer"):
        parsed("<html>")
    with pytest.raises(EngineFailed, match="out of patience"):
        parsed('{"error": {"message": "out of patience"}}')
    with pytest.raises(EngineFailed, match="without its counts"):
        generation_ended(Chunk(stop=True))
