"""The engine's process where a ``llama-server`` binary runs the model: its guardian, and how it is called.

Run as ``python -m coding_assistant.inference.native_server`` by ``server_process``, whose language it speaks:
settings in, an address out, and the end with the end of standard input. The binary knows nothing of that: it
listens on loopback, for who has the key, and ends with this process. Standard library only, for its memory
comes on top of the model's.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Final
from urllib.parse import urlsplit

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

_ADDRESS: Final = re.compile(rb"listening on (?P<url>http://127\.0\.0\.1:\d+)")

_HEALTH_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05

OPEN_TO_ALL: Final = "E native_server: the server answers requests without the key"
"""What the log says of a binary that does not keep strangers out; it is ended at once."""


def main() -> None:
    """Run the server until the parent closes standard input or ends."""
    settings = ServerSettings.from_line(sys.stdin.buffer.readline())
    engine_child.settle_in(settings.niceness)
    guardian = Guardian(settings)
    guardian.announce()
    guardian.end()


class Guardian:
    """Starts the binary, tells the parent where it answers, and ends as it ends."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._addresses: SimpleQueue[str | None] = SimpleQueue()
        self._is_stopping = False
        self._server = self._start()
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        self._log = threading.Thread(target=self._pass_log_on, args=(_required(self._server.stdout),))
        self._log.start()
        threading.Thread(target=self._stop_at_end_of_input, daemon=True).start()

    def announce(self) -> None:
        """Wait until the model is loaded and say where; returns without a word when the binary has ended."""
        url = self._addresses.get()
        if url is None or not self._is_healthy(url):
            return
        if _status(url, "/slots") != HTTPStatus.UNAUTHORIZED:
            print(OPEN_TO_ALL, file=sys.stderr)  # noqa: T201  -- the log is the standard error stream
            self._server.kill()
            return
        ready = ServerReady(url, process_id=self._server.pid)
        os.write(sys.stdout.fileno(), ready.to_line())

    def end(self) -> None:
        """Wait for the end of the binary, then end in the same way: the parent explains it."""
        exit_code = self._server.wait()
        self._log.join()
        if self._is_stopping:
            os._exit(0)
        if exit_code < 0:
            if exit_code != -signal.SIGKILL:  # that one has no other way than its own
                signal.signal(-exit_code, signal.SIG_DFL)
            os.kill(os.getpid(), -exit_code)
        os._exit(exit_code)

    def _start(self) -> subprocess.Popen[bytes]:
        # In neither the arguments nor the environment, which others can read, nor on the disk.
        key, key_end = os.pipe()
        os.write(key_end, self._settings.api_key.encode() + b"\n")
        os.close(key_end)
        file = Path(self._settings.program_file)
        try:
            return subprocess.Popen(  # noqa: S603  -- the engine that the user chose
                [str(file), *arguments(self._settings, key_file=f"/dev/fd/{key}")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(key,),
                # llama.cpp loads backends from its working directory, which is often a repository.
                cwd=file.parent,
                # It would take Ctrl-C for its end, whatever is ignored here.
                process_group=0,
                preexec_fn=engine_child.end_with_parent,  # noqa: PLW1509  -- there is one thread as yet
            )
        except OSError as error:
            sys.exit(f"E native_server: {file} cannot be started: {error.strerror}")
        finally:
            os.close(key)

    def _pass_log_on(self, lines: IO[bytes]) -> None:
        for line in lines:
            os.write(sys.stderr.fileno(), line)
            if told := _ADDRESS.search(line):
                self._addresses.put(told["url"].decode())
        self._addresses.put(None)

    def _is_healthy(self, url: str) -> bool:
        """Wait until the server answers; False when it has ended before."""
        while _status(url, "/health") != HTTPStatus.OK:
            try:
                self._server.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return False
        return True

    def _stop_at_end_of_input(self) -> None:
        sys.stdin.buffer.read()
        self._stop()

    def _stop(self) -> None:
        # There is nothing to save, and on request the server would finish the batch at work.
        self._is_stopping = True
        self._server.kill()


def arguments(settings: ServerSettings, *, key_file: str) -> list[str]:
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
        "--cache-type-k": "f16",
        "--cache-type-v": "f16",
        "--cache-ram": "0",
        "--no-cache-idle-slots": None,
        "--no-warmup": None,
        "--jinja": None,
        "--chat-template": "chatml",
        "--host": "127.0.0.1",
        "--port": "0",
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
    if settings.main_gpu is not None:
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


def _status(url: str, path: str) -> int:
    """Return the status of an answer to a stranger; 0 when there is none."""
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=_HEALTH_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def _required(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise TypeError("The server was started without pipes.")
    return stream


if __name__ == "__main__":
    main()
