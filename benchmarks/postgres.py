"""A PostgreSQL of the benchmark's own, on a free port, without waiting for the disk."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from .processes import Process, StartError, environment, free_port

# It refuses to run as root; Debian's package makes this user.
UNPRIVILEGED = "postgres"
INITDB_SECONDS = 60


def program(name: str) -> str | None:
    """Where one of PostgreSQL's programs is: Debian keeps them out of PATH, one directory a version."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return found[-1] if found else shutil.which(name)


def missing() -> str | None:
    """Why there can't be one, in words."""
    return None if program("initdb") and program("postgres") else "PostgreSQL is not installed"


def start(scratch: Path, cores: set[int]) -> tuple[Process, str]:
    """A new one, empty, and its DATABASE_URL; raises StartError."""
    home = scratch / "postgres"
    home.mkdir()
    user = None
    if os.getuid() == 0:
        entry = pwd.getpwnam(UNPRIVILEGED)
        user = entry.pw_uid
        scratch.chmod(0o755)
        os.chown(home, entry.pw_uid, entry.pw_gid)
    options = ["-A", "trust", "-U", "shop", "-E", "UTF8", "--locale=C.UTF-8", "-N"]
    made = subprocess.run(
        [str(program("initdb")), "-D", str(home), *options],
        cwd="/", user=user, capture_output=True, text=True, timeout=INITDB_SECONDS, check=False,
    )  # fmt: skip
    if made.returncode:
        raise StartError("initdb failed", made.stderr[-2000:])
    port = free_port()
    process = Process(
        [str(program("postgres")), "-D", str(home), "-k", str(home), "-p", str(port),
         "-c", "listen_addresses=127.0.0.1", "-F"],
        cores=cores, log=scratch / "postgres.log", cwd=Path("/"), env=environment(), user=user,
        stop_signal=signal.SIGINT,
    )  # fmt: skip
    process.wait_for_port(port)
    return process, f"postgres://shop@127.0.0.1:{port}/postgres"
