"""What a bare engine is asked: a short prompt as anybody might write it, or the product's own."""

from collections.abc import Callable, Sequence

from answers_bench.excerpts import Excerpt, as_sources
from answers_bench.questions import Question
from coding_assistant.chat.rendering import ConversationText, render_conversation, system_text

Messages = list[dict[str, str]]
"""A chat, as the completions' API takes it."""

Prompt = Callable[[Question, Sequence[Excerpt]], Messages]
"""Makes the prompt of a question and what there is to read for it."""


def plain_prompt(question: Question, excerpts: Sequence[Excerpt]) -> Messages:
    """Return the prompt of the plain arms: no system message, excerpts under numbers, the question."""
    if not excerpts:
        opening = f"Answer the question about the code of {question.package} {question.version}."
        return [{"role": "user", "content": f"{opening}\n\nQuestion: {question.question}"}]
    opening = (
        f"Answer the question about the code of {question.package} with the help of these excerpts."
        " Cite them by their numbers, like [1]."
    )
    shown = (
        f"[{number}] {each.source.location}\n{each.source.text}"
        for number, each in enumerate(excerpts, start=1)
    )
    return [
        {"role": "user", "content": "\n\n".join((opening, *shown, f"Question: {question.question}"))},
    ]


def our_prompt(instructions: str) -> Prompt:
    """Return the product's prompt for the first question of a conversation, without a primer.

    ``instructions`` are the model's own from the catalog, empty where it has none.
    """

    def prompt(question: Question, excerpts: Sequence[Excerpt]) -> Messages:
        conversation = ConversationText(
            system=system_text(question.package, instructions=instructions),
            question=question.question,
            sources=as_sources(excerpts),
        )
        messages = render_conversation(conversation, vocabulary="")
        return [{"role": str(each.role), "content": each.text} for each in messages]

    return prompt
