"""The names of control tokens in text, broken so that no server takes them for structure.

A server that renders messages tokenises the whole with its control tokens, and so those that stand in a
question or in code: a repository could speak as the system. Which names its vocabulary has it does not say,
so that everything of their shape is broken by a zero-width space, as well as the names of known families
that have no shape of their own: a list, which other families get past. Where the vocabulary is known,
``encoding`` does without this.
"""

import re
from typing import Final

from coding_assistant.inference.prompt_format import ZERO_WIDTH_SPACE

# As vocabularies write them: <|im_start|>, Gemma 4's <|turn> and <turn|>, and DeepSeek's with wide bars.
_BAR: Final = r"[|\uff5c]"
_INSIDE: Final = r"[^\s<>|\uff5c\u200b]{1,64}"
_BARRED: Final = f"{_BAR}{_INSIDE}{_BAR}?>|{_INSIDE}{_BAR}>"

# Of SentencePiece, Gemma, StarCoder, CodeLlama, T5, Mistral and the models that think or call tools.
_ANGLED: Final = (
    r"s|bos|eos|pad|unk|mask|cls|sep|PRE|SUF|MID|EOT|image_soft_token"
    r"|(?:begin|beginning|start|end)_of_\w{1,32}"
    r"|fim[_-](?:prefix|middle|suffix|pad)|file_sep|repo_name|reponame|filename|gh_stars|empty_output"
    r"|issue_(?:start|comment|closed)|jupyter_\w{1,16}|commit_(?:before|msg|after)"
    r"|(?:unused|extra_id_|reserved_|SPECIAL_)\d{1,5}"
    r"|think|tools?|tool_(?:call|response|calls|list)|TOOLCALL|AVAILABLE_TOOLS"
    r"|[se]op|arg_(?:key|value)|longcat_\w{1,32}"  # GLM and LongCat
    r"|[a-z]\w{0,31}:\w{1,32}"  # Seed's <seed:bos>, MiniMax's <minimax:tool_call>; also XML with a prefix
)

# Of Mistral, Llama 2, BERT and GLM.
_BRACKETED: Final = (
    r"INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|CALL_ID|ARGS|THINK"
    r"|IMG|IMG_BREAK|IMG_END|PREFIX|MIDDLE|SUFFIX|AUDIO|BEGIN_AUDIO|control_\d{1,5}"
    r"|BOS|EOS|EOT|CLS|SEP|PAD|UNK|MASK|[sg]MASK"
)
_BRACKET_BARRED: Final = r"\|[a-z]\w{0,31}\|\]"  # EXAONE's [|system|]

# Of MiniMax: ]~b] begins a message, [e~[ ends it, ]~!b[ begins the text.
_TILDED: Final = r"~!?b[\[\]]"

_BEGINNING: Final = re.compile(
    rf"<(?={_BARRED}|/?(?:{_ANGLED})>|</?SYS>>)"
    rf"|\[(?=/?(?:{_BRACKETED})\]|{_BRACKET_BARRED}|e~\[)|\](?={_TILDED})",
)


def broken_control_strings(text: str) -> str:
    """Return the text with a zero-width space behind the first character of each such name.

    Nothing else changes, and a text without them is returned as it is.
    """
    return _BEGINNING.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text)
