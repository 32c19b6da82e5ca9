"""``auto`` on the templates of the models in use: written as the template writes it, or refused.

What differs, and is named in docs/engines.md, is named here too.
"""

import re
from pathlib import Path

from coding_assistant.domain import Message, Role
from coding_assistant.errors import InvalidModel
from coding_assistant.inference.chat_template import PROBES, Renderings, derived_format
from coding_assistant.inference.prompt_format import Control, PromptFormat, Text
from coding_assistant.inference.template_process import rendered as rendered_as_the_product_does
from support.reference_templates import rendered

CONVERSATION = (
    Message(Role.SYSTEM, "You answer questions about code."),
    Message(Role.USER, "What is a slot?"),
    Message(Role.ASSISTANT, "It is:\n- one\n- two"),
    Message(Role.USER, "def f(x):\n\treturn x"),
    Message(Role.ASSISTANT, "So."),
    Message(Role.USER, "Why?"),
)
WHAT_DIFFERS = {
    "fireworks-ai-llama-3-firefunction-v2": "refused",  # it wants a list of functions
    "google-gemma-2-2b-it": "joined",  # it has no system role
    "meta-llama-Llama-3.1-8B-Instruct": "undated",
    "meta-llama-Llama-3.2-3B-Instruct": "undated",
    "meta-llama-Llama-3.3-70B-Instruct": "undated",
    "mistralai-Mistral-Nemo-Instruct-2407": "moved",  # it takes the system text on to the newest question
}
FAMILIES = {
    "LFM2-8B-A1B": "chatml",
    "Qwen-Qwen2.5-7B-Instruct": "chatml",
    "Qwen-Qwen3-0.6B": "chatml",
    "Qwen3-Coder": "chatml",
    "meta-llama-Llama-3.1-8B-Instruct": "llama3",
    "microsoft-Phi-3.5-mini-instruct": "phi3",
    "google-gemma-2-2b-it": "auto",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "auto",
}
BEGINNING, END = "<BOS>", "<EOS>"


def learnt(template: str) -> PromptFormat:
    probes = [[{"role": each.role.value, "content": each.text} for each in probe] for probe in PROBES]
    variables = {"bos_token": BEGINNING, "eos_token": END}
    renderings = Renderings(*rendered_as_the_product_does(template, probes, variables))
    names = [*re.findall(r"<[^<>\n]+>|\[[^\]\n]+\]", template), BEGINNING, END]
    return derived_format(renderings, names, beginning=BEGINNING)


def written(prompt_format: PromptFormat) -> str:
    return "".join(
        segment.name if isinstance(segment, Control) else segment.text
        for stretch in prompt_format.stretches(CONVERSATION)
        for segment in stretch
        if isinstance(segment, Control | Text)
    ).removeprefix(BEGINNING)


def reference(template: str, difference: str) -> str:
    """Return what the template writes, with the difference that is deliberate."""
    messages = list(CONVERSATION)
    if difference in ("joined", "moved"):
        system, question, *later = messages
        mark = "\n\n" if difference == "moved" else "\n"
        messages = [Message(Role.USER, f"{system.text}{mark}{question.text}"), *later]
    text = rendered(template, messages, bos=BEGINNING, eos=END)
    if difference == "undated":
        text = re.sub(r"Cutting Knowledge Date: .*\nToday Date: .*\n\n", "", text)
    return text.removeprefix(BEGINNING)


def test_each_template_is_written_as_it_writes_itself_or_as_is_said(llama_cpp_models: Path) -> None:
    files = sorted((llama_cpp_models / "templates").glob("*.jinja"))
    assert len(files) > 60
    for file in files:
        template, difference = file.read_text(encoding="utf-8"), WHAT_DIFFERS.get(file.stem, "")
        try:
            prompt_format = learnt(template)
        except InvalidModel:
            assert difference == "refused", file.stem
            continue
        assert written(prompt_format) == reference(template, difference), file.stem


def test_a_template_that_writes_as_a_family_does_is_taken_for_it(llama_cpp_models: Path) -> None:
    for name, family in FAMILIES.items():
        template = (llama_cpp_models / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
        assert learnt(template).name == family, name
