"""The code in an answer: its fenced blocks, what each defines, and the file that each is of.

The definitions are read off the indentation, in whatever language: an answer is seldom a whole file, and what
a model breaks off has no syntax tree. Nothing is known here of files on a disk.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import PurePosixPath

from coding_assistant.domain import Source, SourceOrigin

_FENCE = re.compile(r"^ {0,3}(?P<fence>```+|~~~+)[ \t]*(?P<info>[^`\n]*)$")
_PATH = re.compile(r"[\w./@+-]{0,200}\w\.\w{1,10}")
_PATH_LINES = (
    # A comment that is only a path.
    re.compile(
        r"^[ \t]*(?:#|//|--|/\*|<!--|;)+[ \t]*(?:[Ff]ile(?:name)?:[ \t]*)?"
        rf"(?P<path>{_PATH.pattern})[ \t]*(?:\*/|-->)?[ \t]*$"
    ),
    # A path with a folder in it, or a source's title; no statement looks so in any language here.
    re.compile(rf"^[ \t]*(?=[\w.@+-]+/)(?P<path>{_PATH.pattern})[ \t]*$"),
    re.compile(rf"^(?:\[\d+\] )?(?P<path>{_PATH.pattern}):\d+(?:-\d+)?(?: \([^)]*\))?[ \t]*$"),
)
"""The first line within: where Qwen2.5-Coder 1.5B writes the path that is asked for behind the language."""

_LINE_NUMBER = re.compile(r"^[ \t]*\d{1,6}: ?")

_BEFORE_KEYWORD = (
    r"(?:(?:export|default|pub(?:\([^)]{0,40}\))?|public|private|protected|internal|static|final|abstract|async"
    r"|override|virtual|inline|unsafe|const|data|sealed)[ \t]+)*"
)
_AFTER_NAME = r"(?=[ \t]*(?:[(:{<\[=;]|$|(?:extends|implements|for|where|struct|interface)\b))"
_NOT_STATEMENT = (
    r"(?!(?:if|for|foreach|while|switch|catch|else|do|try|return|with|using|lock|synchronized|match|unless"
    r"|elif|except|new|await|yield|throw)\b)"
)
_BY_KEYWORD = (  # def, class, fn …
    rf"{_BEFORE_KEYWORD}"
    r"(?:def|class|func|function|fn|fun|struct|enum|interface|trait|impl|module|type)\b[ \t*]*"
    rf"(?:\([^)]{{0,80}}\)[ \t]*)?(?P<word>[\w$]+){_AFTER_NAME}"
)
_BY_VALUE = (  # const f = (x) => …
    rf"{_BEFORE_KEYWORD}(?:const|let|var)[ \t]+(?P<value>[\w$]+)[ \t]*=[ \t]*(?:async[ \t]*)?"
    r"(?:function\b|\([^)]*\)[ \t]*=>|[\w$]+[ \t]*=>)"
)
_BY_BRACE = (  # void f(int x) {
    rf"{_NOT_STATEMENT}(?:[\w$:<>,*&\[\]~ \t]{{1,120}}[ \t*&])?"
    r"(?P<bare>[\w$~]+)\([^;{]*\)[^;{}=]*\{[ \t]*$"
)
_HEAD = re.compile(rf"(?P<indent>[ \t]*)(?:{_BY_KEYWORD}|{_BY_VALUE}|{_BY_BRACE})")
_ABOVE_HEAD = re.compile(r"[ \t]*(?:@\w|#\[)")
"""A decorator, an annotation or an attribute: it belongs to the definition below."""

_CLOSING = re.compile(r"[)\]}]|\{[ \t]*$|(?:end|else|elif|except|finally|catch|rescue|ensure)\b")
"""At the indentation of a definition's head, what still belongs to the definition."""

_ELISION = re.compile(
    r"^[ \t]*(?:#|//|--|/\*|;)[ \t]*(?:\.\.\.|…)|^[ \t]*(?:\.\.\.[ \t]*\S|…)"
    r"|(?:#|//|/\*).*\b(?:rest|other|existing|remaining|same|previous|unchanged)\b.*"
    r"\b(?:code|unchanged|here|same|before|remains?|methods?|functions?|implementation)\b",
    re.IGNORECASE,
)
"""A comment in the place of code; a bare ``...`` is Python for an empty body."""


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced block of an answer; ``path`` is the file that it says it is of, or rewrites a source of.

    ``is_complete``: its fence is closed, and no line of it stands for lines that are left out.
    """

    language: str
    text: str
    path: PurePosixPath | None = None
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Definition:
    """Lines of a text that define a name, by index, ``end`` excluded; ``head`` is the line with the name.

    Decorators stand from ``start`` to the head.
    """

    name: str
    start: int
    head: int
    end: int
    indent: str

    def holds(self, other: "Definition") -> bool:
        """Return whether the other one is inside."""
        return self.head < other.head and other.end <= self.end


def code_blocks(answer: str, sources: Sequence[Source] = ()) -> tuple[CodeBlock, ...]:
    """Return the fenced blocks of an answer in order, each with the file that it says, or that it rewrites.

    A block that names no file is of the one source's file that defines what it defines. Line numbers that
    the model has copied from a source, and a first line that is only the path, are no part of the code.
    """
    return tuple(_with_path(block, sources) for block in _blocks(answer.split("\n")))


def definitions(lines: Sequence[str]) -> list[Definition]:
    """Return what is defined in well indented code, inner definitions too, in order."""
    found = []
    for index, line in enumerate(lines):
        if head := _HEAD.match(line):
            above = list(takewhile(_ABOVE_HEAD.match, reversed(lines[:index])))
            name = head["word"] or head["value"] or head["bare"]
            end = _end_of(lines, index, _width(head["indent"]))
            found.append(Definition(name, index - len(above), index, end, head["indent"]))
    return found


def outermost(found: Sequence[Definition]) -> list[Definition]:
    """Return the definitions that are in no other one."""
    return [each for each in found if not any(other.holds(each) for other in found)]


def indent_of(line: str) -> str:
    """Return the blanks that a line begins with."""
    return line[: len(line) - len(line.lstrip())]


def _blocks(lines: Sequence[str]) -> Iterator[CodeBlock]:
    index = 0
    while index < len(lines):
        opening = _FENCE.match(lines[index])
        index += 1
        if opening:
            end = next((at for at in range(index, len(lines)) if _closes(lines[at], opening["fence"])), None)
            yield _block(opening["info"].strip(), lines[index:end], is_closed=end is not None)
            index = len(lines) if end is None else end + 1


def _block(info: str, body: Sequence[str], *, is_closed: bool) -> CodeBlock:
    language, _, rest = info.partition(" ")
    path = _safe_path(_PATH.search(rest) or _PATH.fullmatch(language))
    if body and (said := next(filter(None, (each.match(body[0]) for each in _PATH_LINES)), None)):
        path = path or _safe_path(said, "path")
        body = body[1:]
    filled = [line for line in body if line.strip()]
    if filled and all(map(_LINE_NUMBER.match, filled)):
        body = [_LINE_NUMBER.sub("", line) for line in body]
    is_whole = is_closed and not any(map(_ELISION.search, body))
    return CodeBlock(language.lower(), "\n".join(body), path, is_whole)


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and not stripped.strip(fence[0])


def _safe_path(found: re.Match[str] | None, group: str | int = 0) -> PurePosixPath | None:
    path = PurePosixPath(found[group]) if found else None
    return path if path and not path.is_absolute() and ".." not in path.parts else None


def _with_path(block: CodeBlock, sources: Sequence[Source]) -> CodeBlock:
    files = [source.chunk for source in sources if source.origin is not SourceOrigin.GIVEN]
    named = block.path
    if named is not None:
        # Models leave folders out.
        meant = {chunk.path for chunk in files if chunk.path.parts[-len(named.parts) :] == named.parts}
    else:
        names = {each.name for each in definitions(block.text.split("\n"))}
        meant = {chunk.path for chunk in files if names & _defined_in(chunk.text)}
    return replace(block, path=meant.pop()) if len(meant) == 1 else block


def _defined_in(text: str) -> set[str]:
    return {each.name for each in definitions(text.split("\n"))}


def _end_of(lines: Sequence[str], head: int, width: int) -> int:
    """Return where the definition ends whose head stands there: before what is indented no more than it."""
    end = head + 1
    for index in range(head + 1, len(lines)):
        line = lines[index]
        if not line.strip():
            continue
        indented = _width(indent_of(line))
        if indented < width or (indented == width and not _CLOSING.match(line.lstrip())):
            break
        end = index + 1
    return end


def _width(indent: str) -> int:
    return len(indent.expandtabs())
