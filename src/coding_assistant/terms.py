"""Text to search terms: how identifiers are split, and what of a question is worth matching.

The same splitting runs over the code and over the question, so ``HandlerStack``, ``handler_stack`` and
"handler stack" meet. It knows nothing of the store but the syntax of FTS5's quoted strings.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

# Part of the index's fingerprint: raise it whenever `index_terms` answers differently.
TERMS_VERSION = "1"

# Longer runs are data (hashes, base64), not names: they would only swell the dictionary.
_LONGEST_WORD_CHARACTERS = 100

# FTS5 reads a list of chunks for each term, and ranking compares each name with each candidate. The longest
# question of docs/retrieval-log.md has 33 terms; of a pasted file the first so many are asked for.
MOST_QUERY_TERMS = 64

_WORD = re.compile(r"\w+")
# Every byte that is no letter, digit or underscore as a space. ASCII is cut into words with it in a third of
# the time that the pattern takes.
_SPACED = bytes(byte if re.match(r"\w", chr(byte), re.ASCII) else ord(" ") for byte in range(256))
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")

# A word, or what a question writes as one name: dotted.or::scoped, .method, @decorator, $variable, call().
_NAME = re.compile(r"(?:(?<!\S)[.@$])?\w+(?:(?:\.|::|#|->)\w+)*(?:\(\))?")
_LONG_NAME = re.compile(r"[^\W\d]\w{2,}")
_JOINT = re.compile(r"_|[a-z0-9][A-Z]")
_BACKTICKED = re.compile(r"`([^`]+)`")
# Names show themselves by a joint, an underscore or a hump.
_CODE_SHAPED = re.compile(r"\W|_|[a-z0-9][A-Z]|[A-Z]{2}[a-z]")
# But "e.g." and "3.11" are words like others. No character fits both branches, or "1.1.1.…" would take a time
# that doubles with every part.
_ABBREVIATION = re.compile(r"(?:[0-9]+|[^\W0-9])(?:\.(?:[0-9]+|[^\W0-9]))*")

# English function words and what questions are wrapped in. No word that may well name code ("set", "get",
# "not", "class", "file") is here, and inside a name nothing is dropped at all.
_STOP_WORDS = """
a an and any are as at be been being but by can could did do does doing done each every for from had has
have having how i if in into is it its me my of on onto or our out should so some such than that the
their them then there these they this those through to too us was we were what when where which while who
whom whose why will with within would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# The endings that vary an English word: parse, parses, parsed, parsing. Three letters must remain.
_ENDING = re.compile(r"(?<=.{3})(?:ing|ed|es|e|(?<!s)s)$")
_LAST_LETTERS = ("ing", "ed", "e", "s")  # most words have none: asked first, half of the time is saved
_VOWEL = re.compile(r"[aeiouy]")
_DOUBLED = re.compile(r"([bdfgmnprt])\1$")


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """What a question asks for.

    ``names`` are the things it writes as code, as they are written (``Session.send``); ``words`` are the
    words that carry weight, lower-cased, those of the names among them; at most ``MOST_QUERY_TERMS`` each.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        """The distinct terms to match, the names' first, at most ``MOST_QUERY_TERMS``."""
        whole = (joined_name(word) for name in self.names for word in _WORD.findall(name))
        return tuple(dict.fromkeys(filter(None, (*whole, *self.words))))[:MOST_QUERY_TERMS]

    @property
    def expression(self) -> str:
        """The terms as an FTS5 query that matches any of them; empty when there is nothing to match."""
        return " OR ".join(f'"{term}"' for term in self.terms)


def code_names(text: str) -> list[str]:
    """Return the names that are written as only code writes them, each once: any other word may be prose."""
    return [name for name in dict.fromkeys(_LONG_NAME.findall(text)) if _JOINT.search(name)]


def index_terms(text: str) -> str:
    """Return the terms of a piece of code, joined by spaces: each word whole, and its parts."""
    words = text.encode().translate(_SPACED).decode().split() if text.isascii() else _WORD.findall(text)
    return " ".join(map(_terms_of_word, words))


def joined_name(name: str) -> str:
    """Return the one term under which a name is indexed whole: ``max_age`` and ``maxAge`` give ``maxage``."""
    return name.replace("_", "").lower()


@lru_cache(maxsize=50_000)  # as below; excerpts are cut and counted while somebody waits
def stem(word: str) -> str:
    """Return a plain word without its ending, so that "parse", "parses", "parsed" and "parsing" are equal.

    A light rule, not a dictionary: it is meant for comparing words, never for showing them.
    """
    if word.endswith(_LAST_LETTERS) and (ending := _ENDING.search(word)):
        shortened = word[: ending.start()]
        if _VOWEL.search(shortened):
            word = _DOUBLED.sub(r"\1", shortened)
    return f"{word[:-1]}i" if word.endswith("y") else word


@lru_cache(maxsize=8)  # a search asks several times, and what was pasted may be long
def query_terms(text: str) -> QueryTerms:
    """Return what a question asks for. Any text is accepted; only its letters and digits survive."""
    names: dict[str, None] = {}
    words: dict[str, None] = {}
    for name, is_code in _spoken(text):
        kept = [word for word in _WORD.findall(name) if is_code or word.lower() not in STOP_WORDS]
        if is_code and kept:
            names[".".join(kept)] = None
        words.update(dict.fromkeys(term for word in kept for term in _terms_of_word(word).split()))
    return QueryTerms(tuple(names)[:MOST_QUERY_TERMS], tuple(words)[:MOST_QUERY_TERMS])


def _spoken(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the words and names of a question, and whether each is written as code."""
    quoted = {name for quote in _BACKTICKED.findall(text) for name in _NAME.findall(quote)}
    found = _NAME.findall(text)
    for name in found:
        is_code_shaped = _CODE_SHAPED.search(name) and not _ABBREVIATION.fullmatch(name)
        yield name, len(found) == 1 or name in quoted or bool(is_code_shaped)


@lru_cache(maxsize=50_000)  # code repeats its words: over nine in ten come from the cache
def _terms_of_word(word: str) -> str:
    """Return the word as one term followed by its parts, lower-cased, e.g. ``maxage max age``."""
    if len(word) > _LONGEST_WORD_CHARACTERS:
        return ""
    if word.islower() and word.isalpha():
        return word
    parts = _PART.findall(word) if word.isascii() else [part for part in word.split("_") if part]
    whole = joined_name(word)
    if len(parts) < 2:  # noqa: PLR2004  -- a single part is the whole
        return whole
    return " ".join((whole, *map(str.lower, parts)))
