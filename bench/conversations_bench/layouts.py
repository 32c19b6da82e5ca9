"""How others lay out a conversation with retrieved sources, in our words.

Both send the whole history each time, questions and answers without the sources of their turns. AnythingLLM
1.16 appends this question's sources to the system message; Open WebUI wraps them with instructions around
the last question. The sources are those that the product found for the same question, rendered as it renders
them, so that as many tokens stand for them. Where their templates are longer than these, these flatter them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

SYSTEM = (
    "You answer questions about the code of one project. Sources from it are given with the question; every"
    " line of a source begins with its line number in the file. Answer from the sources alone, in full"
    " sentences, and put the number of the source that a sentence rests on at its end, like this [1]. Name"
    " functions, values and files exactly. If the sources do not hold the answer, say so."
)

TASK = (
    "### Task\nAnswer the question with the help of the sources in the context, and cite them by their"
    " numbers in brackets.\n\n### Guidelines\n- If you do not know the answer, say so.\n- If the question is"
    " unclear, ask what is meant.\n- Answer in the language of the question.\n- Cite only sources that have a"
    " number.\n- Do not repeat the context."
)


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of the past, as a program keeps it that does not keep its sources."""

    question: str
    answer: str


Message: TypeAlias = dict[str, str]
Layout: TypeAlias = Callable[[Sequence[Said], str, Sequence[str]], list[Message]]


def sources_in_system_message(past: Sequence[Said], question: str, sources: Sequence[str]) -> list[Message]:
    """Lay out a question as AnythingLLM does."""
    context = "".join(f"[SOURCE {number}]\n{text}\n[END]\n\n" for number, text in enumerate(sources))
    system = f"{SYSTEM}\nContext:\n{context}" if sources else SYSTEM
    return [_message("system", system), *_spoken(past), _message("user", question)]


def sources_around_question(past: Sequence[Said], question: str, sources: Sequence[str]) -> list[Message]:
    """Lay out a question as Open WebUI does; one without sources is left as it is."""
    context = "\n".join(f'<source id="{number}">{text}</source>' for number, text in enumerate(sources, 1))
    asked = f"{TASK}\n\n<context>\n{context}\n</context>\n\n<query>\n{question}\n</query>"
    return [
        _message("system", SYSTEM),
        *_spoken(past),
        _message("user", asked if sources else question),
    ]


LAYOUTS: MappingProxyType[str, Layout] = MappingProxyType(
    {"as AnythingLLM": sources_in_system_message, "as Open WebUI": sources_around_question}
)


def render_source(source: Mapping[str, object]) -> str:
    """Return a source of a ``sources`` event as the product's model reads it, without its number."""
    start, text = source["start_line"], source["text"]
    if not isinstance(start, int) or not isinstance(text, str):
        raise TypeError("a source has a start_line and a text")
    symbol = f" ({source['symbol']})" if source.get("symbol") else ""
    title = f"{source['path']}:{start}-{source['end_line']}{symbol}"
    lines = dict(enumerate(text.split("\n"), start=start))
    context = source.get("context") or []
    if isinstance(context, list):
        lines |= {each["line"]: each["text"] for each in context}
    return "\n".join((title, *(f"{number}: {lines[number]}" for number in sorted(lines))))


def _spoken(past: Sequence[Said]) -> list[Message]:
    return [
        message
        for said in past
        for message in (_message("user", said.question), _message("assistant", said.answer))
    ]


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
