"""The engine's process where a ``llama-server`` binary runs the model: its guardian, and how it is called.

Run as ``python -m coding_assistant.inference.native_server`` by ``server_process``, whose language it speaks:
settings in, an address out, and the end with the end of standard input. The binary knows nothing of that: it
listens on loopback, for who has the key, and ends with this process. Standard library only, for its memory
comes on top of the model's.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Final

from coding_assistant.inference import engine_child
from coding_assistant.inference.server_protocol import (
    MOST_GUESSED_TOKENS,
    SAME_TOKENS,
    ServerReady,
    ServerSettings,
)

# From this level on the server says where it listens, and from the next what it has put on a GPU. Neither
# writes prompts; of what it says only warnings and errors are kept by the parent.
_TELLS_ITS_ADDRESS: Final = 3
_TELLS_OF_LAYERS: Final = 4

# Without a word on its input, which is a pipe, it waits for the end of that, and ends itself with all others.
_GROUP_LEADER: Final = ("/bin/sh", "-c", "read -r _; kill -s KILL 0")

_HOST: Final = "127.0.0.1"
_PORT_IS_TAKEN: Final = b"couldn't bind HTTP server socket"
_PORTS_TRIED: Final = 3

_HEALTH_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05

OPEN_TO_ALL: Final = "E native_server: the server answers requests without the key"
"""What the log says of a binary that does not keep strangers out; it is ended at once."""


def main() -> None:
    """Run the server until the parent closes standard input or ends."""
    settings = ServerSettings.from_line(sys.stdin.buffer.readline())
    # A death that it cannot act on would leave behind what a wrapper script has started.
    engine_child.settle_in(settings.niceness, end_signal=signal.SIGTERM)
    Guardian(settings).run()


class Guardian:
    """Starts the binary, tells the parent where it answers, and ends as it ends."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._is_stopping = False
        self._server: _Server | None = None
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        threading.Thread(target=self._stop_at_end_of_input, daemon=True).start()

    def run(self) -> None:
        """Serve, on another port if the first was taken meanwhile, and end as the binary does."""
        for _ in range(_PORTS_TRIED):
            self._server = server = _Server(self._settings)
            if self._is_stopping:
                server.kill()
            if server.is_ready():
                os.write(sys.stdout.fileno(), ServerReady(server.url, process_id=server.pid).to_line())
            exit_code = server.ended()
            if self._is_stopping or not server.found_port_taken:
                break
        self._end_like(exit_code)

    def _end_like(self, exit_code: int) -> None:
        """End in the same way: the parent explains it."""
        if self._is_stopping:
            os._exit(0)
        if exit_code < 0:
            if exit_code != -signal.SIGKILL:  # that one has no other way than its own
                signal.signal(-exit_code, signal.SIG_DFL)
            os.kill(os.getpid(), -exit_code)
        os._exit(exit_code)

    def _stop_at_end_of_input(self) -> None:
        # Unbuffered: a thread inside of a buffer's lock would abort the interpreter as it exits.
        while os.read(sys.stdin.fileno(), 1):
            pass
        self._stop()

    def _stop(self) -> None:
        # There is nothing to save, and on request the server would finish the batch at work.
        self._is_stopping = True
        if self._server is not None:
            self._server.kill()


class _Server:
    """One run of the binary, on one port."""

    def __init__(self, settings: ServerSettings) -> None:
        self._port = _free_port()
        self.url = f"http://{_HOST}:{self._port}"
        self.found_port_taken = False
        self._listens: SimpleQueue[bool] = SimpleQueue()
        self._group = _Group()
        self._process = _started(settings, self._port, self._group.id)
        self._log = threading.Thread(target=self._pass_log_on, args=(_required(self._process.stdout),))
        self._log.start()

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Wait until the model is loaded; False when the binary has ended, or had to be for its openness."""
        if not self._listens.get() or not self._is_healthy():
            return False
        if self._status("/slots") != HTTPStatus.UNAUTHORIZED:
            print(OPEN_TO_ALL, file=sys.stderr)  # noqa: T201  -- the log is the standard error stream
            self.kill()
            return False
        return True

    def ended(self) -> int:
        """Wait for the end of the binary and of all that it has started; return its exit code."""
        exit_code = self._process.wait()
        self._group.end()
        self._log.join()
        return exit_code

    def kill(self) -> None:
        """End the binary, and where it is a wrapper script what that has started."""
        self._group.kill()

    def _pass_log_on(self, lines: IO[bytes]) -> None:
        # The model's file has a say in this log, but cannot know the port: only the server can have named it.
        listening = re.compile(rb"listening on " + re.escape(self.url.encode()) + rb"(?!\d)")
        for line in lines:
            os.write(sys.stderr.fileno(), line)
            if listening.search(line):
                self._listens.put(True)
            elif _PORT_IS_TAKEN in line:
                self.found_port_taken = True
        self._listens.put(False)

    def _is_healthy(self) -> bool:
        """Wait until the server answers; False when it has ended before."""
        while self._status("/health") != HTTPStatus.OK:
            try:
                self._process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return False
        return True

    def _status(self, path: str) -> int:
        """Return the status of an answer to a stranger; 0 when there is none."""
        connection = HTTPConnection(_HOST, self._port, timeout=_HEALTH_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()


class _Group:
    """The binary, or a wrapper script and what that has started: all end with the guardian, however it ends.

    The kernel tells a process's own children of its end, and not theirs. So a shell leads the group, and
    waits for the end of a pipe that this process alone holds open: that comes also when it is killed.
    """

    def __init__(self) -> None:
        waiting, self._held_open = os.pipe()
        try:
            self._leader = subprocess.Popen(  # noqa: S603  -- a constant
                _GROUP_LEADER,
                stdin=waiting,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        finally:
            os.close(waiting)

    @property
    def id(self) -> int:
        """The group's number, which nobody else gets while its leader is not waited for."""
        return self._leader.pid

    def kill(self) -> None:
        """End every process of the group."""
        if self._leader.returncode is not None:  # all have ended, and others may have the number by now
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses where only zombies are left
            os.killpg(self.id, signal.SIGKILL)

    def end(self) -> None:
        """End every process of the group, and clear its leader away."""
        self.kill()
        self._leader.wait()
        os.close(self._held_open)


def _free_port() -> int:
    """Return a port that is free at this moment; somebody else may take it before the server does."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _started(settings: ServerSettings, port: int, group: int) -> subprocess.Popen[bytes]:
    # In neither the arguments nor the environment, which others can read, nor on the disk.
    key, key_end = os.pipe()
    os.write(key_end, settings.api_key.encode() + b"\n")
    os.close(key_end)
    file = Path(settings.program_file)
    try:
        return subprocess.Popen(  # noqa: S603  -- the engine that the user chose
            [str(file), *arguments(settings, port=port, key_file=f"/dev/fd/{key}")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(key,),
            # llama.cpp loads backends from its working directory, which is often a repository.
            cwd=file.parent,
            # It would take Ctrl-C for its end, whatever is ignored here; and it ends with all that it starts.
            process_group=group,
            preexec_fn=engine_child.end_with_parent,  # noqa: PLW1509  -- a system call, made ready before
        )
    except OSError as error:
        sys.exit(f"E native_server: {file} cannot be started: {error.strerror}")
    finally:
        os.close(key)


def arguments(settings: ServerSettings, *, port: int, key_file: str) -> list[str]:
    """Return the settings in the words of llama.cpp's command line, nothing left to a default that bites.

    The reasons stand in ``llama_server.parameters``, which says the same to the library. A binary that does
    not know one of these names ends at once, and says which.
    """
    batch_tokens = str(settings.safe_batch_tokens)
    options: dict[str, str | None] = {
        "--model": settings.model_file,
        "--n-gpu-layers": str(settings.gpu_layers),
        "--threads": str(settings.threads),
        "--threads-batch": str(settings.threads),
        "--parallel": str(settings.slots),
        "--ctx-size": str(settings.slots * settings.context_tokens),
        "--no-kv-unified": None,
        "--no-context-shift": None,
        "--fit": "off",
        "--batch-size": batch_tokens,
        "--ubatch-size": batch_tokens,
        "--flash-attn": "auto" if settings.gpu_layers else "off",
        "--cache-type-k": "f16",
        "--cache-type-v": "f16",
        "--cache-ram": "0",
        "--no-cache-idle-slots": None,
        "--no-warmup": None,
        "--jinja": None,
        "--chat-template": "chatml",
        "--host": _HOST,
        "--port": str(port),
        "--api-key-file": key_file,
        "--cors-origins": "localhost",
        "--no-webui": None,
        "--slots": None,
        "--sse-ping-interval": "-1",
        "--verbosity": str(_TELLS_OF_LAYERS if settings.gpu_layers else _TELLS_ITS_ADDRESS),
        "--log-prefix": None,
        **_optional(settings),
    }
    return [word for name, value in options.items() for word in (name, value) if word is not None]


def _optional(settings: ServerSettings) -> Mapping[str, str | None]:
    options: dict[str, str | None] = {}
    if not settings.gpu_layers:
        # A GPU would still take part in reading prompts, with memory of its own that is in no plan.
        options["--device"] = "none"
    elif settings.main_gpu is not None:
        options |= {"--split-mode": "none", "--main-gpu": str(settings.main_gpu)}
    if settings.snapshot_folder:
        options["--slot-save-path"] = settings.snapshot_folder + os.sep
    if settings.speculates:
        options |= {
            "--spec-type": "ngram-simple",
            "--spec-ngram-simple-size-n": str(SAME_TOKENS),
            "--spec-ngram-simple-size-m": str(MOST_GUESSED_TOKENS),
        }
    if settings.embedding:
        options["--embedding"] = None
    if settings.mean_pooling:
        options["--pooling"] = "mean"
    return options


def _required(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise TypeError("The server was started without pipes.")
    return stream


if __name__ == "__main__":
    main()
