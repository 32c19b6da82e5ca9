"""Renders a stranger's chat template, in a process that is good for nothing else and ends soon.

A template is a program. Jinja's sandbox keeps it from Python's insides and from changing what it is given;
the limits here keep it from an endless loop and from eating the machine's memory. Run as
``python -m coding_assistant.inference.template_process`` by ``chat_template``, to which it answers in JSON.
Templates are read as transformers reads them, for which they were written.
"""

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Real ones take some 20 ms, after 0.2 s for the start, in 60 MB of address space.
_MOST_SECONDS: Final = 2
_MOST_BYTES: Final = 1 << 29
_MOST_CHARACTERS: Final = 1_000_000

# What the templates of Llama write where they are told no date. Today's would make every conversation be read
# again at midnight.
_DAY: Final = datetime(2024, 7, 26, tzinfo=UTC)


class _Generation(Extension):
    """The tag ``generation``, by which a template marks the answers for training: what is in it stays."""

    tags = {"generation"}  # noqa: RUF012  -- as jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what stands between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def rendered(
    template: str, conversations: Sequence[Sequence[Mapping[str, str]]], variables: Mapping[str, object]
) -> list[str | None]:
    """Return each conversation as the template writes it, None where the template refuses it.

    Raises ``TemplateError`` when it is no template.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _DAY.strftime}
    environment.filters["tojson"] = _to_json
    parsed = environment.from_string(template)
    outcomes: list[str | None] = []
    for messages in conversations:
        outcome = None
        # A template may fail at whatever it does: it asks the type of things, divides, indexes.
        with suppress(Exception):
            outcome = parsed.render(messages=messages, add_generation_prompt=True, **variables)
        outcomes.append(outcome if outcome is None or len(outcome) <= _MOST_CHARACTERS else None)
    return outcomes


def main() -> None:
    """Answer one request from standard input."""
    _limit()
    request = json.loads(sys.stdin.buffer.read())
    try:
        answer: dict[str, object] = {"rendered": rendered(**request)}
    except TemplateError as error:
        answer = {"complaint": str(error)}
    sys.stdout.write(json.dumps(answer))


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
    with suppress(ValueError, OSError):  # macOS refuses this one
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _to_json(value: object, indent: int | None = None) -> str:
    # Jinja's own escapes what HTML would read otherwise.
    return json.dumps(value, ensure_ascii=False, indent=indent)


if __name__ == "__main__":
    main()
