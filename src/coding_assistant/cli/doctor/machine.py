"""The machine: versions, processor, memory and disk, and what is left of them for a model.

``root`` is where the kernel's ``proc``, ``sys`` and ``dev`` are found.
"""

import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import psutil

from coding_assistant.cli.doctor.findings import Check, Fact, Finding, Verdict
from coding_assistant.cli.rendering import count
from coding_assistant.data_directory import DataDirectory
from coding_assistant.domain import MemoryPlan
from coding_assistant.errors import NotEnoughMemory
from coding_assistant.inference.control_groups import memory_left, processor_quota
from coding_assistant.inference.llama import default_threads
from coding_assistant.inference.memory import available_bytes, plan_in_words, settled, size_in_words
from coding_assistant.inference.processor import this_processor
from coding_assistant.settings import Settings

_LITTLE_MEMORY = 3_000_000_000
"""The starter model with its context and the program itself take about 2 GB."""
_LITTLE_DISK = 2_000_000_000
"""The starter model takes 1.1 GB, and twice that while it is put together from its parts."""
_NOTEWORTHY_BYTES = 1_000_000
_NARROW = 0.9
"""Of the available memory: above it, whatever else is started takes what the model needs."""
_MUCH_SWAP = 0.05
"""Of the machine's memory: with so much of it swapped out, somebody is short of it."""


def versions() -> Finding:
    """Tell what is installed; which llama.cpp it is, the engine tells."""
    product, python = version("coding-assistant"), platform.python_version()
    return Finding(
        Check.VERSIONS,
        Verdict.OK,
        f"coding-assistant {product}, Python {python}, SQLite {sqlite3.sqlite_version}",
        facts={"coding_assistant": product, "python": python, "sqlite": sqlite3.sqlite_version},
    )


def system() -> Finding:
    """Tell on what it runs."""
    return Finding(
        Check.SYSTEM,
        Verdict.OK,
        f"{platform.platform()}; {sys.executable}",
        facts={"platform": platform.platform(), "executable": sys.executable},
    )


def processor(n_threads: int | None, *, root: Path = Path("/")) -> Finding:
    """Compare the threads that are set, if any are, with the cores that this process may use."""
    here, usable, quota = this_processor(root), default_threads(root), processor_quota(root)
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    threads = n_threads or usable
    features = list(here.left_unused(()))
    limit = "" if quota is None else f", a quota of {quota:g} (control group)"
    detail = f"{here.name}, {count(cores, 'core')}{limit}, {count(threads, 'thread')} for the model"
    facts: dict[str, Fact] = {
        "name": here.name,
        "cores": cores,
        "quota": quota,
        "threads": threads,
        "features": features,
    }
    if features:
        detail += f"; {' '.join(features)}"
    if threads > usable:
        advice = f"Leave out n_threads, or set it to {usable}: more threads than cores halt each other."
        return Finding(Check.PROCESSOR, Verdict.WARN, detail, advice, facts)
    if usable < 2:  # noqa: PLR2004  -- one core reads and writes at half the measured speed
        return Finding(Check.PROCESSOR, Verdict.WARN, detail, "One core: answers will be slow.", facts)
    return Finding(Check.PROCESSOR, Verdict.OK, detail, facts=facts)


def free_memory(*, root: Path = Path("/")) -> Finding:
    """Tell how much memory there is, where no model is known to plan for."""
    available = available_bytes(root)
    little = available < _LITTLE_MEMORY
    return Finding(
        Check.MEMORY,
        Verdict.WARN if little else Verdict.OK,
        f"{size_in_words(available)} available{_surroundings(root)}",
        "Close other programs, or choose a smaller model: `coding-assistant models list`" if little else "",
        {"available_bytes": available},
    )


def planned_memory(plan: MemoryPlan, *, is_held: bool, root: Path = Path("/")) -> Finding:
    """Compare a model's plan with what there is. ``is_held``: a server of ours may have loaded it already."""
    plan = replace(plan, available=available_bytes(root))
    try:
        plan = settled(plan)
    except NotEnoughMemory as error:
        facts = _plan_facts(plan)
        if is_held:
            advice = "The running server may have the model in memory already, and then this is no trouble."
            return Finding(Check.MEMORY, Verdict.WARN, error.message, advice, facts)
        return Finding(Check.MEMORY, Verdict.FAIL, error.message, error.hint, facts)
    spare = size_in_words(plan.available - plan.needed)
    detail = f"fits, {spare} to spare: {plan_in_words(plan)}{_surroundings(root)}"
    if plan.needed > _NARROW * plan.available:
        advice = 'Close other programs, or set context_tokens = "auto", which leaves a tenth of it free.'
        return Finding(Check.MEMORY, Verdict.WARN, detail, advice, _plan_facts(plan))
    return Finding(Check.MEMORY, Verdict.OK, detail, facts=_plan_facts(plan))


def disk(settings: Settings) -> Finding:
    """Tell what the product takes on the disk and what is free where it may take more."""
    directory = DataDirectory(settings.home)
    models, indexes = _bytes_in(settings.models), _bytes_in(directory.indexes)
    snapshots, allowed = _bytes_in(directory.snapshots), settings.snapshot_megabytes * 1_000_000
    free = {place: shutil.disk_usage(place).free for place in _distinct(settings.home, settings.models)}
    least = min(free.values())
    places = " and ".join(f"{size_in_words(size)} free at {place}" for place, size in free.items())
    taken = {"models": models, "indexes": indexes, f"snapshots (at most {size_in_words(allowed)})": snapshots}
    told = ", ".join(
        f"{what} {size_in_words(size)}" for what, size in taken.items() if size >= _NOTEWORTHY_BYTES
    )
    detail = f"{places}; {told or 'next to nothing taken'}"
    facts: dict[str, Fact] = {
        "free_bytes": least,
        "models_bytes": models,
        "indexes_bytes": indexes,
        "snapshots_bytes": snapshots,
    }
    if least < _LITTLE_DISK:
        advice = "A model may not fit: free some space, or set models_folder to a folder on another disk."
        return Finding(Check.DISK, Verdict.WARN, detail, advice, facts)
    return Finding(Check.DISK, Verdict.OK, detail, facts=facts)


def _plan_facts(plan: MemoryPlan) -> dict[str, Fact]:
    return {
        "available_bytes": plan.available,
        "needed_bytes": plan.needed,
        "context_tokens": plan.context_tokens,
        "slots": plan.slots,
        "fits": plan.fits,
    }


def _surroundings(root: Path) -> str:
    """Return what else there is to know: the machine's memory, a limit below it, what is swapped out."""
    machine, swapped, left = psutil.virtual_memory(), psutil.swap_memory().used, memory_left(root)
    told = f"; the machine has {size_in_words(machine.total)}"
    if left is not None and left < machine.available:
        told += ", a control group (a container, most likely) allows less"
    if swapped > _MUCH_SWAP * machine.total:
        told += f", {size_in_words(swapped)} are swapped out"
    return told


def _nearest(folder: Path) -> Path:
    """Return the folder, or the one above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _distinct(*folders: Path) -> Iterator[Path]:
    """Yield one folder for each disk that they are on."""
    seen = set()
    for folder in folders:
        place = _nearest(folder)
        device = place.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield place


def _bytes_in(folder: Path) -> int:
    """Return what the files below a folder take; a link to a file elsewhere takes next to nothing."""
    size = 0
    for above, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a running server makes and deletes files
                size += (Path(above) / name).lstat().st_size
    return size
