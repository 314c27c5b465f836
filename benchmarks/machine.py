"""What a result has to say about where it was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from . import postgres
from .peers import HERE, PROJECT

LIBRARIES = (
    *("Django", "djangorestframework", "channels", "channels-redis", "daphne", "autobahn", "Twisted"),
    *("redis", "hiredis", "msgspec", "psycopg", "uvloop"),
)


@dataclass(frozen=True)
class Machine:
    """The machine, the versions and the moment of a run."""

    date: str
    command: str
    commit: str
    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    node: str | None
    redis_server: str
    libraries: dict[str, str]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def describe(arguments: list[str]) -> Machine:
    """This machine, now; `arguments` are those of `python -m benchmarks`."""
    return Machine(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=" ".join(["python -m benchmarks", *arguments]),
        commit=_commit(),
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        system=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        python=f"{platform.python_implementation()} {sys.version.split()[0]}",
        node=_output("node", "--version"),
        redis_server=_redis_version(),
        libraries=_python_libraries() | _channels_rest() | _node_libraries() | _postgres(),
    )


def _output(*argv: str) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, cwd=PROJECT)
    except FileNotFoundError:
        return None
    return done.stdout.strip()


def _redis_version() -> str:
    words = (_output("redis-server", "--version") or "v=unknown").split()
    return next(word.removeprefix("v=") for word in words if word.startswith("v="))


def _commit() -> str:
    """The commit, with a `+` when files that are part of it were changed."""
    commit = _output("git", "rev-parse", "--short", "HEAD") or "unknown"
    ours = ("chat", "chatproject", "benchmarks", ":!benchmarks/results")
    changed = _output("git", "status", "--porcelain", "--untracked-files=no", "--", *ours)
    return commit + ("+" if changed else "")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _python_libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _channels_rest() -> dict[str, str]:
    text = (HERE / "peers/channels_rest/requirements.txt").read_text()
    (line,) = (line for line in text.splitlines() if "==" in line)
    name, _, version = line.partition("==")
    return {name: version}


def _postgres() -> dict[str, str]:
    program = postgres.program("postgres")
    words = ((program and _output(program, "--version")) or "").split()
    return {"PostgreSQL": words[2]} if len(words) > 2 else {}


def _node_libraries() -> dict[str, str]:
    package = json.loads((HERE / "peers/socketio/package.json").read_text())
    # "redis" is a package's name on both sides.
    return {f"npm {name}": version for name, version in package["dependencies"].items()}
