"""A process that asks and answers without end, and says aloud what the store has confirmed.

``python -m support.store_writer FILE CONVERSATION``: each line on its standard input forks one writer,
whose process id is the first thing said; the next line is for when that one has been killed. Forking
makes a round cost milliseconds instead of an interpreter's start.
"""

import os
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from coding_assistant.chat.store import ConversationStore
from coding_assistant.domain import Answer, Finish


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201  -- what it says is its purpose


def write_until_killed(file: Path, conversation_id: str) -> None:
    say(os.getpid())
    store = ConversationStore.open(file)
    for number in count():
        turn = store.begin_turn(conversation_id, f"question {number} of {os.getpid()}")
        say("asked", turn.id, turn.question)
        for length in (1, 2):
            text = f"answer to {turn.id} " * length * 100
            store.save_partial(turn.id, text)
            say("kept", turn.id, len(text))
        finished_at = datetime.now(UTC)
        store.finish_turn(turn.id, Answer(text + "!", Finish.COMPLETE, "a-model", finished_at))
        say("answered", turn.id, len(text) + 1)


def main() -> None:
    file, conversation_id = Path(sys.argv[1]), sys.argv[2]
    for _ in sys.stdin:
        writer = os.fork()
        if not writer:
            write_until_killed(file, conversation_id)
        os.waitpid(writer, 0)
        say("ended")


if __name__ == "__main__":
    main()
