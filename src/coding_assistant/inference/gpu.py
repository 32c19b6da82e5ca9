"""How many layers of a model go on a GPU: what is asked for, what fits, what was really put there.

Knows nothing of processes and programs. What devices there are is what an engine says of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from coding_assistant.domain import ALL_LAYERS, AUTO_LAYERS, GpuLayers, MemoryPlan
from coding_assistant.errors import InvalidSetting, NotEnoughMemory, SystemLacks
from coding_assistant.inference.gguf import GgufHeader

# Of a device's free memory this part is left alone: drivers and their libraries take some that no plan of the
# engine's tells of.
MARGIN: Final = 0.05

# The logits of a whole batch lie on the device, whether or not they are wanted: a float32 each.
_LOGIT_BYTES: Final = 4

# The widest that output weights are quantised to beside smaller layers (Q8_0: 34 bytes for 32 weights).
_WIDEST_OUTPUT_BYTES: Final = 34 / 32

# What Apple's chips are called here: their memory is the machine's, so that nothing is saved by using it.
_SHARED_MEMORY_NAMES: Final = ("MTL", "Metal")

_MEBIBYTE: Final = 1024 * 1024
_DEVICE_LINE: Final = re.compile(
    r"^\s+(?P<name>[^\s:]+): .*\((?P<total>\d+) MiB, (?P<free>\d+) MiB free\)\s*$", re.MULTILINE
)
# From its start: the log shows the words of the model's file, too.
_OFFLOADED: Final = re.compile(
    r"(?:(?:\d+\.\d\d\.\d{3}\.\d{3} )?I )?load_tensors: "
    r"offloaded (?P<offloaded>\d+)/(?P<layers>\d+) layers to GPU$"
)


MOST_LAYERS: Final = 1_024


def _layers_setting(value: object) -> object:
    """Take -1 for all, as llama.cpp once did, and refuse what is no number of layers."""
    text = str(value)
    if text == "-1":
        return ALL_LAYERS
    if text in (AUTO_LAYERS, ALL_LAYERS) or (text.isdecimal() and int(text) <= MOST_LAYERS):
        return value
    raise PydanticCustomError("layers", f"it must be a number from 0 to {MOST_LAYERS:,}, auto or all")


LayersSetting = Annotated[GpuLayers, BeforeValidator(_layers_setting)]
"""How the number of layers is read from settings and from a models file."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as an engine names it, with its memory in bytes."""

    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Offload:
    """So many of a model's layers, its output counted as one, are on GPUs."""

    offloaded: int
    layers: int


def parse_devices(text: str) -> tuple[Device, ...]:
    """Read what ``llama-server --list-devices`` prints; one without memory is no GPU."""
    devices = (
        Device(line["name"], int(line["total"]) * _MEBIBYTE, int(line["free"]) * _MEBIBYTE)
        for line in _DEVICE_LINE.finditer(text)
    )
    return tuple(device for device in devices if device.total_bytes)


def parse_offload(line: str) -> Offload | None:
    """Read the line of an engine's log that says what it has put on GPUs; None for any other."""
    said = _OFFLOADED.match(line)
    return Offload(int(said["offloaded"]), int(said["layers"])) if said else None


def layers_of(header: GgufHeader) -> int:
    """Return how many layers of a model can go on a GPU: llama.cpp counts the output as one more."""
    return header.layers + 1


def used_devices(devices: Sequence[Device], main_gpu: int | None) -> tuple[Device, ...]:
    """Return the devices that the layers are spread over: all, or the one that is chosen.

    Raises ``InvalidSetting`` when it is not there. Where there is none at all, nothing is refused.
    """
    if main_gpu is None or not devices:
        return tuple(devices)
    if main_gpu >= len(devices):
        names = ", ".join(f"{number} ({device.name})" for number, device in enumerate(devices))
        raise InvalidSetting(
            f"main_gpu is {main_gpu}, but the engine sees only these GPUs: {names}.",
            hint="Set main_gpu to one of these numbers, or leave it out to use all of them.",
        )
    return (devices[main_gpu],)


def requested_layers(
    wanted: GpuLayers, *, header: GgufHeader, plan: MemoryPlan, devices: Sequence[Device], batch_tokens: int
) -> int:
    """Return how many layers the engine is told to put on the devices.

    Whether they fit is the engine's to say, unless it is ``auto`` that asks.
    """
    if wanted == AUTO_LAYERS:
        free_bytes = sum(device.free_bytes for device in devices)
        return layers_that_fit(header, plan, free_bytes=free_bytes, batch_tokens=batch_tokens)
    return layers_of(header) if wanted == ALL_LAYERS else min(int(wanted), layers_of(header))


def fewer_layers(wanted: GpuLayers, tried: int, failure: NotEnoughMemory) -> int:
    """Return how many layers to try after the engine got no memory for so many: half of them, at last none.

    Raises ``NotEnoughMemory`` with another hint unless it is ``auto`` that asks, and ``failure`` itself where
    no layer was on a GPU.
    """
    if tried == 0:
        raise failure
    if wanted != AUTO_LAYERS:
        raise NotEnoughMemory(
            f"{failure.message} With n_gpu_layers = {wanted}, most likely the GPU has too little.",
            hint=f"Set n_gpu_layers to auto, or to fewer than {tried}, or choose a shorter context.",
        ) from failure
    return tried // 2


def fewer_layers_notice(offload: Offload, devices: Sequence[Device]) -> str:
    """Return what the user is to know when fewer layers are on a GPU than seemed to fit."""
    return (
        f"More layers seemed to fit into the free memory of {_names(devices)} than did:"
        f" {offload.offloaded} of {offload.layers} are on it."
    )


def layers_that_fit(header: GgufHeader, plan: MemoryPlan, *, free_bytes: int, batch_tokens: int) -> int:
    """Return the most layers that fit into so much memory of a device, with ``MARGIN`` to spare."""
    usable = free_bytes * (1 - MARGIN)
    counts = range(layers_of(header), 0, -1)
    return next((n for n in counts if bytes_on_device(header, plan, n, batch_tokens) <= usable), 0)


def bytes_on_device(header: GgufHeader, plan: MemoryPlan, layers: int, batch_tokens: int) -> int:
    """Return what so many layers take there, rather too much than too little; 0 for none.

    The first one that is counted is the output; the others are equal shares of the weights and of the cache.
    Input embeddings, which stay with the processor, are counted in.
    """
    if layers == 0:
        return 0
    output_values = header.vocabulary_size * header.embedding_length
    bytes_each = max(_WIDEST_OUTPUT_BYTES, header.tensor_bytes / max(1, header.parameters))
    output = min(header.tensor_bytes, int(output_values * bytes_each))
    share = (layers - 1) / header.layers
    working = plan.compute + batch_tokens * header.vocabulary_size * _LOGIT_BYTES
    return output + int((header.tensor_bytes - output + plan.kv_cache) * share) + working


def left_in_memory(
    plan: MemoryPlan, header: GgufHeader, layers: int, devices: Sequence[Device]
) -> MemoryPlan:
    """Return the plan for the machine's own memory, with so many layers elsewhere."""
    if not devices or any(device.name.startswith(_SHARED_MEMORY_NAMES) for device in devices):
        return plan
    left = 1 - min(layers, layers_of(header)) / layers_of(header)
    return replace(
        plan,
        weights=int(plan.weights * left),
        kv_cache=int(plan.kv_cache * left),
        kv_bytes_per_token=int(plan.kv_bytes_per_token * left),
    )


def require_devices(wanted: GpuLayers, devices: Sequence[Device], *, program: str) -> None:
    """Refuse, before anything is loaded, to run without the GPU that is required.

    Raises ``InvalidSetting`` when no layer is asked for, ``SystemLacks`` when the program sees no GPU.
    """
    if wanted == 0:
        raise InvalidSetting(
            "A GPU is required (require_gpu), but n_gpu_layers is 0: nothing would be put on it.",
            hint="Set n_gpu_layers to auto, to all, or to a number.",
        )
    if not devices:
        raise SystemLacks(f"A GPU is required (require_gpu), and {program} sees none.", hint=_HOW_TO_GET_ONE)


def require_offload(wanted: GpuLayers, offload: Offload) -> None:
    """Raise ``SystemLacks`` unless layers are on a GPU: any for ``auto``, otherwise those asked for."""
    if offload.offloaded == 0 or offload.offloaded < _expected(wanted, offload.layers):
        raise SystemLacks(
            f"A GPU is required (require_gpu), but only {offload.offloaded} of the model's"
            f" {offload.layers} layers are on one; n_gpu_layers asks for {wanted}.",
            hint="Free the GPU's memory, ask for fewer layers or less context, or set require_gpu = false.",
        )


def offload_notice(wanted: GpuLayers, offload: Offload, devices: Sequence[Device], *, program: str) -> str:
    """Return what the user is to know when less is on a GPU than was asked for; nothing if all is."""
    if wanted == AUTO_LAYERS:
        if devices and offload.offloaded == 0:
            return f"Not one layer fits into the free memory of {_names(devices)}: the processor does it all."
        return ""
    if offload.offloaded >= _expected(wanted, offload.layers):
        return ""
    if not devices and offload.offloaded == 0:
        return (
            f"n_gpu_layers asks for {wanted}, but {program} sees no GPU: the processor does it all."
            f" {_HOW_TO_GET_ONE}"
        )
    return f"n_gpu_layers asks for {wanted}: {offload.offloaded} of {offload.layers} layers are on a GPU."


_HOW_TO_GET_ONE: Final = (
    "`coding-assistant engine show` lists the engines and what they see;"
    " `coding-assistant engine build --gpu cuda` (or rocm, vulkan, metal) makes one that uses a GPU."
)


def _expected(wanted: GpuLayers, layers: int) -> int:
    if wanted == AUTO_LAYERS:
        return 0
    return layers if wanted == ALL_LAYERS else min(int(wanted), layers)


def _names(devices: Sequence[Device]) -> str:
    return ", ".join(device.name for device in devices)
