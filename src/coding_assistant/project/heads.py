"""Finds the lines that tell what a definition is without what it does: its head.

``class Tally(Base):``, or the rows of a signature up to the body. A chunk that lies inside a definition
carries the head as context. Nothing here knows which nodes are definitions.
"""

from collections.abc import Sequence

from tree_sitter import Node

from coding_assistant.domain import ContextLine

# A head is repeated with every chunk of its definition, so it has to be short. Of the heads of Django's long
# definitions 98 in 100 have at most three rows, and 99 at most 240 characters.
MOST_HEAD_LINES = 3
MOST_HEAD_CHARACTERS = 240
# Of all heads around a chunk together; the innermost say most about it.
MOST_CONTEXT_LINES = 6
ELLIPSIS = "…"

_DECORATIONS = frozenset({"annotation", "marker_annotation", "attribute", "attribute_list", "decorator"})
_BODY_FIELDS = ("body", "accessors", "computed_value", "declarations")
_BODIES = frozenset({"class_body", "enum_class_body", "function_body", "do_block"})
# Where the body of a name that is given a function lies: const name = (…) => { … }.
_VALUE_FIELDS = ("value", "right", "type")
_DEEPEST_VALUE = 3


def head_rows(node: Node) -> tuple[int, int]:
    """Return the first and the last row of the node's head, decorations left out.

    Just the first row where no body can be told from it.
    """
    first = _undecorated_row(node)
    body = _body(node)
    return first, max(first, _row_before(body)) if body is not None else first


def head_lines(lines: Sequence[str], first_row: int, last_row: int) -> tuple[ContextLine, ...]:
    """Return these rows as context; an ellipsis shows where they are cut."""
    found: list[ContextLine] = []
    left = MOST_HEAD_CHARACTERS
    for row in range(first_row, min(last_row, first_row + MOST_HEAD_LINES - 1) + 1):
        text = lines[row].rstrip()
        is_last = len(found) == MOST_HEAD_LINES - 1 and row < last_row
        if len(text) > left or is_last:
            found.append(ContextLine(row + 1, f"{text[:left].rstrip()} {ELLIPSIS}"))
            break
        found.append(ContextLine(row + 1, text))
        left -= len(text)
    return tuple(found)


def joined_context(around: Sequence[ContextLine], head: Sequence[ContextLine]) -> tuple[ContextLine, ...]:
    """Return the heads of outer definitions followed by that of an inner one, which may share a row."""
    last = around[-1].line if around else 0
    return (*around, *(line for line in head if line.line > last))[-MOST_CONTEXT_LINES:]


def _undecorated_row(node: Node) -> int:
    """Return the row on which the definition itself begins, below annotations of its own."""
    for child in node.children:
        if child.type in _DECORATIONS or child.type == "comment":
            continue
        if child.type == "modifiers":  # of Java, Kotlin and Swift: annotations and words such as "public"
            word = next((each for each in child.children if each.type not in _DECORATIONS), None)
            if word is None:
                continue
            return word.start_point.row
        return child.start_point.row
    return node.start_point.row


def _body(node: Node) -> Node | None:
    current: Node | None = node
    for _ in range(_DEEPEST_VALUE):
        if current is None:
            return None
        body = _first_field(current, _BODY_FIELDS)
        if body is None:
            body = next((child for child in current.named_children if child.type in _BODIES), None)
        if body is not None:
            return body
        current = _first_field(current, _VALUE_FIELDS)
    return None


def _first_field(node: Node, fields: Sequence[str]) -> Node | None:
    found = (node.child_by_field_name(field) for field in fields)
    return next((child for child in found if child is not None), None)


def _row_before(body: Node) -> int:
    """Return the row on which what stands before the body ends, comments left out."""
    before = body.prev_sibling
    while before is not None and "comment" in before.type:
        before = before.prev_sibling
    return before.end_point.row if before is not None else body.start_point.row
