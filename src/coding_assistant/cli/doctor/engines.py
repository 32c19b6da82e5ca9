"""The program that runs models: whether it works, what it leaves unused, and the GPUs that it sees."""

import platform
import subprocess
import sys
from pathlib import Path

from coding_assistant.cli.doctor.findings import Check, Fact, Finding, Verdict
from coding_assistant.cli.rendering import count
from coding_assistant.domain import AUTO_LAYERS, ModelSpec
from coding_assistant.inference import gpu
from coding_assistant.inference.engine_programs import BUNDLED, NATIVE, Choice
from coding_assistant.inference.memory import size_in_words
from coding_assistant.inference.processor import this_processor
from coding_assistant.settings import Settings

_IMPORT_SECONDS = 60.0
_IMPORT = (sys.executable, "-P", "-c", "import xllamacpp")

# Measured with Qwen2.5-Coder-1.5B on two cores with AVX-512, VNNI and BF16: 152 tokens a second for 81.
_GAIN_WITH_AVX512 = (
    "`coding-assistant engine build` makes an engine for this processor that reads prompts about 1.9 times as"
    " fast (measured on a machine with AVX-512); it takes six to thirty minutes, once."
)
_GAIN_UNKNOWN = (
    "`coding-assistant engine build` makes an engine for this processor that uses them. How much faster it is"
    " here was not measured: `coding-assistant engine show --measure` tells."
)

# What the drivers of the two vendors whose devices have names of their own put there.
_GPU_DEVICES = {"dev/nvidiactl": ("an NVIDIA", "cuda"), "dev/kfd": ("an AMD", "rocm")}


def engine(choice: Choice, *, root: Path = Path("/")) -> Finding:
    """Tell which program runs models, whether it works, and what of the processor it was built without."""
    program, here = choice.program, this_processor(root)
    unused = here.left_unused(program.features) if program.features else ()
    facts: dict[str, Fact] = {
        "kind": program.kind,
        "file": None if program.file is None else str(program.file),
        "version": program.version,
        "features": list(program.features),
        "left_unused": list(unused),
    }
    if program.fault:
        return Finding(Check.ENGINE, Verdict.FAIL, *_why_it_fails(program.fault), facts)
    reason = choice.reason.partition(";")[0]  # what to do about it is the advice
    detail = f"{program.kind}, llama.cpp {program.version}: {reason}"
    if choice.warning:
        return Finding(Check.ENGINE, Verdict.WARN, f"{detail}. {choice.warning}", choice.advice, facts)
    if not unused:
        used = "; it uses what this processor has" if program.features and here.features else ""
        return Finding(Check.ENGINE, Verdict.OK, detail + used, facts=facts)
    detail += f"; it leaves unused {' '.join(unused)} of this processor"
    return Finding(Check.ENGINE, Verdict.TIP, detail, _what_is_gained(program.kind, unused), facts)


def graphics(choice: Choice, spec: ModelSpec, settings: Settings, *, root: Path = Path("/")) -> Finding:
    """Tell which GPUs the engine sees and how many layers are asked for. Raises what a load would raise."""
    wanted, seen = spec.n_gpu_layers, choice.program.devices
    used = gpu.used_devices(seen, settings.main_gpu)
    if settings.require_gpu:
        gpu.require_devices(wanted, seen, program=choice.program.title)
    facts: dict[str, Fact] = {"devices": [device.name for device in seen], "layers_asked_for": str(wanted)}
    if not seen:
        return _without_gpu(choice, spec, facts, root=root)
    names = ", ".join(
        f"{device.name} ({size_in_words(device.free_bytes)} free of {size_in_words(device.total_bytes)})"
        for device in seen
    )
    if wanted == 0:
        advice = f'Set n_gpu_layers = "{AUTO_LAYERS}" to use it.'
        return Finding(Check.GPU, Verdict.TIP, f"{names}; not used: n_gpu_layers is 0", advice, facts)
    chosen = f", on {used[0].name} alone" if len(used) < len(seen) else ""
    detail = f"{names}; {_asked_for(wanted)}{chosen}; `doctor --full` tells what is really there"
    return Finding(Check.GPU, Verdict.OK, detail, facts=facts)


def _without_gpu(choice: Choice, spec: ModelSpec, facts: dict[str, Fact], *, root: Path) -> Finding:
    wanted, title = spec.n_gpu_layers, choice.program.title
    has_driver = next((found for place, found in _GPU_DEVICES.items() if (root / place).exists()), None)
    if has_driver is not None:
        vendor, kind = has_driver
        verdict = Verdict.TIP if wanted == 0 else Verdict.WARN
        detail = f"the machine has {vendor} GPU, and {title} sees none"
        return Finding(Check.GPU, verdict, detail, f"`coding-assistant engine build --gpu {kind}`", facts)
    if wanted in (0, AUTO_LAYERS):
        return Finding(Check.GPU, Verdict.OK, "none seen: the processor does it all", facts=facts)
    notice = gpu.offload_notice(wanted, gpu.Offload(0, 1), (), program=title)
    detail, _, advice = notice.partition(". ")
    return Finding(Check.GPU, Verdict.WARN, detail, advice, facts)


def _asked_for(wanted: int | str) -> str:
    return f"{count(wanted, 'layer')} asked for" if isinstance(wanted, int) else f"n_gpu_layers is {wanted}"


def _what_is_gained(kind: str, unused: tuple[str, ...]) -> str:
    if kind == NATIVE:
        return "It was built without them: `coding-assistant engine build --clean` builds it anew."
    if kind == BUNDLED and any(name.startswith("AVX512") for name in unused):
        return _GAIN_WITH_AVX512
    return _GAIN_UNKNOWN


def _why_it_fails(fault: str) -> tuple[str, str]:
    """Return what keeps the bundled library from loading, and what to do: the fault tells but how it ended.

    It is tried in a process of its own: where it does not fit the machine it may abort.
    """
    try:
        tried = subprocess.run(  # noqa: S603  -- our own interpreter and a constant
            _IMPORT, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "loading it takes over a minute", "Try again with less running."
    complaint = next(reversed(tried.stderr.strip().splitlines()), fault)
    if "libgomp" in complaint:
        return complaint, "Install libgomp. Debian and Ubuntu: `apt-get install libgomp1`"
    if "No module named" in complaint:
        return "xllamacpp is not installed", "Install coding-assistant again."
    return complaint, f"Is this machine ({platform.machine()}) supported? It needs AVX2 and FMA, or NEON."
