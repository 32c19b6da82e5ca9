"""The order of the checks: what is known at once first, and what needs an earlier outcome after it."""

from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import anyio

from coding_assistant.assistant import chosen_model, make_engine, open_catalog
from coding_assistant.assistant.chat_parts import SPEEDS_FILE
from coding_assistant.assistant.wiring import program_search
from coding_assistant.cli.bridge import Bridge, bridge
from coding_assistant.cli.doctor import engines, keeping, machine, models, trial
from coding_assistant.cli.doctor.findings import Check, Finding, Verdict, guarded, refused
from coding_assistant.cli.doctor.models import PresentModel, ReadFormat
from coding_assistant.cli.doctor.trial import Subject
from coding_assistant.cli.first_question import closed_at_the_end
from coding_assistant.cli.options import read_settings
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import MemoryPlan, ModelSpec
from coding_assistant.errors import CodingAssistantError, EngineUnavailable
from coding_assistant.inference import gpu
from coding_assistant.inference.catalog import Catalog
from coding_assistant.inference.engine_programs import BUNDLED, Choice, described
from coding_assistant.inference.memory import plan_memory
from coding_assistant.settings import Settings

_SERVER_SECONDS = 10.0
"""For a server elsewhere to answer; one that is busy or loading may be waited for longer by a question."""

Tell: TypeAlias = Callable[[str], None]
"""Is told what the next finding waits for."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What is examined, and how thoroughly. ``root`` is where the kernel's ``proc`` and ``sys`` are found."""

    folder: Path
    model_name: str | None
    is_full: bool
    tell: Tell
    root: Path = Path("/")

    def findings(self) -> Iterator[Finding]:
        """Examine and yield each finding as soon as it is known. Nothing is left running."""
        yield machine.versions()
        yield machine.system()
        try:
            settings = read_settings(model_name=self.model_name)
        except CodingAssistantError as error:
            yield refused(Check.SETTINGS, error)
            yield machine.processor(None, root=self.root)
            return
        yield guarded(Check.SETTINGS, lambda: keeping.settings_files(settings))
        yield guarded(Check.DATA_DIRECTORY, lambda: keeping.data_directory(settings))
        yield guarded(Check.CONVERSATIONS, lambda: keeping.conversations(settings))
        yield guarded(Check.DISK, lambda: machine.disk(settings))
        yield guarded(Check.PORT, lambda: keeping.port(settings))
        with bridge() as crossing:
            yield from _Course(self, settings, crossing).findings()


@dataclass(frozen=True, slots=True)
class _Course:
    """The checks that need settings, and those that need an event loop."""

    asked: Examination
    settings: Settings
    crossing: Bridge

    def findings(self) -> Generator[Finding, None, None]:
        settings, crossing = self.settings, self.crossing
        try:
            catalog = open_catalog(settings)
            spec = chosen_model(catalog, settings)
        except CodingAssistantError as error:
            yield machine.processor(settings.n_threads, root=self.asked.root)
            yield refused(Check.MODEL, error)
            return
        yield machine.processor(spec.n_threads, root=self.asked.root)
        read_format = None
        if spec.address:
            is_sound = yield from self._server(catalog, spec)
        else:
            read_format = yield from self._local(catalog, spec)
            is_sound = read_format is not None
        self.asked.tell("Loading what makes vectors")
        yield guarded(Check.EMBEDDER, lambda: keeping.embedder(settings))
        self.asked.tell("Comparing the index with the folder")
        yield guarded(Check.INDEX, lambda: crossing.run(keeping.index(settings, self.asked.folder)))
        if self.asked.is_full and is_sound:
            yield from self._tried(catalog, spec, read_format)

    # --- A model here -------------------------------------------------------------------------

    def _local(self, catalog: Catalog, spec: ModelSpec) -> Generator[Finding, None, ReadFormat | None]:
        """Examine the engine and the model; return how the model is spoken to if it can be tried."""
        root, settings = self.asked.root, self.settings
        self.asked.tell("Asking the engine what it can do")
        choice = _chosen_program(settings)
        yield guarded(Check.ENGINE, lambda: engines.engine(choice, root=root))
        yield guarded(Check.GPU, lambda: engines.graphics(choice, spec, settings, root=root))
        try:
            model = models.present_model(catalog, spec)
        except CodingAssistantError as error:
            yield refused(Check.MODEL, error)
            yield machine.free_memory(root=root)
            return None
        yield guarded(Check.MODEL, lambda: models.model_file(catalog, model))
        yield guarded(Check.MEMORY, lambda: self._memory(choice, model))
        return (yield from self._format(model))

    def _memory(self, choice: Choice, model: PresentModel) -> Finding:
        plan = _plan(choice, model, self.settings)
        is_held = DataDirectory(self.settings.home).holder() is not None
        return machine.planned_memory(plan, is_held=is_held, root=self.asked.root)

    def _format(self, model: PresentModel) -> Generator[Finding, None, ReadFormat | None]:
        self.asked.tell("Reading the model's template")
        try:
            read = self.crossing.run(models.read_format(model))
            finding = models.format_in_use(model, read)
        except CodingAssistantError as error:
            yield refused(Check.PROMPT_FORMAT, error)
            return None
        yield finding
        if self.asked.is_full:
            self.asked.tell("Reading every byte of the model's file")
            yield guarded(Check.CHECKSUM, lambda: models.checksum(model))
        return read

    # --- A model elsewhere --------------------------------------------------------------------

    def _server(self, catalog: Catalog, spec: ModelSpec) -> Generator[Finding, None, bool]:
        """Ask the server for the model; return whether it has it."""
        self.asked.tell(f"Asking {spec.address}")
        finding = guarded(Check.SERVER, lambda: self.crossing.run(self._asked_server(catalog, spec)))
        yield finding
        return finding.verdict is not Verdict.FAIL

    async def _asked_server(self, catalog: Catalog, spec: ModelSpec) -> Finding:
        async with closed_at_the_end(make_engine(catalog, spec, self.settings)) as engine:
            try:
                with anyio.fail_after(_SERVER_SECONDS):
                    info = await engine.load()
            except TimeoutError:
                raise EngineUnavailable(
                    f"{spec.address} gave no answer within {_SERVER_SECONDS:.0f} seconds.",
                    hint="Start the server, or correct openai_base_url.",
                ) from None
        return trial.server(spec, info)

    # --- Trying it ----------------------------------------------------------------------------

    def _tried(
        self, catalog: Catalog, spec: ModelSpec, read_format: ReadFormat | None
    ) -> Generator[Finding, None, None]:
        """Load the model and try it; what cannot be done ends that."""
        settings, crossing, tell = self.settings, self.crossing, self.asked.tell
        # What is guessed and right would count as written.
        plain = replace(spec, speculation="off")
        try:
            engine = make_engine(catalog, plain, settings)
        except CodingAssistantError as error:
            yield refused(Check.LOAD, error)
            return
        subject = Subject(engine, plain, read_format)
        with crossing.within(closed_at_the_end(engine)):
            tell(f"Loading {spec.name}")
            loaded = self._awaited(Check.LOAD, trial.load(subject))
            yield loaded
            if loaded.verdict is Verdict.FAIL:
                return
            if read_format is not None:
                yield self._awaited(Check.ROUND_TRIP, trial.round_trip(engine, read_format))
            tell(f"Asking {spec.name} something")
            yield self._awaited(Check.ANSWER, trial.answer(subject))
            if read_format is not None:
                tell(f"Measuring {spec.name}")
                speeds, due = settings.home / SPEEDS_FILE, settings.first_token_seconds
                measuring = trial.speed(subject, speeds, first_token_seconds=due)
                yield self._awaited(Check.SPEED, measuring)

    def _awaited(self, check: Check, examining: Awaitable[Finding]) -> Finding:
        return guarded(check, lambda: self.crossing.run(examining))


def _chosen_program(settings: Settings) -> Choice:
    """Return the program that runs models, with what it says of itself."""
    choice = program_search(settings).choose()
    if choice.program.kind != BUNDLED:
        return choice
    return replace(choice, program=described(choice.program))


def _plan(choice: Choice, model: PresentModel, settings: Settings) -> MemoryPlan:
    """Return the plan for what of the model lies in the machine's own memory."""
    spec, header, batch_tokens = model.spec, model.header, settings.batch_tokens
    plan = replace(
        plan_memory(header, context_tokens=spec.context_length, slots=spec.slots, batch_tokens=batch_tokens),
        shrinks=spec.shrinks,
    )
    devices = gpu.used_devices(choice.program.devices, settings.main_gpu)
    layers = gpu.requested_layers(
        spec.n_gpu_layers, header=header, plan=plan, devices=devices, batch_tokens=batch_tokens
    )
    return gpu.left_in_memory(plan, header, layers, devices)
