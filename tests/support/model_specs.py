"""A catalog entry with nothing special about it; a test replaces the fields that it is about."""

from coding_assistant.domain import ModelSpec

PLAIN_SPEC = ModelSpec(
    name="mine",
    filename="weights.gguf",
    context_length=1_024,
    max_tokens=100,
    temperature=0.0,
    top_p=1.0,
    n_threads=None,
    n_gpu_layers=0,
    system_prompt="",
    stop_tokens=(),
    prompt_format="auto",
)
