"""Starting, pinning, measuring and stopping the processes of a benchmark."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CPUCLOCK_SCHED = 2
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_libc = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """A server didn't come up, or ended; `log` has the last lines that it wrote."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class Process:
    """A child pinned to `cores`, whose output goes to `log`; it dies with this process."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cores: set[int],
        log: Path,
        cwd: Path | None = None,
        env: Mapping[str, str],
        user: int | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        lines: bool = False,
    ) -> None:
        """`user`: the id it runs as, where not ours. With `lines` it can be told things, and heard."""

        def pin() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            os.sched_setaffinity(0, cores)

        self.log = log
        self._stop_signal = stop_signal
        self._name = " ".join(Path(word).name for word in argv[:3])
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                list(argv), cwd=cwd, env=dict(env), stderr=output, preexec_fn=pin, user=user,
                stdin=subprocess.PIPE if lines else subprocess.DEVNULL,
                stdout=subprocess.PIPE if lines else output,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def tree(self) -> list[int]:
        """The ids of the process and of all below it."""
        pids = [self.pid]
        for pid in pids:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    pids.extend(map(int, (task / "children").read_text().split()))
        return pids

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def tell(self, line: bytes) -> None:
        """Writes a line to its standard input."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(line + b"\n")
        self._popen.stdin.flush()

    def hear(self) -> bytes:
        """The next line of its standard output; raises StartError when it has ended."""
        assert self._popen.stdout is not None
        line: bytes = self._popen.stdout.readline()
        if not line:
            raise StartError(f"{self._name} ended", self.tail())
        return line.rstrip(b"\n")

    def wait_for_port(self, port: int, seconds: float = 20.0) -> None:
        """Returns when something answers on `port`; raises StartError when the process ends or time is up."""

        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
            return False

        self._wait(answers, seconds)

    def wait_for_line(self, text: str, seconds: float = 20.0) -> None:
        """Returns when its output has a line with `text`; raises StartError likewise."""
        self._wait(lambda: text in self.log.read_text(errors="replace"), seconds)

    def _wait(self, ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            if ready():
                return
            time.sleep(0.05)
        why = "did not listen in time" if self.alive() else f"ended with code {self._popen.returncode}"
        raise StartError(f"{self._name} {why}", self.tail())

    def stop(self, seconds: float = 5.0) -> None:
        """Its signal to stop, and SIGKILL for what is left of the tree after `seconds`."""
        pids = self.tree()
        self._popen.send_signal(self._stop_signal)
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()


def environment(**extra: str) -> dict[str, str]:
    """What a server's process gets: none of the caller's settings but those that find programs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | extra


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes so far, to the nanosecond, ended threads included.

    Linux makes the id of another process's CPU clock out of its pid (`clock_getcpuclockid(3)`).
    """
    return sum(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) for pid in pids)


def cpu_seconds_with_children(pid: int) -> float:
    """CPU time of a process, of those below it and of those that have ended there; it counts in ticks."""
    used = 0.0
    with contextlib.suppress(OSError):  # one that ends meanwhile is in its parent's figure the next time
        text = Path(f"/proc/{pid}/stat").read_text()
        used = sum(map(int, text.rpartition(")")[2].split()[11:15])) / _TICKS
        for task in Path(f"/proc/{pid}/task").iterdir():
            used += sum(map(cpu_seconds_with_children, map(int, (task / "children").read_text().split())))
    return used


def machine_cpu_seconds() -> float:
    """CPU time that all processes of the machine have used since it started, all cores together."""
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split(maxsplit=8)[1:8]
    )
    return (user + nice + system + irq + softirq) / _TICKS


def rss_bytes(pids: Sequence[int]) -> int:
    """Resident memory of the processes together."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * _PAGE_BYTES


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_file_limit(wanted: int) -> int:
    """Raises the limit of open files, for children too, towards `wanted`; returns what it has become."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        for limits in ((wanted, max(hard, wanted)), (hard, hard)):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
