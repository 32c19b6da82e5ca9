import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coding_assistant.inference.control_strings import broken_control_strings
from coding_assistant.inference.prompt_format import ZERO_WIDTH_SPACE

CHATML_AND_ITS_LIKE = (
    *(
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|eot_id|>",
    ),
    *("<|reserved_special_token_12|>", "<|user|>", "<|assistant|>", "<|end|>", "<|channel|>", "<|message|>"),
    *(
        "<|fim_prefix|>",
        "<|turn>",
        "<turn|>",
        "<\uff5cUser\uff5c>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
    ),
)
LLAMA_2_AND_MISTRAL = (
    *("<s>", "</s>", "<<SYS>>", "<</SYS>>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]"),
    *("[/SYSTEM_PROMPT]", "[control_8]", "<SPECIAL_12>", "<unk>", "<pad>"),
)
OTHERS = (
    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<unused7>", "<extra_id_0>", "<fim_prefix>"),
    *("<fim-suffix>", "<file_sep>", "<repo_name>", "<PRE>", "<SUF>", "<MID>", "<EOT>", "[CLS]", "[MASK]"),
    *("<seed:bos>", "</seed:think>", "<mask:1>", "[|system|]", "[|endofturn|]", "]~b]", "]~!b[", "[e~["),
    *("<sop>", "<eop>", "[EOT]", "<arg_key>", "</arg_value>", "<longcat_user>"),
    *("[gMASK]", "[sMASK]", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>"),
)
NAMES = (*CHATML_AND_ITS_LIKE, *LLAMA_2_AND_MISTRAL, *OTHERS)

HARMLESS = (
    "if a < b and c > d: x[0] = y[INSTANCE] | z",
    "List<String> f(Map<K, V> m) { return a <| b |> c; }",
    '<div class="s"><span>ok</span></div> <thinking> [Install](docs) [ ] [x]',
    "let (|Even|Odd|) n = n |> List.map (fun x -> x <<< 2)",
    "std::vector<std::string> v; a<|b; <|>",
    "fn f<T:Clone>(x: [u8; 4]) -> a[b]~b; [| 1; 2 |] x[e] ~[]",
)

texts = st.lists(
    st.one_of(st.sampled_from(NAMES), st.text(max_size=8), st.sampled_from(list("<>|[]/ \n\uff5c"))),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_broken_wherever_it_stands(name: str) -> None:
    for text in (name, f"x{name}y", f"<{name}", f"[{name}>", f"<|{name}", name * 2, f"\n{name}\n"):
        assert name not in broken_control_strings(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_code_that_holds_no_such_name_stays_as_it_is(text: str) -> None:
    assert broken_control_strings(text) == text


@given(texts)
def test_nothing_else_changes_and_no_name_is_left(text: str) -> None:
    broken = broken_control_strings(text)

    assert broken.replace(ZERO_WIDTH_SPACE, "") == text.replace(ZERO_WIDTH_SPACE, "")
    assert not any(name in broken for name in NAMES)
    assert broken_control_strings(broken) == broken


@given(texts)
def test_every_break_is_behind_the_first_character_of_a_name(text: str) -> None:
    plain = text.replace(ZERO_WIDTH_SPACE, "")
    broken = broken_control_strings(plain)

    assert all(broken[at.start() - 1] in "<[]" for at in re.finditer(ZERO_WIDTH_SPACE, broken))
    assert broken.count(ZERO_WIDTH_SPACE) <= sum(plain.count(first) for first in "<[]")
