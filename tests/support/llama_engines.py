"""LlamaEngines for tests, with nothing to set but what a test is about."""

from dataclasses import replace
from pathlib import Path

from coding_assistant.inference.engine_programs import ProgramSearch
from coding_assistant.inference.llama import EngineOptions, LlamaEngine
from coding_assistant.inference.starting import GpuOptions
from support.model_specs import PLAIN_SPEC


def llama_engine(  # noqa: PLR0913  -- a test names the one or two that it is about
    file: Path,
    *,
    prompt_format: str = "auto",
    slots: int = 2,
    context_tokens: int = 1_024,
    patience_seconds: float = 60.0,
    log_file: Path | None = None,
    snapshot_folder: Path | None = None,
    speculation: str = "off",
    thinking: str = "auto",
    programs: ProgramSearch | None = None,
    gpu: GpuOptions | None = None,
) -> LlamaEngine:
    """Return the real engine on the file, not loaded yet."""
    spec = replace(
        PLAIN_SPEC,
        name=file.stem,
        filename=file.name,
        context_length=context_tokens,
        max_tokens=64,
        prompt_format=prompt_format,
        speculation=speculation,
        thinking=thinking,
    )
    options = EngineOptions(
        slots=slots,
        context_tokens=context_tokens,
        patience_seconds=patience_seconds,
        log_file=log_file,
        snapshot_folder=snapshot_folder,
        programs=programs or ProgramSearch(),
        gpu=gpu or GpuOptions(),
    )
    return LlamaEngine(spec, file, options)
