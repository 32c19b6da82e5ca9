"""What a service has acknowledged of one conversation, and whether its history says the same."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True)
class Ledger:
    """One conversation as its asker knows it; no two of its questions are the same.

    ``sent`` are all questions, in order. Those ``asked`` are acknowledged: their ``started`` event came, with
    the id of the answer. Those ``answered`` have their ``finished`` event, with the answer's text.
    """

    conversation_id: str = ""
    sent: list[str] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)

    def send(self, question: str) -> str:
        """Note a question that is about to be sent."""
        self.sent.append(question)
        return question

    def hear(self, question: str, name: str, data: Mapping[str, object]) -> None:
        """Note what an event acknowledges."""
        if name == "started":
            self.conversation_id = str(data["conversation_id"])
            self.asked[question] = str(data["message_id"])
        if name == "finished":
            self.answered[question] = str(data["response"])

    def unacknowledged(self) -> list[str]:
        """Return the questions of which nobody knows whether they arrived."""
        return [question for question in self.sent if question not in self.asked]

    def violations(self, messages: Sequence[Mapping[str, object]]) -> list[str]:
        """Return what the history, whole and oldest first, says otherwise; nothing may be in the making."""
        return [*self._lost_or_doubled(messages), *self._out_of_order(messages), *self._wrong(messages)]

    def _lost_or_doubled(self, messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
        times = Counter(_questions(messages))
        yield from (f"asked once, kept {times[each]} times: {each}" for each in times if times[each] > 1)
        yield from (f"acknowledged and lost: {each}" for each in self.asked if not times[each])
        yield from (f"never asked: {each}" for each in times.keys() - set(self.sent))
        ids = Counter(message["id"] for message in messages)
        yield from (f"{count} messages have the id {each}" for each, count in ids.items() if count > 1)

    def _out_of_order(self, messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
        kept = list(_questions(messages))
        if kept != sorted(kept, key=lambda each: self.sent.index(each) if each in self.sent else -1):
            yield "the questions are not in the order in which they were sent"
        roles = [message["role"] for message in messages]
        if roles != ["user", "assistant"] * (len(roles) // 2):
            yield "questions and answers do not take turns"

    def _wrong(self, messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
        for question, answer in pairwise(messages):
            text = question["content"]
            if question["role"] != "user" or answer["role"] != "assistant" or not isinstance(text, str):
                continue
            if answer["id"] != self.asked.get(text, answer["id"]):
                yield f"the answer has another id than was said: {text}"
            if answer["content"] != self.answered.get(text, answer["content"]):
                yield f"the answer is not the one that was finished: {text}"


def _questions(messages: Iterable[Mapping[str, object]]) -> Iterator[str]:
    return (str(message["content"]) for message in messages if message["role"] == "user")
