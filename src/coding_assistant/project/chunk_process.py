"""Chunks files in a child process, so that a file can at worst spoil its own chunks.

Parsers are written in C and read strangers' files: they crash, hang and eat memory. The child is killed
for any of it and started again; the file gets line windows, and ``failures`` names it. Where no child can
be started, or too much time is lost, the files that are left get line windows too: ``untried`` names them.
The two talk in lines of JSON over pipes. The child lives no longer than its parent: it ends when its input
does, and an alarm of its own ends it in the middle of a file.
"""

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import astuple
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

from coding_assistant.child_process import child_environment
from coding_assistant.domain import Chunk, ChunkKind, ContextLine, SourceFile
from coding_assistant.project.chunk import TARGET_CHARACTERS, chunk, chunk_by_lines, split_lines

# A megabyte of ordinary Python takes 0.3 s, of nothing but brackets 1.3 s. Error recovery in a hostile file
# can take half an hour.
DEADLINE_SECONDS = 5.0
# The interpreter with all grammars has 0.06 GB of address space, with the tree of a dense megabyte 0.24 GB.
# Linux alone can be told: macOS refuses the limit, and there the deadline has to do.
MEMORY_BYTES = 1 << 30
# So many files are on their way at once: the child is never idle, and little is sent again when it dies.
_FILES_IN_FLIGHT = 4
# What all failures together may cost: six files that hang, or a hundred that crash (0.2 s each for another
# child). A project that was made to hang us has more, and somebody waits for an answer.
PATIENCE_SECONDS = 30.0
# Starting takes 0.2 s, on a machine with ten times too much to do a few seconds; no file is blamed for it.
_START_SECONDS = 30.0
# One child may be killed before it is ready by chance; so many in a row are not.
_STARTS_IN_A_ROW = 3
_READ_BYTES = 1 << 16
_READY = b"ready"
_GOODBYE_SECONDS = 1.0


class ChunkProcess:
    """A chunker that survives every file. Starts its child at the first file; for one thread."""

    def __init__(
        self,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        target_characters: int = TARGET_CHARACTERS,
        patience_seconds: float = PATIENCE_SECONDS,
        niceness: int = 0,
    ) -> None:
        self._deadline_seconds = deadline_seconds
        self._arguments = tuple(map(str, (deadline_seconds, memory_bytes, target_characters, niceness)))
        self._target_characters = target_characters
        self._child: _Child | None = None
        self._failures: list[PurePosixPath] = []
        self._untried: list[PurePosixPath] = []
        self._seconds_left = patience_seconds
        self._failed_starts = 0
        self._has_given_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def failures(self) -> tuple[PurePosixPath, ...]:
        """The files that got line windows because the child failed at them, in order."""
        return tuple(self._failures)

    @property
    def untried(self) -> tuple[PurePosixPath, ...]:
        """The files that got line windows untried, in order; another time they may do better."""
        return tuple(self._untried)

    @property
    def process_id(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.process_id if self._child is not None else None

    def close(self) -> None:
        """End the child. The next file starts another."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def chunk(self, file: SourceFile) -> list[Chunk]:
        """Return the file's chunks, as ``chunk.chunk`` does; line windows if that fails."""
        return next(chunks for _, chunks in self.chunk_many([file]))

    def chunk_many(
        self, files: Iterable[SourceFile]
    ) -> Generator[tuple[SourceFile, list[Chunk]], None, None]:
        """Yield each file with its chunks, in order; the child works ahead of what was taken.

        Closing the generator early is fine.
        """
        waiting: deque[SourceFile] = deque()
        try:
            for file in files:
                waiting.append(file)
                self._send(file)
                if len(waiting) > _FILES_IN_FLIGHT:
                    yield self._receive(waiting)
            while waiting:
                yield self._receive(waiting)
        finally:
            if waiting:  # left early: answers that nobody takes must not meet the next caller
                self._kill()

    def _send(self, file: SourceFile) -> None:
        if self._has_given_up:
            return
        try:
            self._child = self._child or _Child(self._arguments)
        except OSError:  # no more processes, or no memory for one
            self._has_given_up = True
        else:
            self._child.send(_request(file))

    def _receive(self, waiting: deque[SourceFile]) -> tuple[SourceFile, list[Chunk]]:
        is_ready = self._await_child(waiting)
        file = waiting.popleft()
        if self._child is not None and is_ready:
            began = time.monotonic()
            try:
                return file, _chunks(file, self._child.receive(self._deadline_seconds))
            except _ChildFailed:
                self._failures.append(file.path)
                self._begin_again(waiting, lost_seconds=time.monotonic() - began)
        else:
            self._untried.append(file.path)
        return file, chunk_by_lines(file, target_characters=self._target_characters)

    def _await_child(self, waiting: deque[SourceFile]) -> bool:
        """Return whether there is a child that is ready for the files that were sent."""
        while self._child is not None:
            began = time.monotonic()
            try:
                self._child.await_ready()
            except _ChildFailed:
                self._failed_starts += 1
                self._begin_again(waiting, lost_seconds=time.monotonic() - began)
            else:
                self._failed_starts = 0
                self._seconds_left -= time.monotonic() - began
                return True
        return False

    def _begin_again(self, waiting: Iterable[SourceFile], *, lost_seconds: float) -> None:
        """Send what is waiting to another child, unless that has proved to be in vain or too slow."""
        self._kill()
        self._seconds_left -= lost_seconds
        if self._seconds_left < 0 or self._failed_starts >= _STARTS_IN_A_ROW:
            self._has_given_up = True
        for file in waiting:
            self._send(file)

    def _kill(self) -> None:
        """End the child at once, whatever it is stuck in."""
        if self._child is not None:
            self._child.kill()
            self._child = None


class _ChildFailed(Exception):
    """The child died, said nonsense, or did not answer in time."""


class _Child:
    """The parent's end of the pipes. Neither writing nor reading ever blocks past a deadline."""

    def __init__(self, arguments: Iterable[str]) -> None:
        # -P: or a project that has a json.py, with the user in its folder, would be imported.
        command = [sys.executable, "-P", "-m", __name__, *arguments]
        self._process = subprocess.Popen(  # noqa: S603  -- our own module, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=child_environment(os.environ),
        )
        assert self._process.stdin is not None  # noqa: S101  -- PIPE was asked for; mypy cannot know
        assert self._process.stdout is not None  # noqa: S101  -- likewise
        self._input = self._process.stdin
        self._output = self._process.stdout
        os.set_blocking(self._input.fileno(), False)
        os.set_blocking(self._output.fileno(), False)
        self._unsent = bytearray()
        self._received = bytearray()
        self._is_ready = False

    @property
    def process_id(self) -> int:
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Hand over what the pipe takes now; the rest goes while an answer is awaited."""
        self._unsent += line
        self._write()

    def await_ready(self) -> None:
        """Wait until the child has shown that it can work."""
        if not self._is_ready and self._line(_START_SECONDS) != _READY:
            raise _ChildFailed("no greeting but noise")
        self._is_ready = True

    def receive(self, deadline_seconds: float) -> bytes:
        """Return the next answer of a child that is ready; it has so long for it."""
        return self._line(deadline_seconds)

    def _line(self, deadline_seconds: float) -> bytes:
        ends_at = time.monotonic() + deadline_seconds
        while b"\n" not in self._received:
            self._exchange(ends_at - time.monotonic())
        line, _, self._received = self._received.partition(b"\n")
        return bytes(line)

    def _exchange(self, patience_seconds: float) -> None:
        """Wait until a pipe takes or gives something, and let it."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            if self._unsent:
                selector.register(self._input, selectors.EVENT_WRITE)
            events = selector.select(max(patience_seconds, 0))
        if not events:
            raise _ChildFailed("no answer in time")
        for key, _ in events:
            if key.fileobj is self._input:
                self._write()
            else:
                self._read()

    def _write(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._input.fileno(), self._unsent)]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it died; what it has said before is still to be read
            self._unsent.clear()

    def _read(self) -> None:
        data = os.read(self._output.fileno(), _READ_BYTES)
        if not data:
            raise _ChildFailed("the child died")
        self._received += data

    def close(self) -> None:
        """Let the child end by itself, which it does when its input ends; kill it if it does not."""
        self._input.close()
        try:
            self._process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._output.close()
        self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()


# --- What is said over the pipes ----------------------------------------------------------------


def _request(file: SourceFile) -> bytes:
    return json.dumps([str(file.path), file.language, file.text]).encode() + b"\n"


def _answer(chunks: Iterable[Chunk]) -> bytes:
    """Return the chunks without their text, which the parent has."""
    rows = [
        (each.start_line, each.end_line, each.kind, each.symbol, list(map(astuple, each.context)))
        for each in chunks
    ]
    return json.dumps(rows).encode()


def _chunks(file: SourceFile, answer: bytes) -> list[Chunk]:
    try:
        rows = [
            (start, end, ChunkKind(kind), symbol, tuple(ContextLine(line, text) for line, text in context))
            for start, end, kind, symbol, context in json.loads(answer)
        ]
    except (ValueError, TypeError) as error:
        raise _ChildFailed("no answer but noise") from error
    lines = split_lines(file.text)
    return [
        Chunk(file.path, start, end, "\n".join(lines[start - 1 : end]), file.language, symbol, kind, context)
        for start, end, kind, symbol, context in rows
    ]


# Whoever cannot cut this is not to blame the files.
_PROOF = SourceFile(PurePosixPath("proof.py"), "def proof():\n    pass\n", "", "python")


# --- The child --------------------------------------------------------------------------------------


def main(deadline_seconds: float, memory_bytes: int, target_characters: int, niceness: int = 0) -> None:
    """Answer requests until the input ends. Any failure is this process's end: the parent sees that."""
    os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside the parser
    if sys.platform == "linux":  # elsewhere setting it is an error
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the code
    chunk(_PROOF)
    _say(_READY)
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, deadline_seconds)
        path, language, text = json.loads(line)
        file = SourceFile(PurePosixPath(path), text, "", language)
        answer = _answer(chunk(file, target_characters=target_characters))
        signal.setitimer(signal.ITIMER_REAL, 0)  # waiting for a reader is no hang
        _say(answer)


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
