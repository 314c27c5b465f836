"""The servers that are compared: how each is prepared, started and spoken to."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .processes import Process, StartError, cpu_seconds, environment, free_port, rss_bytes
from .wire import OURS, PLAIN, SOCKETIO, Dialect

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
CACHE = HERE / ".cache"
DAPHNE = Path(sys.executable).with_name("daphne")
NPM_SECONDS = 180
STOCK_LIMIT, RAISED_LIMIT = 100, 10_000
"""Messages that the core Redis channel layer lets wait for one process, and redis-py's connections."""


@dataclass(frozen=True)
class Place:
    """Where a server runs: its cores, its Redis, and a directory for its log and database."""

    cores: set[int]
    redis_port: int
    scratch: Path
    beside: set[int]
    """The cores of what works beside the server: Redis, a database, other processes of the project."""
    kept: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What ends with the place."""

    @property
    def redis_url(self) -> str:
        """The Redis as a URL."""
        return f"redis://127.0.0.1:{self.redis_port}"


@dataclass
class Running:
    """A server's processes and where it listens."""

    processes: list[Process]
    ports: list[int]
    where: Place
    env: Mapping[str, str]
    """What they were started with."""

    @functools.cached_property
    def pids(self) -> list[int]:
        """All of the server's processes; they are the same as long as it runs."""
        return [pid for process in self.processes for pid in process.tree()]

    def cpu(self) -> float:
        """CPU seconds used so far."""
        return cpu_seconds(self.pids)

    def rss(self) -> int:
        """Resident bytes."""
        return rss_bytes(self.pids)

    def check(self) -> None:
        """Raises StartError when a process has ended."""
        for process in self.processes:
            if not process.alive():
                raise StartError("the server ended", process.tail())

    def stop(self) -> None:
        """Stops all of it."""
        for process in self.processes:
            process.stop()


@dataclass(frozen=True)
class Peer:
    """One server to compare, with a number of worker processes."""

    key: str
    title: str
    dialect: Dialect
    launcher: Callable[[Place, int, int], Running]
    missing: Callable[[], str | None]
    workers: int = 1
    limit: int = STOCK_LIMIT
    """Of the channel layer; plain Channels only."""

    @property
    def name(self) -> str:
        """The key with the number of workers, as `ours-2`."""
        return self.key if self.workers == 1 else f"{self.key}-{self.workers}"

    def start(self, where: Place) -> Running:
        """Starts it and returns when it listens; raises StartError."""
        return self.launcher(where, self.workers, self.limit)


def launch(
    where: Place,
    argvs: Sequence[Sequence[str]],
    ports: list[int],
    env: Mapping[str, str],
    cwd: Path,
    ready: Callable[[Process, int], None] = Process.wait_for_port,
) -> Running:
    """Starts a process for each of `argvs`, and port; returns when all are `ready`, or raises StartError."""
    running = Running([], ports, where, env)
    try:
        for argv, port in zip(argvs, ports, strict=True):
            own = dict(env) | {"PORT": str(port)}
            log = where.scratch / f"server-{port}.log"
            running.processes.append(Process(argv, cores=where.cores, log=log, cwd=cwd, env=own))
        for process, port in zip(running.processes, ports, strict=True):
            ready(process, port)
    except StartError:
        running.stop()
        raise
    return running


# -- this project -----------------------------------------------------------------------------


# The peers have no limits, and here one address sends and opens as fast as it can.
UNLIMITED = {
    "MESSAGE_RATE": "0",
    "BYTES_RATE": "0",
    "CONNECT_RATE": "0",
    "MAX_CONNECTIONS_PER_ADDRESS": "0",
}


def our_environment(where: Place) -> dict[str, str]:
    """Production settings on loopback, so without TLS."""
    return environment(
        DEBUG="0",
        ENV_FILE="",
        HTTPS_ONLY="0",
        SECRET_KEY=secrets.token_urlsafe(50),
        ALLOWED_HOSTS="127.0.0.1",
        REDIS_URL=where.redis_url,
        DATABASE_URL=f"sqlite:///{where.scratch / 'benchmark.sqlite3'}",
        LOG_LEVEL="WARNING",
        **UNLIMITED,
    )


def migrate(where: Place) -> None:
    """Makes the database that `manage.py serve` needs, once for the whole run."""
    made = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--noinput", "--verbosity", "0"],
        cwd=PROJECT, env=our_environment(where), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if made.returncode:
        raise StartError("manage.py migrate failed", made.stderr[-2000:])


def start_ours(where: Place, workers: int, **env: str) -> Running:
    """Starts `manage.py serve`, with `env` beside its settings, and returns when every worker serves."""
    if not (where.scratch / "benchmark.sqlite3").exists():
        migrate(where)
    port = free_port()
    argv = [sys.executable, "manage.py", "serve", "--bind", "127.0.0.1", "--workers", str(workers)]
    # The socket listens before the workers do, so it is the announcement that counts.
    return launch(
        where,
        [argv],
        [port],
        our_environment(where) | env,
        PROJECT,
        ready=lambda process, port: process.wait_for_line("Serving "),
    )


def _start_ours(where: Place, workers: int, limit: int) -> Running:
    return start_ours(where, workers)


def _ours_missing() -> str | None:
    return (
        None if (PROJECT / "chat/management/commands/serve.py").exists() else "manage.py serve is not there"
    )


# -- plain Channels -----------------------------------------------------------------------------


def _start_plain(where: Place, workers: int, limit: int) -> Running:
    ports = [free_port() for _ in range(workers)]
    env = environment(REDIS_HOST_PORT=f"127.0.0.1:{where.redis_port}", PEER_LIMIT=str(limit))
    command = [str(DAPHNE), "-b", "127.0.0.1"]
    argvs = [[*command, "-p", str(port), "plain_channels.asgi:application"] for port in ports]
    return launch(where, argvs, ports, env, HERE / "peers/plain_channels")


def _plain_missing() -> str | None:
    return None if DAPHNE.exists() else "the `daphne` command is not installed beside this Python"


# -- Socket.IO ----------------------------------------------------------------------------------


def _start_socketio(where: Place, workers: int, limit: int) -> Running:
    ports = [free_port() for _ in range(workers)]
    env = environment(NODE_ENV="production", REDIS_URL=where.redis_url)
    return launch(where, [["node", "server.mjs"]] * workers, ports, env, install_socketio())


def _socketio_missing() -> str | None:
    absent = [program for program in ("node", "npm") if shutil.which(program) is None]
    return f"{' and '.join(absent)} not installed" if absent else None


def install_socketio() -> Path:
    """Installs the peer's packages where git doesn't look, once, and returns the directory."""
    home = CACHE / "socketio"
    source = HERE / "peers/socketio"
    lock = (source / "package-lock.json").read_bytes()
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "server.mjs", home)
    installed = home / "node_modules/.package-lock.json"
    if not installed.exists() or (home / "package-lock.json").read_bytes() != lock:
        shutil.copy(source / "package.json", home)
        shutil.copy(source / "package-lock.json", home)
        done = subprocess.run(
            ["npm", "ci", "--omit=dev", "--no-audit", "--no-fund"],
            cwd=home, capture_output=True, text=True, timeout=NPM_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StartError("npm ci failed", done.stderr[-2000:])
    return home


PEERS = {
    "ours": Peer("ours", "this project", OURS, _start_ours, _ours_missing),
    "plain": Peer("plain", "plain Channels", PLAIN, _start_plain, _plain_missing),
    "socketio": Peer("socketio", "Socket.IO", SOCKETIO, _start_socketio, _socketio_missing),
}
"""All servers by key, with one worker each."""
