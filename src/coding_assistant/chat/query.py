"""What to search for when a question leans on the conversation before it.

"And who calls it?" finds nothing by itself. The turn that it leans on says what "it" is: by its question, and
by the names of what its answer cited. No model is asked to rewrite the question, which would cost seconds and
the conversation's cache. The rules, and what they are worth: docs/retrieval-log.md, "Follow-ups".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coding_assistant.domain import Chunk, Turn
from coding_assistant.index.uses import uses_asked
from coding_assistant.terms import STOP_WORDS, query_terms, stem

FEW_WORDS = 2
"""A question with fewer words of its own leans. After more of them "it" means what the question has named
itself: "How does the server choose its port?"."""

SHORT_WORDS = 4
"""With no more words of its own than these, what begins with "if" or "for" has no main clause."""

MANY_WORDS = 8
"""A question with more words of its own than these says what it means, "it" or not."""

MOST_NAMES = 6

_OPENING = re.compile(
    r"^\s*(?:(?:and|but|so|then|also|or|ok|okay|well|now)\b[\s,]*)+(?=\S)",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"(?:(?:at|by|for|from|in|on|to) )?(?:who|whom|whose|what|which|when|where|why|how)\b"
    r"|(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|may|must)\b"
    r"|(?:show|list|tell|explain|describe|find|give|compare)\b",
    re.IGNORECASE,
)
# What has no verb or no main clause has them in the question before.
_ELLIPSIS = re.compile(
    r"(?:what|how) (?:about|if)\b|(?:the )?same\b|(?:if|when|for|with|without|on|in case|otherwise)\b",
    re.IGNORECASE,
)
_BACK = re.compile(
    r"^\W*(?:(?:go|going|come|coming|get|getting) back|back to|return(?:ing)? to|earlier|regarding|concerning"
    r"|as (?:to|for|regards)|about)\b"
    r"|\bfrom (?:before|earlier|above)\b|\bonce more\b"
    r"|\b(?:as|you|you've) (?:said|mentioned|explained|showed)\b"
    r"|\b(?:first|second|previous|earlier|last|former) (?:question|answer)\b",
    re.IGNORECASE,
)
# A conjunction ("a comment that has …", "if that directory exists") or "this project" points at nothing said.
_POINTER = re.compile(
    r"\b(?:it|its|they|them|their|theirs|he|she|these|those)\b"
    r"|\bthis\b(?! (?:project|repo|repository|package|library|code ?base|program|application|framework)\b)"
    r"|\b(?:is|are|was|does|do|did|can|of|for|to|with|by|from|after|before|if|when|where|in|about|how|why|gets?)"
    r" that\b|\bthat\W*$|\bthat (?:off|on|way|function|method|class|one|case)\b",
    re.IGNORECASE,
)
# "Where is it decided whether …": this "it" is what follows.
_DUMMY = re.compile(r"\b(?:is|was) it \w+(?: \w+){0,3}?,? (?:that|whether|which|from)\b", re.IGNORECASE)
_THING = re.compile(
    r"\b(?:(?:it|they|them)\b"
    r"|(?:this|that|these|those)\b(?= (?:called|used|set|read|raised|created|imported|needed|invoked)\b|\W*$)"
    r"|(?:this|that) (?:function|method|class|constant|type|macro|module|error|exception|one)\b)",
    re.IGNORECASE,
)
# Words that no answer is about. Nor do those that ask for uses count: "Who calls it?" says nothing by itself.
_FILLERS = """
about again call called calls exactly gets many much one ones same set sets two use used uses
"""
_SAYING_NOTHING = STOP_WORDS | frozenset(_FILLERS.split())
_WORD = re.compile(r"\w+[?!]?")


@dataclass(frozen=True, slots=True)
class SearchText:
    """What to search with: the question, and words of the conversation that help to find what it means.

    The context is for finding only. Which of the finds are best, the question's own words say: names in the
    context would rank first what they name, and that is what the conversation has shown already.
    """

    question: str
    context: str = ""


def in_conversation(question: str, past: Sequence[Turn]) -> SearchText:
    """Return what to search with, after those turns.

    A question for the uses of "it" comes back with the name of it; that question stands alone.
    """
    if not past or not leans_back(question):
        return SearchText(question)
    turn = _turn_meant(question, past)
    if named := _asking_for_uses(question, turn):
        return SearchText(named)
    return SearchText(question, " ".join((turn.question, *_cited_names(turn))))


def leans_back(question: str) -> bool:
    """Return whether the question can hardly be understood without the conversation before it."""
    if _points_back(question):
        return True
    words = _own_words(question)
    if len(words) > MANY_WORDS or _DUMMY.search(question):
        return False
    opening, body = _opened(question)
    is_fragment = opening and not _ASKS.match(body)
    if is_fragment or ((opening or len(words) <= SHORT_WORDS) and _ELLIPSIS.match(body)):
        return True
    pointer = _POINTER.search(question)
    if pointer and len(_own_words(question[: pointer.start()])) <= FEW_WORDS:
        return True
    return not words or (len(words) < FEW_WORDS and not query_terms(question).names)


def _opened(question: str) -> tuple[bool, str]:
    """Return whether the question opens with "and" or the like, and what follows."""
    opening = _OPENING.match(question)
    return bool(opening), question[opening.end() :] if opening else question.lstrip()


def _points_back(question: str) -> bool:
    """Return whether the question says in so many words that something was spoken of before."""
    return bool(_BACK.search(_opened(question)[1]))


def _own_words(text: str) -> list[str]:
    """Return the distinct words that say what a question is about."""
    return [word for word in query_terms(text).words if word not in _SAYING_NOTHING and len(word) > 1]


def _turn_meant(question: str, past: Sequence[Turn]) -> Turn:
    """Return the turn that shares most words with the question, the newest of equals.

    Who points back in so many words ("from before") does not mean the last turn, if another one fits.
    """
    words = {stem(word) for word in _own_words(question)}
    shared = [len(words & _stems(turn)) for turn in past]
    if _points_back(question) and any(shared[:-1]):
        shared = shared[:-1]
    newest_best = max(range(len(shared)), key=lambda place: (shared[place], place))
    return past[newest_best] if shared[newest_best] else past[-1]


def _stems(turn: Turn) -> set[str]:
    text = " ".join((turn.question, *_cited_names(turn)))
    return {stem(word) for word in query_terms(text).words}


def _asking_for_uses(question: str, turn: Turn) -> str | None:
    """Return the question with the name of what it calls "it", if it asks where that is used."""
    name = _name_meant(turn)
    thing = _THING.search(question)
    if not name or not thing or uses_asked(question):
        return None
    named = f"{question[: thing.start()]}`{name}`{question[thing.end() :]}"
    asked = re.sub(r"\bwhen(?= (?:is|are|was|gets?)\b)", "where", named, flags=re.IGNORECASE)
    found = uses_asked(asked)
    return asked if found and found.name == name else None


def _name_meant(turn: Turn) -> str | None:
    """Return the name of the first symbol that the turn cites, rather one that its question has named."""
    symbols = [_WORD.findall(chunk.symbol) for chunk in _cited(turn) if chunk.symbol]
    asked = {part for name in query_terms(turn.question).names for part in _WORD.findall(name)}
    named = [symbol for symbol in symbols if asked.intersection(symbol)]
    return next((symbol[-1] for symbol in (*named, *symbols) if symbol), None)


def _cited_names(turn: Turn) -> list[str]:
    names = (chunk.symbol or chunk.path.stem for chunk in _cited(turn))
    return list(dict.fromkeys(names))[:MOST_NAMES]


def _cited(turn: Turn) -> list[Chunk]:
    """Return what the answer cites; without citations, the best of what was found."""
    citations = turn.answer.citations if turn.answer else ()
    sources = [citation.source for citation in citations] or turn.sources[:2]
    return [source.chunk for source in sources]
