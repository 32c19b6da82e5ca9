"""``models check``, once the file is recognised: the model is loaded and asked something."""

import time
from contextlib import closing

from coding_assistant.assistant import make_engine
from coding_assistant.cli.bridge import Interrupt, bridge
from coding_assistant.cli.first_question import QUESTION, closed_at_the_end, first_answer
from coding_assistant.cli.progress import progress_line
from coding_assistant.cli.rendering import duration
from coding_assistant.cli.screen import Screen, Span
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import (
    EngineInfo,
    GenerationEnded,
    ModelSpec,
    PromptRead,
    ReasoningPiece,
    TextPiece,
)
from coding_assistant.errors import EngineFailed
from coding_assistant.inference.catalog import Catalog
from coding_assistant.settings import Settings


def ask_it(settings: Settings, catalog: Catalog, spec: ModelSpec, *, output: Screen, side: Screen) -> None:
    """Load a model, ask it the tiny question, and tell how fast it was; raise what stands in the way."""
    DataDirectory(settings.home).prepare()  # the engine's log lies there
    engine = make_engine(catalog, spec, settings)
    with bridge() as crossing, crossing.within(closed_at_the_end(engine)), progress_line(side) as bar:
        bar.show(f"Loading {spec.name}")
        began = time.monotonic()
        info = crossing.run(engine.load())
        loaded = time.monotonic() - began
        if info.notice:
            bar.clear()
            side.line(Span(info.notice, "yellow"))
        output.line(Span(QUESTION, "bold"))
        with closing(crossing.events(first_answer(engine, stop=spec.stop_tokens))) as events:
            ended, thought, said = None, False, False
            for event in events:
                match event:
                    case Interrupt():
                        raise KeyboardInterrupt
                    case PromptRead(done=done, total=total):
                        bar.show("Reading", done=done, total=total)
                    case ReasoningPiece(text=text):
                        thought = True
                        bar.show("Thinking")
                    case TextPiece(text=text):
                        said = True
                        bar.clear()
                        output.write(text)
                    case GenerationEnded():
                        ended = event
    if ended is None:
        raise EngineFailed("The model ended without an answer.", hint="Try another model.")
    if thought and not said:
        output.write(f"(It thinks, and was not done after {ended.written_tokens:,} tokens.)")
    speed = ended.written_tokens / ended.writing_seconds if ended.writing_seconds else 0.0
    output.line()
    output.line()
    output.line(Span(f"loaded in {duration(loaded)} {_by(info)} · {speed:.0f} tokens/s", "dim"))


def _by(info: EngineInfo) -> str:
    """Return what runs the model, and where, as the end of "loaded"."""
    where = f", {info.offloaded_layers} of {info.layers} layers on a GPU" if info.offloaded_layers else ""
    return f"by {info.program or 'a server elsewhere'} {info.program_version}{where}".strip()
