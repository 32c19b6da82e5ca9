"""Whether a message asks for nothing new: the last answer once more, in another length, language or form.

Such a message needs no search: what its own few words find would lead the answer away from what was said. The
rules are in English; what they do not know is searched for.
"""

import re
from typing import Final

_MOST_CHARACTERS: Final = 120

_POLITENESS: Final = (
    r"(?:(?:and|but|so|now|ok|okay|well|then|please|pls|thanks|thank you|just|can you|could you|would you"
    r"|can i (?:have|get)|could i (?:have|get)|i want|i'd like|i would like)\b[\s,:]*)*"
)
_VERB: Final = (
    r"(?:say|put|write|tell me|explain|express|give(?: me)?|show(?: me)?|make|repeat|answer|state|phrase"
    r"|format|sum up|recap|rewrite|rephrase|reword|translate|summari[sz]e|shorten|condense)\b\s*"
)
_OBJECT: Final = (
    r"(?:(?:it|that|this|them|all of (?:it|that|this)|(?:the|your) (?:last |previous )?answer"
    r"|(?:our|the|this) conversation|what (?:we|you)(?: have|'ve)? (?:found|said|learn(?:ed|t)|discussed)"
    r"(?: so far| until now)?)\b\s*)"
)
_LANGUAGES: Final = (
    r"arabic|bengali|chinese|czech|danish|dutch|english|finnish|french|german|greek|hebrew|hindi|hungarian"
    r"|indonesian|italian|japanese|korean|norwegian|persian|polish|portuguese|romanian|russian|spanish|swedish"
    r"|thai|turkish|ukrainian|vietnamese"
)
_FORM: Final = (
    r"(?:(?:much |even |a (?:bit|little|lot) )?(?:shorter|briefer|simpler|clearer|more (?:briefly|brief"
    r"|concise(?:ly)?|succinct(?:ly)?|simply|clearly))"
    r"|briefly|concisely|simply|in short|in brief|in a nutshell|tl;?dr|eli5"
    r"|in (?:(?:at most|under|fewer than|less than) )?(?:a|one|two|three|four|five|six|seven|ten|twenty|\d+"
    r"|a few|few|fewer|other|simple|simpler|plain|your own) (?:short |simple )?(?:words?|sentences?|lines?"
    r"|paragraphs?|bullet points?|bullets|terms|language|english)"
    rf"|(?:in|to|into) (?:{_LANGUAGES})|auf deutsch|en français|en español|in italiano|em português"
    r"|as (?:a |an |one )?(?:short |numbered |bulleted |markdown )?(?:table|list|bullets|bullet points"
    r"|bullet list|steps|summary|sentence|paragraph)"
    r"|(?:for|to) (?:a )?(?:beginners?|child|five[- ]year[- ]old)|like i(?:'m| am) (?:five|5)"
    r"|again|once more|differently|another way)"
)
_WITHOUT_FORM: Final = (
    r"(?:repeat|rephrase|reword|sum up|recap|summari[sz]e|shorten|condense)"
    rf"(?: {_OBJECT})?"
)
_REACTION: Final = (
    r"why(?: so| not)?|how so|how come|really|thanks(?: a lot)?"
    r"|thank you(?: very much)?|ok(?:ay)?|great|good|nice|perfect|i see|got it|what do you mean(?: by that)?"
)
_REWORDING: Final = re.compile(
    rf"\W*{_POLITENESS}(?:{_REACTION}|{_WITHOUT_FORM}|(?:{_VERB})?(?:{_OBJECT})?{_FORM}"
    rf"(?:,? (?:and |but )?{_FORM})*(?:\s*{_OBJECT})?)(?:,? (?:please|thanks))?\W*",
    re.IGNORECASE,
)


def asks_to_reword(message: str) -> bool:
    """Return whether the message asks for the last answer in another form, or only answers to it."""
    return len(message) <= _MOST_CHARACTERS and bool(_REWORDING.fullmatch(message))
