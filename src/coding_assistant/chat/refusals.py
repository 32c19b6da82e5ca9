"""Whether an answer says that the project, or what was shown of it, does not hold what was asked for.

Told by its first sentences alone: what an answer says of the code further on ("the key is not found") is no
refusal. Neither is a statement about behaviour ("does not raise", "is not required", "there is no limit").
The rules are in English; a refusal in another language goes unnoticed.
"""

import re
from typing import Final

SENTENCES: Final = 2
"""Small models say it at once, or after one sentence that repeats the question."""

_SHOWN: Final = r"(?:provided|given|available|shown|numbered|above|listed|supplied|cited|these|those)"
_SOURCES: Final = (
    rf"(?:(?:the|these|those|this|your|my|our|any of the|any) )?(?:(?:{_SHOWN} )*(?:source|code )?(?:sources?"
    r"|excerpts?|snippets?|code ?base|documentation|context|information|materials?|project|repository)"
    # What a behaviour may be told of counts only where it is said to be what was shown.
    rf"|(?:{_SHOWN} )+(?:source )?(?:code|files?|text|documents?|lines|modules?)"
    rf"|(?:code|files?|text|documents?|lines|modules?) {_SHOWN})\b"
)
_NOT: Final = r"(?:(?:do|does|did|is|are|was|were|has|have|can|could)(?: not|n't)|cannot|never)"
_HOW: Final = r"(?:(?:explicitly|directly|actually|currently|specifically|clearly|even|appear to|seem to) )*"
_TELL: Final = (
    r"(?:contain|include|mention|specify|provide|define|describe|show|hold|say|state|offer|have|list|indicate"
    r"|reveal|support|cover|answer|give|explain|detail|address|implement|refer|reference|discuss|tell|expose)"
)
_TOLD: Final = (
    r"(?:mentioned|specified|provided|defined|described|shown|found|present|listed|available|included|stated"
    r"|implemented|supported|given|documented|contained|covered|explained|indicated|exposed|held|answered)"
)
_WITHIN: Final = r"(?:in|by|within|among|from)"
_THING: Final = (
    r"(?:method|function|class|macro|option|filter|flag|field|type|module|task|parameter|hook|extension"
    r"|middleware|command|combinator|attribute|argument|mention|information|evidence|reference|indication"
    r"|answer|feature|implementation)s?"
)
_CANNOT_BE: Final = r"(?:(?:cannot|can't|could not|couldn't) be|(?:was|were|is|are)(?: not|n't))"
_WE_CANNOT: Final = (
    r"\b(?:i|we) (?:(?:could|can|was|were|am|are|do|did)(?: not|n't)|cannot)(?: be able to| able to)?"
)
_THERE_IS_NO: Final = (
    r"\bthere (?:is|are|was|were|appears? to be|seems? to be)(?: no|(?: not|n't) (?:a|an|any))"
    rf" (?:[\w`-]+ ){{0,4}}?{_THING}"
)
_REFUSALS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # "The sources do not mention …", "None of the sources …", "… is not mentioned in the sources"
        rf"\b{_SOURCES}(?: \w+){{0,3}} {_NOT} {_HOW}{_TELL}\b",
        rf"\bnone of {_SOURCES}",
        rf"\b(?:is|are|was|were)(?: not|n't) {_HOW}{_TOLD}\b[^.;]{{0,60}}?\b{_WITHIN} {_SOURCES}",
        rf"\b(?:do|does|did)(?: not|n't) {_HOW}(?:exist|appear) in {_SOURCES}",
        rf"\b{_SOURCES} lacks? \b",
        # "There is no class called …", "The project has no such option", "No such class is defined"
        rf"{_THERE_IS_NO}\b[^.;]{{0,80}}?\b(?:called|named|that|for|which|to|in|of|about)\b",
        r"\b(?:is|are|has|have) no such\b",
        rf"^no (?:[\w`-]+ ){{0,4}}?{_THING} (?:[^.;]{{0,60}}? )?(?:is|are|was|were|can be) {_HOW}{_TOLD}\b",
        # "I could not find …", "The answer cannot be found", "It was not found"
        rf"{_WE_CANNOT} (?:find|locate|see|identify|know|determine|answer|provide)\b",
        r"\b(?:i'm|i am|we are) (?:not able|unable) to (?:find|locate|answer|determine|provide|identify)\b",
        r"\b(?:i'm|i am) sorry\b",
        rf"\b{_CANNOT_BE} (?:found|determined|answered|located) (?:based on|with|{_WITHIN}) {_SOURCES}",
        rf"^(?:the answer|it|this|that|the information) {_CANNOT_BE} (?:found|determined|known)$",
        r"^not found\b",
    )
)
_CONDITION: Final = re.compile(
    r"\b(?:if|when|whenever|unless|until|while|in case|where|because|since)\b", re.IGNORECASE
)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z`*\"'(])|\n+")


def says_not_found(answer: str) -> bool:
    """Return whether the answer says that it is not to be found."""
    plain = answer.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").strip()
    sentences = [each for each in _SENTENCE_END.split(plain) if each.strip()]
    return any(_refuses(sentence.strip(" .!*#-")) for sentence in sentences[:SENTENCES])


def _refuses(sentence: str) -> bool:
    """Return whether a sentence refuses; what stands behind "if" or "when" is said of the code."""
    found = (refusal.search(sentence) for refusal in _REFUSALS)
    return any(match and not _CONDITION.search(sentence[: match.start()]) for match in found)
