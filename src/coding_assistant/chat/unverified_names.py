"""Which names of an answer only the project could know: one that stands nowhere in it was made up.

What every program may name stays out of it: words of the language, methods of its plain types, and what the
answer's own example defines. The rules are about the shape of names, not about any one language.
It knows nothing of where a project's names are kept.
"""

import builtins
import keyword
import re
from collections.abc import Collection, Iterator
from typing import Final

from coding_assistant.chat.evidence import CODE_BLOCK, CODE_SPAN, without_code

MOST_NAMES: Final = 8
"""So many are looked up and told of: an answer with more of them is not better known by all."""

# A joint between words: save_all, saveAll, SaveAll, HTTPServer. What is written so was named by somebody.
_JOINED: Final = re.compile(r"_*[^\W_]+(?:_+[^\W_]+)+_*|\w*[a-z0-9][A-Z]\w*|[A-Z]{2,}[a-z]\w*[a-z]\w*")
_SPECIAL: Final = re.compile(r"__\w+__")
_IDENTIFIER: Final = re.compile(r"[^\W\d]\w*")
_CALLED: Final = re.compile(r"\b([^\W\d]\w{2,})\(")
_IN_CODE_USED: Final = re.compile(r"\b([^\W\d]\w{2,})\(|(?<=\.)([^\W\d]\w{2,})")
# What an example makes itself: an assignment, a definition, an import's or a loop's name, a parameter.
_DEFINED: Final = re.compile(
    r"\b(?:def|class|fn|func|function|struct|enum|trait|interface|type|let|var|const|mut|for|as|val|static|void"
    r"|int|char|auto|local|import|from|use|package|module|namespace)\s+([^\W\d]\w*)"
    r"|\b([^\W\d]\w*)\s*(?::=|=(?!=))"
)
_SENTENCE_END: Final = re.compile(r"[.!?:](?=\s)|\n\s*\n")

_PLAIN_TYPES: Final = (str, bytes, int, float, list, dict, set, tuple)
_OTHER_LANGUAGES: Final = """
printf fprintf sprintf snprintf malloc calloc realloc free memcpy memset memcmp strlen strcmp strcpy sizeof
size_t uint8_t uint16_t uint32_t uint64_t int8_t int16_t int32_t int64_t ssize_t ptrdiff_t nullptr
println eprintln unwrap expect clone iter collect into push_str to_string to_owned as_str as_ref is_some
is_none forEach indexOf toString hasOwnProperty instanceof typeof undefined addEventListener setTimeout
setInterval push puts require console log NullPointerException IllegalArgumentException
IllegalStateException RuntimeException HashMap HashSet ArrayList StringBuilder InputStream OutputStream
BTreeMap FnMut FnOnce
TypeScript JavaScript CoffeeScript GitHub GitLab PostgreSQL MySQL SQLite MongoDB YouTube macOS iOS
"""
_EVERYBODYS: Final = frozenset(
    {
        *dir(builtins),
        *keyword.kwlist,
        *(name for each in _PLAIN_TYPES for name in dir(each)),
        *_OTHER_LANGUAGES.split(),
    }
)


def project_names(answer: str) -> tuple[str, ...]:
    """Return the names in an answer that only the project could know, each once, in order."""
    prose = CODE_BLOCK.sub(" ", answer)
    spans = " ".join(span.group(1) for span in CODE_SPAN.finditer(prose))
    blocks = "\n".join(block.group() for block in CODE_BLOCK.finditer(answer))
    defined = {name for match in _DEFINED.finditer(blocks) for name in match.groups() if name}
    names = [*_names_of_prose(prose), *(each.group(1) for each in _CALLED.finditer(spans))]
    names += [name for match in _IN_CODE_USED.finditer(blocks) for name in match.groups() if name]
    return tuple(
        dict.fromkeys(
            name
            for name in names
            if name not in _EVERYBODYS and name not in defined and not _SPECIAL.fullmatch(name)
        )
    )


def are_the_point(unverified: Collection[str], answer: str) -> bool:
    """Return whether an answer stands or falls with these names: its first sentence has one, or most are.

    An example, in a block of code, is no point: what it calls may be the reader's own.
    """
    prose = CODE_BLOCK.sub(" ", answer)
    names = project_names(prose)
    first = frozenset(_IDENTIFIER.findall(_first_sentence(prose)))
    return bool(first.intersection(unverified)) or 2 * len(set(names).intersection(unverified)) > len(names)


def retry_note(names: Collection[str]) -> str:
    """Return what the model is told when it is asked once more, without the names that it made up."""
    named = " and ".join(f"`{name}`" for name in tuple(names)[:MOST_NAMES])
    do_not = "does not" if len(names) == 1 else "do not"
    return (
        f"Note: {named} {do_not} exist in this project. Answer from the sources alone; if they do not hold"
        " the answer, say that it was not found."
    )


def _names_of_prose(prose: str) -> Iterator[str]:
    for word in _IDENTIFIER.findall(prose):
        if _JOINED.fullmatch(word):
            yield word


def _first_sentence(answer: str) -> str:
    """Return the answer up to the end of its first sentence; full stops in code do not end it."""
    blanked = without_code(answer)
    end = _SENTENCE_END.search(blanked)
    return answer[: end.start()] if end else answer
