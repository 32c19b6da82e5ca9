"""Damaged and malicious GGUF files, made from sound ones by chance, and what the product makes of each.

The same seed makes the same files.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio

from coding_assistant.domain import GenerationRequest, Message, Role
from coding_assistant.errors import CodingAssistantError
from coding_assistant.inference.gguf import read_header, read_vocabulary
from support.gguf_layout import Layout, layout_of
from support.llama_engines import llama_engine
from support.small_gguf import write_gguf
from support.tiny_model import PHI3_CONTROLS, TinyModel

LOOP: Final = (
    "{% for m in messages %}{{ '<turn>' + m.role + '\\n' + m.content + '</turn>\\n' }}{% endfor %}"
    "{{ '<turn>assistant\\n' }}"
)
TEMPLATES: Final = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(10 ** 15) %}x{% endfor %}",
    "{{ 'x' * 10 ** 10 }}",
    "{% if true %}" * 2_000,
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% import 'os' as os %}{{ os.system('true') }}",
    "{{ messages[0].content }}" * 100,
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
)
_TEMPLATE_KEY: Final = "tokenizer.chat_template"
_LOAD_SECONDS: Final = 60.0


def sound_files(folder: Path) -> list[bytes]:
    """Return the files that all others are made from: of three vocabularies, with and without templates."""
    folder.mkdir(parents=True, exist_ok=True)
    models = (
        TinyModel("Phi-3 tiny", PHI3_CONTROLS, chat_template=LOOP.replace("turn>", "|user|>"), end="<|end|>"),
        TinyModel("Foreign tiny", ("<turn>", "</turn>"), chat_template=LOOP),
        TinyModel("Bare tiny"),
    )
    written = [*(model.write(folder) for model in models), write_gguf(folder / "small.gguf")]
    return [file.read_bytes() for file in written]


def hostile_files(sound: Sequence[bytes], seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield, without end, what was done to a file, and the file."""
    chance = random.Random(seed)  # noqa: S311  -- the same files each time
    bases = [(content, layout_of(content)) for content in sound]
    while True:
        content, layout = chance.choice(bases)
        name = chance.choice(list(_DAMAGES))
        yield name, bytes(_DAMAGES[name](bytearray(content), layout, chance))


def _cut(content: bytearray, layout: Layout, chance: random.Random) -> bytearray:
    return content[: chance.choice((chance.randrange(layout.data), chance.randrange(len(content))))]


def _flip(content: bytearray, layout: Layout, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        content[chance.randrange(layout.data)] ^= 1 << chance.randrange(8)
    return content


def _overwrite(content: bytearray, layout: Layout, chance: random.Random) -> bytearray:
    start = chance.randrange(layout.data)
    size = chance.choice((4, 64, 4_096))
    content[start : start + size] = chance.randbytes(size)
    return content


def _number(what: str) -> "Callable[[bytearray, Layout, random.Random], bytearray]":
    def change(content: bytearray, layout: Layout, chance: random.Random) -> bytearray:
        span = chance.choice([each for each in layout.spans if each.what == what])
        size = span.end - span.start
        largest = 256**size - 1
        values = (0, 1, 7, 255, 2**31, 2**32 + 1, 2**60, 2**63, largest, chance.randrange(largest))
        content[span.start : span.end] = min(chance.choice(values), largest).to_bytes(size, "little")
        return content

    return change


def _text(content: bytearray, layout: Layout, chance: random.Random) -> bytearray:
    span = chance.choice([each for each in layout.spans if each.what in {"key", "text", "tensor"}])
    content[span.start : span.end] = chance.randbytes(span.end - span.start)
    return content


def _template(content: bytearray, layout: Layout, chance: random.Random) -> bytearray:
    """Put a malicious template in the old one's place; a file without one gets a flipped bit."""
    old = layout.keys.get(_TEMPLATE_KEY)
    if old is None:
        return _flip(content, layout, chance)
    head = content[old.start : old.start + 8 + len(_TEMPLATE_KEY) + 4]  # the key with its length, the type
    text = (chance.choice(TEMPLATES) + LOOP).encode()
    entry = head + len(text).to_bytes(8, "little") + text
    header = content[: old.start] + entry + content[old.end : layout.spans[-1].end]
    return header.ljust(-(-len(header) // 32) * 32, bytes(1)) + content[layout.data :]


_DAMAGES: Final[Mapping[str, Callable[[bytearray, Layout, random.Random], bytearray]]] = {
    "cut short": _cut,
    "bits flipped": _flip,
    "bytes overwritten": _overwrite,
    "version": _number("version"),
    "count": _number("count"),
    "length": _number("length"),
    "type": _number("type"),
    "dimension": _number("dimension"),
    "offset": _number("offset"),
    "number": _number("number"),
    "text": _text,
    "template": _template,
}


@dataclass
class Tally:
    """What became of the files: ``faults`` are what must not be, with the file that did it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0

    def note(self, outcome: str, began: float) -> None:
        self.outcomes[outcome] += 1
        self.longest_seconds = max(self.longest_seconds, perf_counter() - began)


def read_all(files: Iterator[tuple[str, bytes]], count: int, folder: Path) -> tuple[Tally, list[Path]]:
    """Have the header's reader take so many files; return what became of them, and those that it let pass."""
    tally, passed = Tally(), []
    for number, (damage, content) in zip(range(count), files, strict=False):
        file = folder / f"{number:04}-{damage.replace(' ', '-')}.gguf"
        file.write_bytes(content)
        began = perf_counter()
        try:
            read_header(file)
            read_vocabulary(file)
        except CodingAssistantError as error:
            tally.note(error.code, began)
            file.unlink()
            continue
        except Exception as error:  # noqa: BLE001  -- whatever else it is, it is the fault looked for
            tally.faults.append(f"{file.name}: {error!r}")
            continue
        tally.note("let pass", began)
        passed.append(file)
    return tally, passed


async def load_all(files: Sequence[Path]) -> Tally:
    """Have the engine load each file and answer with it; return what became of them."""
    tally = Tally()
    for file in files:
        began = perf_counter()
        try:
            with anyio.fail_after(_LOAD_SECONDS):
                async for outcome in _answered(file):
                    tally.note(outcome, began)
        except CodingAssistantError as error:
            tally.note(error.code, began)
        except Exception as error:  # noqa: BLE001  -- as above
            tally.faults.append(f"{file.name}: {error!r}")
    return tally


async def _answered(file: Path) -> AsyncIterator[str]:
    engine = llama_engine(file, slots=1, context_tokens=256)
    try:
        tokens = await engine.encode([Message(Role.USER, "what is it?")])
        request = GenerationRequest(tokens, slot=0, max_tokens=4, temperature=0.0, top_p=1.0)
        async for _ in engine.generate(request):
            pass
        yield "works"
    finally:
        with anyio.CancelScope(shield=True):
            await engine.close()
