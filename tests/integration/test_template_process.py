"""A model's own template runs in a process of its own, which bounds what it may take."""

import anyio
import pytest

from coding_assistant.errors import InvalidModel
from coding_assistant.inference import template_process
from coding_assistant.inference.chat_template import PROBES, Renderings, derived_format, read_template

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}
LOOP = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"

HOSTILE = {
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}" + LOOP,
    "huge": "{{ 'x' * 10 ** 10 }}" + LOOP,
    "deep": "{% if true %}" * 5_000 + LOOP,
    "no template": "{% for %}",
    "too long": LOOP + " " * 1_000_000,
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_a_template_that_would_do_harm_is_refused_in_bounded_time(template: str) -> None:
    with pytest.raises(InvalidModel) as refused:
        derived_format(anyio.run(read_template, template, VARIABLES), ())
    assert "prompt_format" in refused.value.hint
    assert len(refused.value.message) < 300


def test_a_sound_template_is_read_apart_as_it_is_here() -> None:
    probes = [[{"role": each.role.value, "content": each.text} for each in probe] for probe in PROBES]

    assert anyio.run(read_template, LOOP, VARIABLES) == Renderings(
        *template_process.rendered(LOOP, probes, VARIABLES)
    )
