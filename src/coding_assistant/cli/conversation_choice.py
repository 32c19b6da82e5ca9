"""Which conversation is meant by what was typed."""

import re

from coding_assistant.cli.connection import Connection
from coding_assistant.cli.rendering import SHORT_ID
from coding_assistant.contract import ConversationView
from coding_assistant.errors import ConversationNotFound, InvalidRequest

_FULL_DIGITS = 32
_PREFIX = re.compile(r"[0-9a-f]{4,32}")


def find_conversation(connection: Connection, typed: str, *, also_deleted: bool = False) -> ConversationView:
    """Return the conversation with this id, or the only one whose id begins so; perhaps one in the trash."""
    prefix = typed.strip().lower()
    if not _PREFIX.fullmatch(prefix):
        raise InvalidRequest(
            f"{typed!r} is not a conversation's id.",
            hint="An id has 32 hexadecimal digits, of which 4 or more are enough: see"
            " `coding-assistant conversations list`.",
        )
    if len(prefix) == _FULL_DIGITS and not also_deleted:
        return connection.bridge.run(connection.calls.conversation(prefix))
    known = connection.bridge.run(connection.calls.conversations())
    if also_deleted:
        known += connection.bridge.run(connection.calls.conversations(deleted=True))
    found = [each for each in known if each.conversation_id.startswith(prefix)]
    if not found:
        raise ConversationNotFound(
            f"No conversation's id begins with {prefix}.",
            hint=f"See `coding-assistant conversations list --all{' --deleted' if also_deleted else ''}`.",
        )
    if len(found) > 1:
        ids = ", ".join(each.conversation_id[: max(SHORT_ID, len(prefix) + 4)] for each in found[:5])
        raise InvalidRequest(
            f"{len(found)} conversations begin with {prefix}.", hint=f"Write more of it: {ids}."
        )
    return found[0]


def latest_conversation(connection: Connection, *, project_id: str) -> ConversationView:
    """Return the conversation about a project that was last written to, archived ones left out."""
    every = connection.bridge.run(connection.calls.conversations(project=project_id))
    known = [each for each in every if not each.archived]
    if not known:
        raise ConversationNotFound(
            "There is no conversation about this folder to go on with.", hint="Ask without -c to begin one."
        )
    return max(known, key=lambda each: each.last_updated)
