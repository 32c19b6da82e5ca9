"""Chat templates rendered as the library of their publishers, transformers, renders them.

What comes out is the reference for our formats. It knows no product code but the messages.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from coding_assistant.domain import Message

A_DAY = datetime(2024, 7, 26, tzinfo=UTC)

# Llama 2's is in no source distribution: this one says the same as its publisher's code does, which strips
# the first question together with the system text before it.
LLAMA2_TEMPLATE = (
    "{% set system = messages[0]['content'] if messages[0]['role'] == 'system' else none %}"
    "{% for m in messages if m['role'] != 'system' %}"
    "{% if m['role'] == 'assistant' %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}"
    "{% else %}{% set text = m['content'] %}"
    "{% if loop.first and system is not none %}"
    "{% set text = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + text %}"
    "{% endif %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}{% endif %}{% endfor %}"
)


class _Generation(Extension):
    tags = {"generation"}  # noqa: RUF012  -- as jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def rendered(
    template: str, messages: Sequence[Message], *, bos: str = "", eos: str = "", day: datetime = A_DAY
) -> str:
    """Return the prompt that asks the model to answer; raises ``TemplateError`` as the template does."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.globals |= {"raise_exception": _refuse, "strftime_now": day.strftime}
    return environment.from_string(template).render(
        messages=[{"role": message.role.value, "content": message.text} for message in messages],
        bos_token=bos,
        eos_token=eos,
        add_generation_prompt=True,
    )


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)
