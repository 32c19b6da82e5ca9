"""A server under measurement as a process of its own: started, looked at, stopped and killed by its id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx2
import psutil

START_SECONDS = 600.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.05

ENGINE_MODULE = "coding_assistant.inference.llama_server"
"""What the product runs as its engine's process, beside others of its own."""

PACKAGES = Path(__file__).parents[1]
"""The folder that a child needs on its path to import what lies beside these scripts."""


class ServiceFailed(Exception):
    """A server did not start, or ended by itself; the message ends with its last words."""


class Service:
    """One server: a command that is told its port, and a path that answers once it is ready."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], ready_path: str, log: Path
    ) -> None:
        self._command = command
        self._environment = environment
        self._ready_path = ready_path
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> Self:
        """Start the process on a free port and return when it is ready."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--port", str(port)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()
        return self

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._running().pid

    def engine_pid(self) -> int | None:
        """Return the model's process, None while there is none."""
        for child in psutil.Process(self.pid).children(recursive=True):
            try:
                if ENGINE_MODULE in child.cmdline():
                    return child.pid
            except psutil.NoSuchProcess:
                continue
        return None

    def resident_bytes(self) -> int:
        """Return the memory of the process itself."""
        return _resident_bytes(psutil.Process(self.pid))

    def engine_resident_bytes(self) -> int:
        """Return the memory of all that it started."""
        return sum(_resident_bytes(child) for child in psutil.Process(self.pid).children(recursive=True))

    def stop(self) -> None:
        """End the process as a user does, with SIGTERM; kill it if that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the process with ``kill -9``."""
        self._running().kill()
        self._running().wait()
        self._process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise ServiceFailed("The server is not running.")
        return self._process

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with httpx2.Client(base_url=self.url, trust_env=False) as http:
            while time.monotonic() < deadline:
                if self._running().poll() is not None:
                    raise ServiceFailed(f"{self._command[2]} ended at its start:\n{self._last_words()}")
                try:
                    if http.get(self._ready_path).is_success:
                        return
                except httpx2.TransportError:
                    pass
                time.sleep(LOOK_SECONDS)
        self.kill()
        raise ServiceFailed(f"{self._command[2]} was not ready in time:\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


def product_service(*, home: Path, project: Path, model: str, settings: Mapping[str, str]) -> Service:
    """Return ``coding-assistant serve`` with a data directory and settings of its own."""
    return Service(
        [sys.executable, "-m", "coding_assistant", "serve", "--project", str(project), "--model", model],
        environment=product_environment(home)
        | {f"CODING_ASSISTANT_{name}": value for name, value in settings.items()},
        ready_path="/healthz",
        log=home.with_suffix(".log"),
    )


def product_environment(home: Path) -> dict[str, str]:
    """Return this process's environment without the user's settings, and with this data directory."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "MODEL_NAME" and not name.startswith("CODING_ASSISTANT_")
    }
    return kept | {"CODING_ASSISTANT_HOME": str(home)}


def environment_with_path(environment: Mapping[str, str], *folders: Path) -> dict[str, str]:
    """Return an environment in which Python finds packages in these folders, too."""
    given = environment.get("PYTHONPATH")
    path = [*([given] if given else []), *map(str, folders)]
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}


def free_port() -> int:
    """Return a port of loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """Start a service and leave no process behind."""
    try:
        yield service.start()
    finally:
        service.stop()


def end_in_order_at_sigterm() -> None:
    """Have SIGTERM unwind this program, so that the servers it started end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _resident_bytes(process: psutil.Process) -> int:
    try:
        resident: int = process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0
    return resident
