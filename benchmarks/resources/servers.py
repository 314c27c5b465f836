"""The servers of this part: the same shop behind this project's resources and behind the peer's consumers.

Both run in `manage.py serve`, with the same settings, database and rows; only the ASGI application differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from .. import postgres
from ..peers import CACHE, HERE, PROJECT, Peer, Place, Running, launch, our_environment
from ..processes import Process, StartError, free_port
from .languages import OURS, REST, Language

PIP_SECONDS = 120
SQLITE, POSTGRES = "sqlite", "postgres"
KEEPING = "keeping"
"""The peer once more, with a setting that it profits from: database connections are kept."""
SETTINGS = {
    "ours": "benchmarks.shop.settings",
    "rest": "channels_rest.settings",
    KEEPING: "channels_rest.settings",
}
_urls: dict[tuple[Path, str], str] = {}
"""The databases that are ready, by the place's scratch directory."""


def database_url(where: Place, database: str) -> str:
    """The database of a place, migrated and filled; made when it is first asked for."""
    known = _urls.get((where.scratch, database))
    if known is not None:
        return known
    if database == SQLITE:
        url = f"sqlite:///{where.scratch / 'shop.sqlite3'}"
    else:
        process, url = postgres.start(where.scratch, where.beside)
        where.kept.callback(process.stop)
    env = _environment(where, "ours", url)
    made = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--noinput", "--verbosity", "0"],
        cwd=PROJECT, env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if made.returncode:
        raise StartError("manage.py migrate failed", made.stderr[-2000:])
    filling = tasks(where, env)
    filling.tell(b"fill")
    filling.hear()
    filling.stop()
    _urls[where.scratch, database] = url
    return url


def tasks(where: Place, env: dict[str, str]) -> Process:
    """A process of the project beside the server (shop/tasks.py)."""
    argv = [sys.executable, "-m", "benchmarks.shop.tasks"]
    return Process(
        argv, cores=where.beside, log=where.scratch / "tasks.log", cwd=PROJECT, env=env, lines=True
    )


def _environment(where: Place, side: str, url: str) -> dict[str, str]:
    return our_environment(where) | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": SETTINGS[side]}


def start_shop(side: str, database: str, where: Place, workers: int, limit: int, **extra: str) -> Running:
    """Starts the shop on one `side`, a key of SETTINGS, with `extra` beside its environment."""
    env = _environment(where, side, database_url(where, database)) | extra
    if side == KEEPING:
        env["DATABASE_URL"] += "?conn_max_age=600"
    if side != "ours":
        places = [str(install_channels_rest()), str(HERE / "peers"), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    argv = [sys.executable, "manage.py", "serve", "--bind", "127.0.0.1", "--workers", str(workers)]
    ready = partial(Process.wait_for_line, text="Serving ")
    return launch(where, [argv], [free_port()], env, PROJECT, ready=lambda process, port: ready(process))


def install_channels_rest() -> Path:
    """Installs the peer's package where git doesn't look, once, and returns the directory for PYTHONPATH."""
    asked = HERE / "peers/channels_rest/requirements.txt"
    home = CACHE / "channels_rest"
    installed = home / "requirements.txt"
    if not installed.exists() or installed.read_bytes() != asked.read_bytes():
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*argv, "--no-deps", "--upgrade", "--target", str(home), "--requirement", str(asked)],
            capture_output=True, text=True, timeout=PIP_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StartError("pip install failed", done.stderr[-2000:])
        installed.write_bytes(asked.read_bytes())
    return home


def _peer(side: str, title: str, language: Language, database: str, name: str) -> Peer:
    def missing() -> str | None:
        return postgres.missing() if database == POSTGRES else None

    return Peer(
        f"{side}_{database}", f"{title}, {name}", language, partial(start_shop, side, database), missing
    )


_REST = "djangochannelsrestframework"
SERVERS = {
    peer.key: peer
    for peer in (
        _peer("rest", _REST, REST, SQLITE, "SQLite"),
        _peer(KEEPING, _REST, REST, SQLITE, "SQLite, connections kept"),
        _peer("ours", "this project", OURS, SQLITE, "SQLite"),
        _peer("rest", _REST, REST, POSTGRES, "PostgreSQL"),
        _peer("ours", "this project", OURS, POSTGRES, "PostgreSQL"),
    )
}
"""By key, in the order of the table."""
