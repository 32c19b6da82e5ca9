"""From a model's file to a process that has loaded it: by which program, and what of it on a GPU.

A program that fails before it has loaded the model is replaced by the native or the bundled one, and the user
is told.
Knows nothing of what is asked of the model then.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from anyio import to_thread

from coding_assistant.domain import GpuLayers, MemoryPlan
from coding_assistant.errors import (
    CodingAssistantError,
    EngineDied,
    InvalidModel,
    ModelBroken,
    NotEnoughMemory,
    SystemLacks,
)
from coding_assistant.inference import gpu, memory
from coding_assistant.inference.engine_programs import (
    Choice,
    EngineProgram,
    ProgramSearch,
    described,
)
from coding_assistant.inference.gguf import GgufHeader
from coding_assistant.inference.gpu import Device, Offload
from coding_assistant.inference.server_process import ServerProcess
from coding_assistant.inference.server_protocol import ServerSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """What is to be on a GPU: so many layers, on the one GPU that is named or on all of them.

    With ``is_required`` a model that does not get there is not run at all.
    """

    layers: GpuLayers = 0
    main_gpu: int | None = None
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class StartedModel:
    """A model in memory: its process, how it was started, and what the user is to be told of that.

    ``memory`` is the plan for what of it lies in the machine's own memory.
    """

    process: ServerProcess
    settings: ServerSettings
    program: EngineProgram
    offload: Offload
    notice: str
    memory: MemoryPlan


class ModelStarter:
    """Starts one model, again if need be, with the program that turned out to work."""

    def __init__(self, programs: ProgramSearch, gpu_options: GpuOptions, log_file: Path | None) -> None:
        self._programs = programs
        self._gpu = gpu_options
        self._log_file = log_file
        self._choice: Choice | None = None
        self._most_layers: int | None = None

    def forget(self) -> None:
        """Choose anew at the next start: meanwhile a better program may have been built."""
        self._choice = self._most_layers = None

    async def start(self, header: GgufHeader, plan: MemoryPlan, settings: ServerSettings) -> StartedModel:
        """Start the process; ``settings`` leave open what is on a GPU.

        Raises ``InvalidSetting``, ``NotEnoughMemory`` and what ``ServerProcess.start`` raises;
        ``SystemLacks`` also where a GPU is required and not used. What fails leaves no process.
        """
        choice = self._choice
        if choice is None:
            choice = self._choice = await to_thread.run_sync(self._programs.choose)
        placing = partial(_place, choice.program, self._gpu, header, plan, settings)
        placement = (await to_thread.run_sync(placing)).with_at_most(self._most_layers)
        left = gpu.left_in_memory(plan, header, placement.settings.gpu_layers, placement.devices)
        left = memory.settled(left)
        logger.info("loading %s: %s", Path(settings.model_file).name, memory.plan_in_words(left))
        placed = replace(placement.settings, context_tokens=left.context_tokens)
        try:
            process = await ServerProcess.start(placed, program=choice.program, log_file=self._log_file)
        except NotEnoughMemory as failure:
            tried = placed.gpu_layers if placement.devices else 0
            self._most_layers = gpu.fewer_layers(self._gpu.layers, tried, failure)
            logger.warning("too little memory with %d of the layers on a GPU", tried)
            return await self.start(header, plan, settings)
        except (SystemLacks, EngineDied, InvalidModel, ModelBroken) as failure:
            if choice.program.file is None:
                raise
            stand_in = await to_thread.run_sync(self._programs.stand_in_for, choice.program)
            self._choice, self._most_layers = _fallen_back(choice, stand_in, failure), None
            return await self.start(header, plan, settings)
        offload = await self._offload(process, header, placement)
        told = gpu.offload_notice(self._gpu.layers, offload, placement.devices, program=choice.program.title)
        if self._most_layers:
            told = gpu.fewer_layers_notice(offload, placement.devices)
        notice = " ".join(sentence for sentence in (choice.warning, told) if sentence)
        return StartedModel(process, placed, choice.program, offload, notice, left)

    async def _offload(self, process: ServerProcess, header: GgufHeader, placement: "_Placement") -> Offload:
        """Return what is really on a GPU; the process is ended when that is too little."""
        offload = Offload(0, gpu.layers_of(header))
        try:
            # Without a GPU there is none to be told of: the log shows the words of the model's file, too.
            if placement.settings.gpu_layers and placement.devices:
                told = await to_thread.run_sync(process.log.offload)
                offload = offload if told is None else told
            if self._gpu.is_required:
                gpu.require_offload(self._gpu.layers, offload)
        except BaseException:  # also a cancellation: a process that nobody knows must not live on
            await process.stop()
            raise
        return offload


@dataclass(frozen=True, slots=True)
class _Placement:
    """How the program is told to run the model, and the GPUs that it has for that."""

    settings: ServerSettings
    devices: tuple[Device, ...]

    def with_at_most(self, layers: int | None) -> "_Placement":
        """Return it with at most so many layers on a GPU; None: as many as it says."""
        if layers is None or layers >= self.settings.gpu_layers:
            return self
        return replace(self, settings=replace(self.settings, gpu_layers=layers))


def _place(
    program: EngineProgram,
    options: GpuOptions,
    header: GgufHeader,
    plan: MemoryPlan,
    settings: ServerSettings,
) -> _Placement:
    if options.layers == 0 and not options.is_required:
        return _Placement(settings, ())
    # The bundled one was not asked yet, for without a GPU nothing depends on what it says.
    known = program if program.file else described(program)
    devices = gpu.used_devices(known.devices, options.main_gpu)
    if options.is_required:
        gpu.require_devices(options.layers, devices, program=program.title)
    layers = gpu.requested_layers(
        options.layers, header=header, plan=plan, devices=devices, batch_tokens=settings.safe_batch_tokens
    )
    main_gpu = options.main_gpu if devices else None
    return _Placement(replace(settings, gpu_layers=layers, main_gpu=main_gpu), devices)


def _fallen_back(failed: Choice, stand_in: EngineProgram, failure: CodingAssistantError) -> Choice:
    """Return the next choice; what was said of the failed one goes before, for it may stand in itself."""
    title = failed.program.title
    warning = (
        f"{title[:1].upper()}{title[1:]} could not load the model: {failure.message}"
        f" {stand_in.title[:1].upper()}{stand_in.title[1:]} runs it instead; the engine's log says more."
    )
    return Choice(stand_in, f"{title} failed", f"{failed.warning} {warning}".strip())
