"""What is worth keeping of what was said: a user's statements, and an answer's sentences that hold facts.

By rule and not by a model, so that the same text always gives the same facts, at once.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from coding_assistant.chat.citations import MARK
from coding_assistant.chat.evidence import CODE_BLOCK, CODE_SPAN, CODE_WORD

LONGEST_SENTENCE_CHARACTERS: Final = 300
"""An answer's sentence that is longer is cut; a user's statement never is."""

LONGEST_PROSE_CHARACTERS: Final = 1_000
"""What is longer without the end of a sentence is a dump."""

LEAST_WORDS: Final = 3
"""Fewer are no statement: "Thanks a lot"."""

_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\.\.\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)(?<!\betc\.)[\"')\]*_]*\s+"
)
_LINE_MARK = re.compile(r"^\s*(?:#{1,6}\s+|>\s*|[-*+]\s+|\d{1,3}[.)]\s+)+")
_WORD = re.compile(r"\w+(?:['\u2019]\w+)?")

# What opens a sentence and says nothing.
_FILLER = (
    r"(?:(?:please|ok|okay|so|and|but|also|then|now|hi|hello|hey|well|thanks|thank you|yes|no|great|sure|just"
    r"|btw|by the way)\b[\s,!.:-]*)*"
)
_ASKING = re.compile(
    rf"{_FILLER}(?:what|where|which|who|whom|whose|when|why|how|is|are|was|were|do|does|did|can|could|would|will"
    r"|should|shall|may|might|has|have|had|am|explain|show|tell|give|list|describe|find|write|rewrite|fix|add"
    r"|make|help|summari[sz]e|walk|compare|implement|refactor|generate|create|change|look|check|continue"
    r"|(?:i|we) (?:want|need|would like|'d like) to (?:know|understand|see|learn|find)"
    r"|i (?:wonder|don't (?:understand|see|get|know))|i have a question|i'm wondering)\b",
    re.IGNORECASE,
)
_SAYS_OF_SELF = (
    r"(?:(?:please )?(?:remember|note|keep in mind|bear in mind|don't forget|do not forget|for (?:the|your)"
    r" (?:record|information)|fyi|from now on|always|never|call me|let's|assume)\b"
    r"|(?:my|our)\b[^?.!]{0,60}?(?:\b(?:is|are|was|were|runs?|uses?|has|lives?|listens?|called)\b|=)"
    r"|(?:i|we)(?:['\u2019](?:m|re|ve))? ?(?:\w+ly |just |already |now |still )?\b(?:am|are|use|run|have"
    r"|work|want|prefer|need|deploy|call|named|decided|chose|moved|store|keep|host|target|support|must|always"
    r"|never|don['\u2019]t|do not|can['\u2019]t|cannot|changed|set|switched|renamed|plan|live|wrote|own"
    r"|working|using|running|building|going)\b)"
)
_STATING = re.compile(
    rf"(?:^{_FILLER}|[,;:\u2013\u2014]\s*(?:and |but |so )?|\b(?:since|because|as|that|and|but|if|given)\s+)"
    + _SAYS_OF_SELF,
    re.IGNORECASE,
)

# "The staging host is called kestrel", but not "That is wrong".
_TELLING = re.compile(
    rf"{_FILLER}(?!(?:this|that|it|these|those|there)\b)\b.*\b(?:is|are|was|has|have|uses?|runs?|lives?|means?|called"
    r"|named|must)\b",
    re.IGNORECASE,
)

# ``[3]``, and ``[9?]`` where the answer has invented the number; and what numbers a point of a list.
# From the first of several spaces only: from each, a text of 20,000 spaces took 13 s.
_COUNTS = re.compile(rf"(?<!\s)\s*(?:{MARK.pattern}|\[\d+\?\])|^ {{0,3}}\d{{1,3}}[.)][^\S\n]+", re.MULTILINE)

_NUMBER = r"-?\.?\d"

_DETAIL = re.compile(
    "|".join(
        (
            CODE_SPAN.pattern,
            r"“[^”\n]+”|\"[^\"\n]+\"|(?<!\w)'[^'\n]+'(?!\w)",
            r"(?:[\w.-]+/)+[\w.-]+|\b\w[\w-]*\.[a-z]{1,4}\b",  # a path, a file
            rf"(?<![\w.-]){_NUMBER}(?:[\w.,:%/-]*\w)?",
            rf"\b(?:[^\W\d][\w-]*\d\w*|{CODE_WORD.pattern})\b",  # also "billing-v2", "UTF-8"
            r"(?<=[a-z,] )[A-Z][\w-]+",  # a name of somebody or something
        )
    )
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence that the user said and did not ask.

    ``is_fact``: it is about himself, about the project, or has details that no other words can replace.
    """

    text: str
    is_fact: bool


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of prose, as they stand, without code blocks and what looks like pasted code."""
    for line in CODE_BLOCK.sub("\n", text).splitlines():
        if line.startswith(("    ", "\t", ">>>", "$ ")):
            continue
        for sentence in _SENTENCE_END.split(_LINE_MARK.sub("", line)):
            if _is_prose(sentence):
                yield sentence.strip()


def _is_prose(sentence: str) -> bool:
    """Return whether it reads as a sentence; a line of code or of a trace has too many other characters."""
    if len(sentence) > LONGEST_PROSE_CHARACTERS:
        return False
    words = _WORD.findall(sentence)
    plain = CODE_SPAN.sub("", sentence)
    letters = sum(character.isalnum() or character.isspace() for character in plain)
    return len(words) >= LEAST_WORDS and letters * 4 >= len(plain) * 3


def asked(question: str) -> str:
    """Return the sentence of a user's message that asks for something; the first one if none does."""
    found = list(sentences(question))
    asking = (sentence for sentence in found if sentence.endswith("?") or _ASKING.match(sentence))
    return next(asking, found[0] if found else " ".join(question.split()))


def statements(question: str) -> list[Statement]:
    """Return what the user stated, word for word, in order."""
    found = []
    for sentence in sentences(question):
        is_stating = bool(_STATING.search(sentence))
        if is_stating and not _ASKING.match(sentence):
            found.append(Statement(sentence, is_fact=True))
        elif not sentence.endswith("?") and not _ASKING.match(sentence):
            found.append(Statement(sentence, is_fact=bool(_TELLING.match(sentence) or details(sentence))))
        elif is_stating and sentence.endswith("?"):
            found.append(Statement(sentence, is_fact=True))
    return found


def fact_sentences(answer: str) -> list[str]:
    """Return an answer's sentences that hold facts, each on one line and without citation marks."""
    found = (" ".join(sentence.split()) for sentence in sentences(without_counts(answer)))
    return [shortened(sentence, LONGEST_SENTENCE_CHARACTERS) for sentence in found if details(sentence)]


def without_counts(text: str) -> str:
    """Return the text without citation marks and the numbers of a list's points: they say nothing."""
    return _COUNTS.sub("", text)


def details(text: str) -> tuple[str, ...]:
    """Return what would be wrong in other words: names, numbers, paths, quotations; in order, each once."""
    found = (match.group().strip("`\"'“” ").rstrip(".,:") for match in _DETAIL.finditer(text))
    return tuple(dict.fromkeys(filter(None, found)))


def stands_in(detail: str, text: str) -> bool:
    """Return whether the text has the detail as a whole: 30 stands neither in "300" nor in "1.30"."""
    is_number = re.match(_NUMBER, detail)
    before, after = (
        (r"(?<![\w./-])(?<!\d[,:])", r"(?!\w|[.,:/-]\d)") if is_number else (r"(?<!\w)", r"(?!\w)")
    )
    # The first is quick, and mostly settles it.
    return detail in text and bool(re.search(f"{before}{re.escape(detail)}{after}", text))


def shortened(text: str, most_characters: int) -> str:
    """Return the text cut at a word, with an ellipsis, if it is longer."""
    if len(text) <= most_characters:
        return text
    return f"{text[:most_characters].rpartition(' ')[0] or text[: most_characters - 1]}…"
