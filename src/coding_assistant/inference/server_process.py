"""One run of the engine's process, seen from its parent: start, watch, say why it ended, stop.

A native abort, an out-of-memory kill or a hang of llama.cpp ends the child and nothing else. Knows nothing
of what the server behind the address can do.
"""

import os
import re
import secrets
import signal
import sys
import threading
from collections import deque
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Final, Self, TextIO, TypeVar

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from coding_assistant.errors import (
    CodingAssistantError,
    DataDirectoryUnusable,
    EngineDied,
    EngineFailed,
    InvalidModel,
    ModelBroken,
    NotEnoughMemory,
    SystemLacks,
)
from coding_assistant.inference import native_server
from coding_assistant.inference.engine_programs import BUNDLED_PROGRAM, EngineProgram, engine_environment
from coding_assistant.inference.gpu import Offload, parse_offload
from coding_assistant.inference.server_protocol import ServerReady, ServerSettings

# ``-P`` keeps the working directory off the import path; see ``child_environment``.
_MODULE_COMMAND: Final = (sys.executable, "-P", "-m")
_BUNDLED_MODULE: Final = "coding_assistant.inference.llama_server"
_BINARY_MODULE: Final = "coding_assistant.inference.native_server"

# How long a thread of the engine spins for the others, in turns of a loop, before it sleeps. With OpenMP's
# own 300,000, other work on the machine makes them wait for a thread that has no core. Measured with two
# threads on two cores, of which one was busy: 0.4 tokens a second, and 12 with this. On idle cores 1,000
# turns are as fast as 50,000 (24.9 and 25.4 tokens a second), while no turns at all (15.6) are slower.
_SPINNING: Final = {"GOMP_SPINCOUNT": "1000"}

# Five gigabytes from a disk that reads 20 MB a second take four minutes.
START_SECONDS: Final = 600.0

# The child has nothing to save; it gets this long to end by itself, then it is killed.
STOP_SECONDS: Final = 0.5

# The end of a process is seen a moment after its sockets have closed.
_EXIT_SECONDS: Final = 2.0

_LONGEST_ANNOUNCEMENT: Final = 10_000
_API_KEY_BYTES: Final = 32

_MISSING_LIBRARY: Final = re.compile(r"(?P<library>lib[\w+-]+\.so[.\d]*): cannot open shared object file")
_UNKNOWN_KIND: Final = re.compile(r"unknown (?:model architecture|pre-tokenizer type)\b[^\n]*")
_NO_MEMORY: Final = re.compile(r"(?:failed|unable) to allocate|bad_alloc|Cannot allocate memory")
_UNKNOWN_OPTION: Final = re.compile(r"error: invalid argument: (?P<option>\S+)")
_LOAD_FAILURE: Final = re.compile(r"error loading model: (?P<reason>.+)")
# Before a message llama.cpp writes when, counted from its start, and how grave it is; not before a message's
# further lines, nor before what it says as it dies.
_GRAVITY: Final = re.compile(r"(?:\d+\.\d\d\.\d{3}\.\d{3} )?(?P<level>[EWID]) ")
_DYING: Final = re.compile(r"assert|abort|terminat|error|exception|fail|cannot|unable", re.IGNORECASE)
# Long enough for a line that is written already.
_OFFLOAD_SECONDS: Final = 0.5
_OWNER_ONLY: Final = 0o600
_LIBRARY_PACKAGES: Final = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6"}


class EngineLog:
    """What the child writes to standard error: bounded in a file, and its last lines in memory.

    Only warnings and errors are kept: the rest is chatter, of which one line is remembered, on GPUs.
    Read by a thread, so that the child never waits for an event loop that is busy or gone.
    Raises ``DataDirectoryUnusable`` when the file cannot be opened.
    """

    MOST_BYTES: Final = 1_000_000
    TAIL_LINES: Final = 20

    def __init__(self, file: Path | None) -> None:
        self._tail: deque[str] = deque(maxlen=self.TAIL_LINES)
        self._offload: Offload | None = None
        self._offload_told = threading.Event()
        self._is_chatter = False
        target = file or Path(os.devnull)
        try:
            opened = _opened_for_owner(target)
        except OSError as error:
            raise DataDirectoryUnusable(
                f"The engine's log {target} cannot be written: {error.strerror}."
            ) from error
        read_end, self.write_end = os.pipe()
        self._thread = threading.Thread(target=self._follow, args=(read_end, opened), daemon=True)
        self._thread.start()

    def finished(self) -> str:
        """Return the last lines, once the child has ended and everything that it wrote is read."""
        # Somebody else may hold the other end open; nothing waits long for that.
        self._thread.join(timeout=1.0)
        return "\n".join(self._tail)

    def offload(self) -> Offload | None:
        """Return what the engine says that it put on GPUs; None if it has said nothing until now."""
        self._offload_told.wait(_OFFLOAD_SECONDS)
        return self._offload

    def _is_worth_keeping(self, line: str) -> bool:
        if gravity := _GRAVITY.match(line):
            self._is_chatter = gravity["level"] in "ID"
            return not self._is_chatter
        return not self._is_chatter or bool(_DYING.search(line))

    def _follow(self, read_end: int, file: TextIO) -> None:
        # A full disk costs the log, never the engine.
        with os.fdopen(read_end, encoding="utf-8", errors="replace") as lines, suppress(OSError), file:
            for line in lines:
                if offload := parse_offload(line):
                    self._offload = offload
                    self._offload_told.set()
                if not self._is_worth_keeping(line):
                    continue
                self._tail.append(line.rstrip())
                with suppress(OSError):
                    if file.tell() > self.MOST_BYTES:
                        file.truncate(0)
                    file.write(line)
                    file.flush()


def _opened_for_owner(file: Path) -> TextIO:
    """Open a log to be appended to, which nobody else may read: it may quote what the model was told."""
    opener = partial(os.open, mode=_OWNER_ONLY)
    opened = open(file, "a", encoding="utf-8", opener=opener)  # noqa: SIM115  -- it stays open
    if file.is_file():  # made by an older version, it may be open to others
        with suppress(OSError):
            file.chmod(_OWNER_ONLY)
    return opened


class ServerProcess:
    """A server that is running, or was. Made by ``start``; ``stop`` leaves nothing behind."""

    def __init__(self, process: Process, log: EngineLog, program: EngineProgram) -> None:
        self._process = process
        self._program = program
        self.log = log
        self.api_key = secrets.token_hex(_API_KEY_BYTES)
        self.url = ""
        self._model_pid = process.pid

    @classmethod
    async def start(
        cls,
        settings: ServerSettings,
        *,
        program: EngineProgram = BUNDLED_PROGRAM,
        log_file: Path | None = None,
        start_seconds: float = START_SECONDS,
    ) -> Self:
        """Start the child and wait until the program has loaded the model in it, or in a child of its own.

        Raises ``ModelBroken``, ``NotEnoughMemory``, ``SystemLacks``, ``EngineDied`` or ``EngineFailed`` with
        the reason. When it fails or is cancelled, no process is left. To be called in the thread of the
        event loop: Linux ends the child together with the thread that started it.
        """
        log = EngineLog(log_file)
        try:
            # A cancellation in the middle would leave a child that nobody knows.
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    (*_MODULE_COMMAND, _BINARY_MODULE if program.file else _BUNDLED_MODULE),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=log.write_end,
                    env={**_SPINNING, **engine_environment(os.environ)},
                )
        finally:
            os.close(log.write_end)
        server = cls(process, log, program)
        try:
            await server.hand_over(settings, start_seconds)
        except BaseException:  # also a cancellation: a child that nobody knows must not live on
            await server.stop()
            raise
        return server

    @property
    def pid(self) -> int:
        """The process that holds the model: the child, or where a binary runs the model, the child's own."""
        return self._model_pid

    @property
    def is_running(self) -> bool:
        """Whether the child has not ended, as far as is known."""
        return self._process.returncode is None

    async def stop(self) -> None:
        """End the child and give its memory back; at once when it has ended."""
        with anyio.CancelScope(shield=True):
            if self.is_running:
                self._process.terminate()
                with anyio.move_on_after(STOP_SECONDS):
                    await self._process.wait()
            if self.is_running:
                self._process.kill()
            await self._process.wait()
            await self._process.aclose()

    async def reason_it_ended(self) -> CodingAssistantError:
        """Return the error to raise for a child that has ended or does not answer any more.

        One that still runs is ended first: a server that drops its connections has no future.
        """
        with anyio.move_on_after(_EXIT_SECONDS):
            await self._process.wait()
        exit_code = self._process.returncode
        await self.stop()
        if exit_code is None:
            return EngineDied(
                "The engine stopped answering and was ended.", hint="Ask again: it is started anew."
            )
        return self._explain(exit_code)

    async def hand_over(self, settings: ServerSettings, start_seconds: float) -> None:
        """Send the settings and the key, and wait for the address."""
        try:
            with anyio.fail_after(start_seconds):
                told = replace(settings, api_key=self.api_key, program_file=str(self._program.file or ""))
                await _piped(self._process.stdin).send(told.to_line())
                lines = BufferedByteReceiveStream(_piped(self._process.stdout))
                line = await lines.receive_until(b"\n", _LONGEST_ANNOUNCEMENT)
            ready = ServerReady.from_line(line)
            self.url, self._model_pid = ready.url, ready.process_id
        except TimeoutError:
            raise EngineFailed(
                f"The model was not loaded after {start_seconds:.0f} seconds.",
                hint="A slow disk or too little memory can be the cause; a smaller model loads faster.",
            ) from None
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            raise await self.reason_it_ended() from None
        except (anyio.DelimiterNotFound, ValueError, TypeError) as error:
            raise EngineFailed("The engine's process announced something that is no address.") from error

    def _explain(self, exit_code: int) -> CodingAssistantError:
        tail = self.log.finished()
        if unusable := _explain_program(self._program, exit_code, tail):
            return unusable
        if missing := _MISSING_LIBRARY.search(tail):
            library = missing["library"]
            package = _LIBRARY_PACKAGES.get(library, library)
            return SystemLacks(
                f"The engine needs the system library {library}, which is not installed.",
                hint=f"Debian and Ubuntu: apt-get install {package}",
            )
        if _NO_MEMORY.search(tail):
            return NotEnoughMemory(
                "The engine did not get the memory that it asked for.",
                hint="Choose a smaller model or a shorter context, or close other programs.",
            )
        if unknown := _UNKNOWN_KIND.search(tail):
            return InvalidModel(
                f"The engine cannot run this kind of model: {unknown[0]}.",
                hint="Choose another model: `coding-assistant models list` shows those known to run.",
            )
        if failure := _LOAD_FAILURE.search(tail):
            return ModelBroken(
                f"The engine cannot load the model: {failure['reason']}.",
                hint="Get the model again; `coding-assistant models check` tells whether it is whole.",
            )
        return _explain_exit(exit_code, tail)


_Stream = TypeVar("_Stream")


def _piped(stream: _Stream | None) -> _Stream:
    if stream is None:
        raise TypeError("The child was started without pipes.")
    return stream


def _explain_program(program: EngineProgram, exit_code: int, tail: str) -> SystemLacks | None:
    """Return what is wrong with a binary whatever the model; None if it is not that."""
    if program.file is None:
        return None
    if unknown := _UNKNOWN_OPTION.search(tail):
        fault = f"does not know the option {unknown['option']}: it is older or newer than what is needed here"
    elif native_server.OPEN_TO_ALL in tail:
        fault = "would answer anybody on this machine, with the key or without"
    elif exit_code == -signal.SIGILL:
        fault = "was built for a processor with more instructions than this one has"
    else:
        return None
    return SystemLacks(
        f"{program.title[:1].upper()}{program.title[1:]} {fault}.",
        hint='`coding-assistant engine build` makes one for this machine; llama_server = "bundled" does'
        " without.",
    )


def _explain_exit(exit_code: int, tail: str) -> CodingAssistantError:
    if exit_code == -signal.SIGILL:
        return SystemLacks(
            "This machine's processor lacks instructions that the engine is built with (AVX2, FMA).",
            hint="Processors since about 2013 have them; a virtual machine may have to pass them on.",
        )
    if exit_code == -signal.SIGKILL:
        return EngineDied(
            "The engine was killed, most likely because memory ran out.",
            hint="Choose a smaller model or a shorter context, or close other programs.",
        )
    if exit_code in (0, -signal.SIGTERM):
        return EngineDied("The engine was stopped.", hint="Ask again: it is started anew.")
    how = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
    return EngineDied(
        f"The engine ended unexpectedly ({how}).",
        hint=f"Its last words:\n{tail}" if tail else "It left no message.",
    )
