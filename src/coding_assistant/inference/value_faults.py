"""What a value that a user wrote would have to be, in words: a file's or a setting's, as pydantic refuses it.

Knows nothing of where the value stands.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic_core import ErrorDetails

_QUOTED: Final = re.compile(r"'([^']*)'")

_PLAIN: Final[Mapping[str, str]] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_too_short": "not empty",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
_BOUNDED: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def requirement(faults: Sequence[ErrorDetails]) -> str:
    """Return what the value must be, ``it must be at least 1``, where these are all faults of one value.

    One that may be of several kinds has a fault for each. A complaint in our own words comes as it is.
    """
    phrases = dict.fromkeys(map(_phrase, faults))
    if None in phrases:
        own = next(fault for fault in faults if _phrase(fault) is None)
        return own["msg"].removeprefix("Value error, ")
    return f"it must be {', or '.join(filter(None, phrases))}"


def _number(bound: object) -> str:
    return str(int(bound)) if isinstance(bound, float) and bound.is_integer() else str(bound)


def _phrase(fault: ErrorDetails) -> str | None:
    """Return what would be right; None for a fault that is told in words of our own, or is none of these."""
    kind = fault["type"]
    if kind in _PLAIN:
        return _PLAIN[kind]
    context: Mapping[str, object] = fault.get("ctx", {})
    if kind in _BOUNDED:
        words, key = _BOUNDED[kind]
        return f"{words} {_number(context[key])}"
    if kind == "literal_error":
        return _QUOTED.sub(r"\1", str(context["expected"]))
    return None
