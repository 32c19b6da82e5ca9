"""Which conversation is meant by what was typed."""

import re

from coding_assistant.cli.connection import Connection
from coding_assistant.cli.rendering import SHORT_ID
from coding_assistant.contract import ConversationView
from coding_assistant.errors import ConversationNotFound, InvalidRequest

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
    known = connection.bridge.run(connection.calls.conversations())
    if also_deleted:
        known += connection.bridge.run(connection.calls.conversations(deleted=True))
    found = [each for each in known if each.conversation_id.startswith(prefix)]
    if not found:
        raise _not_found(connection, prefix)
    if len(found) > 1:
        ids = ", ".join(each.conversation_id[: max(SHORT_ID, len(prefix) + 4)] for each in found[:5])
        raise InvalidRequest(
            f"{len(found)} conversations begin with {prefix}.", hint=f"Write more of it: {ids}."
        )
    return found[0]


def _not_found(connection: Connection, prefix: str) -> ConversationNotFound:
    deleted = connection.bridge.run(connection.calls.conversations(deleted=True))
    in_trash = [each.conversation_id for each in deleted if each.conversation_id.startswith(prefix)]
    if in_trash:
        shown = in_trash[0][: max(SHORT_ID, len(prefix))]
        return ConversationNotFound(
            f"The conversation {shown} is in the trash.",
            hint=f"Bring it back with: coding-assistant conversations restore {shown}",
        )
    return ConversationNotFound(
        f"No conversation's id begins with {prefix}.",
        hint="See `coding-assistant conversations list --all`, and `--deleted` for those in the trash.",
    )


def latest_conversation(connection: Connection, *, project_id: str) -> ConversationView:
    """Return the conversation about a project that was last written to, archived ones left out.

    One without a written word is left out, too: nothing was said in it but questions that were refused.
    """
    every = connection.bridge.run(connection.calls.conversations(project=project_id))
    known = [each for each in every if not each.archived]
    for conversation in sorted(known, key=lambda each: each.last_updated, reverse=True):
        if _has_words(connection, conversation):
            return conversation
    if known:
        raise ConversationNotFound(
            "No question about this folder was answered yet, so there is nothing to go on with.",
            hint="Ask without -c; a question that failed is kept: coding-assistant conversations list",
        )
    raise ConversationNotFound(
        "There is no conversation about this folder to go on with.",
        hint="Name another one with --project, or ask without -c to begin one.",
    )


def _has_words(connection: Connection, conversation: ConversationView) -> bool:
    """Return whether the assistant has said anything among the newest messages."""
    newest = connection.bridge.run(connection.calls.history(conversation.conversation_id)).messages
    return any(message.role == "assistant" and message.content.strip() for message in newest)
