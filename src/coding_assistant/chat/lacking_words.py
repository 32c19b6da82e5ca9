"""Which words of a question must stand somewhere in a project that holds the answer.

Most words of a question need not: who asks for the "longest" or the "pause" may be answered by ``max`` and
``sleep``. Of 178 questions that have an answer, 127 hold a word that occurs nowhere in the project; of 31 for
what does not exist, 28 do. Names of things (Redis, ``save_all``) and words of the trade that have no everyday
synonym (coroutine, encrypt) tell them apart: one lacks in 18 of the 31 and in 3 of the 178.

It knows nothing of where a project's words are counted.
"""

import re
from typing import Final

from coding_assistant.terms import query_terms, stem

MOST_WORDS: Final = 3
"""More of them say no more, and each takes tokens."""

_TRADE: Final = """
async await awaitable coroutine thread mutex semaphore deadlock lock
encrypt encryption decrypt cipher aes rsa checksum
socket websocket grpc graphql soap oauth jwt ssl tls ssh ftp smtp imap dns ldap kerberos
database sql sqlite mysql postgresql postgres mongodb redis memcached elasticsearch cassandra
kafka rabbitmq celery docker kubernetes terraform ansible jenkins aws s3 azure
yaml toml xml json csv pdf xlsx excel markdown latex protobuf msgpack avro parquet
bash zsh powershell clipboard telemetry gpu cuda opencl webassembly bluetooth usb
"""
_WORDS_OF_THE_TRADE: Final = frozenset(stem(word) for word in _TRADE.split())

_WORD: Final = re.compile(r"\w+(?:'\w+)?")
# After one of these a capital says nothing: a sentence begins.
_SENTENCE_END: Final = re.compile(r"[.?!:]\W*$")
_IN_PATH: Final = re.compile(r"/[\w.-]*$")  # which may be of the user's own file
_NAMED: Final = re.compile(r"[A-Z]\w*[a-z]\w*|[A-Z]{2,}[a-z]?\w*|[A-Za-z]+\d\w*")
_NO_NAME: Final = re.compile(r"[A-Z]|I'\w+")


def telling_words(question: str) -> tuple[str, ...]:
    """Return the words that name things: if one occurs nowhere in the project, neither may its thing."""
    names = {part for name in query_terms(question).names for part in _WORD.findall(name) if len(part) > 1}
    words = [(match.group(), question[: match.start()]) for match in _WORD.finditer(question)]
    return tuple(
        dict.fromkeys(
            word
            for word, before in words
            if not _IN_PATH.search(before) and (word in names or _names_a_thing(word, before))
        )
    )


def lacking_note(words: tuple[str, ...]) -> str:
    """Return what the model is told of words that occur nowhere; nothing where there are none."""
    if not words:
        return ""
    named = " and ".join(f'"{word}"' for word in words[:MOST_WORDS])
    occurs = f"the word {named} occurs" if len(words) == 1 else f"the words {named} occur"
    return (
        f"Note: {occurs} nowhere in this project, so it hardly has what is asked for. Say that it was not"
        " found, unless the sources answer the question in other words."
    )


def _names_a_thing(word: str, before: str) -> bool:
    if stem(word.lower()) in _WORDS_OF_THE_TRADE:
        return True
    is_inside = bool(before.strip()) and not _SENTENCE_END.search(before)
    return is_inside and bool(_NAMED.fullmatch(word)) and not _NO_NAME.fullmatch(word)
