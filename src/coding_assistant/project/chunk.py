r"""Cuts a file into the pieces that are indexed, found and cited.

A chunk is a run of whole lines. Every line that is not blank is in exactly one chunk, in order, and
``"\n".join`` of those lines is the chunk's text; what somebody has to know who reads just these lines
stands beside them as context. Lines end at a line feed and nowhere else, as for git and for editors: a
carriage return, a form feed or U+2028 is a character of its line.

Works in this process, on text that was read already. For text from strangers use ``chunk_process``: a
hostile file can hang or crash a parser that is written in C.
"""

from collections.abc import Sequence

from coding_assistant.domain import Chunk, SourceFile
from coding_assistant.project.cells import cell_outline
from coding_assistant.project.grammars import GRAMMARS
from coding_assistant.project.headings import heading_outline
from coding_assistant.project.notebooks import NOTEBOOK_SUFFIX
from coding_assistant.project.outline import Outline, Sizes, flat_outline, syntax_outline
from coding_assistant.project.packing import Packer

# Small chunks put the right lines before the model: of 96 questions with known lines, 1,000 tokens of
# sources held the lines for .32 with chunks of 1,500 characters, .45 with 1,000, .46 with 600. Below 1,000
# most functions would be in pieces, for a gain within the noise.
TARGET_CHARACTERS = 1_000

# Part of the index's fingerprint. The first number goes up whenever the same file would be read, redacted
# or cut differently: indexes are then built anew.
CHUNKER_VERSION = f"4:{TARGET_CHARACTERS}"

_PROSE = frozenset({"markdown", "rst"})


def chunk(file: SourceFile, *, target_characters: int = TARGET_CHARACTERS) -> list[Chunk]:
    """Return the chunks of a file, by its syntax where there is a grammar, by headings in prose, by cells.

    A chunk has up to half as much again as ``target_characters``, unless a single line is longer.
    """
    lines = split_lines(file.text)
    sizes = Sizes(target_characters)
    return Packer(file, lines, _outline(file, lines, sizes), sizes).chunks()


def chunk_by_lines(file: SourceFile, *, target_characters: int = TARGET_CHARACTERS) -> list[Chunk]:
    """Return the chunks of a file whose syntax is of no help: cut at gaps and by indentation."""
    lines = split_lines(file.text)
    return Packer(file, lines, flat_outline(len(lines)), Sizes(target_characters)).chunks()


def split_lines(text: str) -> list[str]:
    """Return the lines without their line feeds; a last line feed ends a line, it does not begin one."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def _outline(file: SourceFile, lines: Sequence[str], sizes: Sizes) -> Outline:
    language = file.language
    if file.path.suffix == NOTEBOOK_SUFFIX and language != "json":
        return cell_outline(language, lines, sizes)
    if language in _PROSE:
        return heading_outline(language, lines)
    if language == "c" and file.path.suffix == ".h":
        language = "cpp"  # reads C as well, and a header does not say which of the two it is
    if language is not None and language in GRAMMARS:
        return syntax_outline(language, lines, sizes)
    return flat_outline(len(lines))
