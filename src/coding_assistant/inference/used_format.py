"""Which prompt format a model is used with: the one that is set, or that of its file's own template.

Knows nothing of engines: what it tells is known before anything is loaded.
"""

from coding_assistant.domain import ModelSpec
from coding_assistant.inference import prompt_format
from coding_assistant.inference.chat_template import derived_format
from coding_assistant.inference.encoding import structural_names
from coding_assistant.inference.gguf import Vocabulary
from coding_assistant.inference.prompt_format import PromptFormat
from coding_assistant.inference.thinking import read_switched, require_no_switch


async def used_format(spec: ModelSpec, template: str, vocabulary: Vocabulary) -> PromptFormat:
    """Return the format that is set, or else that of the file's own template.

    Raises ``InvalidSetting`` for a format that is not known, ``InvalidModel`` for a template that cannot be
    followed, or that has no switch for thinking where that is set.
    """
    name, thinking = spec.prompt_format, spec.thinking
    if name != prompt_format.AUTO:
        require_no_switch(thinking, model=spec.name, prompt_format=name)
        return prompt_format.named_format(name)
    variables = {"bos_token": vocabulary.beginning, "eos_token": vocabulary.end}
    renderings = await read_switched(template, variables, thinking=thinking, model=spec.name)
    return derived_format(renderings, structural_names(vocabulary), beginning=vocabulary.beginning)
