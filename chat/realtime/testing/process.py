"""A child process whose output goes to a file, so that nothing it writes can block it or get lost."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from .waiting import wait_until

STOP_LIMIT = 15.0  # seconds from SIGTERM to the exit, before SIGKILL


def project_root() -> Path:
    """The directory of the Django project that is tested: the nearest one upwards with a ``manage.py``."""
    here = Path.cwd().resolve()
    for directory in (here, *here.parents):
        if (directory / "manage.py").is_file():
            return directory
    raise AssertionError(f"no manage.py in {here} nor above it: run the tests inside the Django project")


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One program; start, signals, output, stop. A subclass says how it is started and when it is ready."""

    name = "process"
    cwd: Path | None = None  # where it runs; None: in the project's directory

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix=f"chat-{self.name}-")
        self.directory = Path(self._directory.name)
        self.log = self.directory / "output.log"
        self.log.touch()
        self.popen: subprocess.Popen[bytes] | None = None
        self._mark = 0

    def spawn(self, command: list[str], environment: dict[str, str]) -> None:
        """Start the program, its output appended to ``log``."""
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                cwd=self.cwd or project_root(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        assert self.popen is not None, f"{self.name} was not started"
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def children(self) -> list[int]:
        """Process ids of its direct children (proc(5), children)."""
        try:
            return [
                int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            ]
        except FileNotFoundError:
            return []

    def signal(self, number: int, pid: int | None = None) -> None:
        os.kill(self.pid if pid is None else pid, number)

    def stop(self, limit: float = STOP_LIMIT) -> int | None:
        """SIGTERM; after ``limit`` seconds SIGKILL. Returns the exit status, None if it was not running."""
        if self.popen is None:
            return None
        children = self.children()
        if self.running:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            raise AssertionError(f"{self.name} did not stop within {limit:g} s\n{self.output()}") from None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def cleanup(self) -> None:
        """Remove what it wrote."""
        self._directory.cleanup()

    # --- output ----------------------------------------------------------------------------------------

    def output(self) -> str:
        """All it has written so far."""
        return self.log.read_text(errors="replace")

    def mark(self) -> None:
        """``recent_output`` begins here."""
        self._mark = self.log.stat().st_size

    def recent_output(self) -> str:
        """What it has written since ``mark()``; nothing once it was cleaned up."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(self._mark)
            return file.read().decode(errors="replace")

    def wait_for_output(self, pattern: str, limit: float = 20.0) -> re.Match[str]:
        """The first match of ``pattern`` in the recent output. Fails at once when the process ends first."""

        def look() -> re.Match[str] | None:
            running = self.running
            found = re.search(pattern, self.recent_output())
            assert found or running, f"{self.name} ended without saying {pattern!r}\n{self.recent_output()}"
            return found

        try:
            match: re.Match[str] = wait_until(look, f"{pattern!r} in {self.name}'s output", limit)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.recent_output()}") from None
        return match
