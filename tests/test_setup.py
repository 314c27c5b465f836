"""Setting up: what `make` says where something is missing, and production settings under Django's checks."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import PRODUCTION, ROOT, manage


def run_script(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / ".ci" / name), *arguments],
        env={"PATH": os.environ["PATH"], **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_missing_programs_are_named_where_they_cannot_be_installed(tmp_path):
    """Without apt-get, `make test` fails with the Debian packages' names instead of skipping tests."""
    for name in ("dirname", "id", "ls"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = run_script("packages", PATH=str(tmp_path), VENV=str(tmp_path / "none"))
    assert done.returncode == 1
    line = next(line for line in done.stderr.splitlines() if "apt-get install" in line)
    assert {"chromium", "redis-server", "python3-venv"} <= set(line.split())


def test_programs_that_are_there_are_left_alone(tmp_path):
    """Where nothing is missing, nothing is installed, by nobody."""
    for name in ("apt-get", "sudo"):
        script(tmp_path / name, "echo touched >&2; exit 1")
    done = run_script("packages", PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHON=sys.executable)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_unsupported_python_is_refused(tmp_path):
    """The line says which versions will do."""
    old = script(tmp_path / "python3.10", "exit 1")
    done = run_script("venv", "requirements.txt", PYTHON=old, VENV=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert done.stderr.startswith("make: Python 3.11, 3.12 or 3.13 is needed")
    assert done.stderr.count("\n") == 1


def test_a_python_without_venv_is_refused_with_the_packages_name(tmp_path):
    """Debian ships venv apart: the line names the package."""
    bare = script(
        tmp_path / "python3", f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"'
    )
    done = run_script("venv", "requirements.txt", PYTHON=bare, VENV=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert done.stderr.count("\n") == 1


def test_make_help_lists_the_targets():
    """`make` alone says what there is."""
    done = subprocess.run(["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, timeout=30)
    listed = re.findall(r"^make (\w+) ", done.stdout, re.MULTILINE)
    assert {"run", "test", "admin", "bench", "help"} <= set(listed)


def test_the_models_have_their_migrations():
    """Nothing is left for makemigrations to write."""
    done = manage("makemigrations", "--check", "--dry-run", DEBUG="1", REDIS_URL="memory://")
    assert done.returncode == 0, done.stdout


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of this test alone, on a UNIX socket."""
    path = tmp_path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 10
        while not path.exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"unix://{path}"
        server.terminate()


def test_production_settings_pass_the_deployment_checks(redis_url):
    """`check --deploy` finds nothing, not even a warning, once a key, the hosts and a Redis are there."""
    done = manage("check", "--deploy", "--fail-level", "DEBUG", **PRODUCTION | {"REDIS_URL": redis_url})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("System check identified no issues")


def test_the_deployment_checks_see_what_is_weak(redis_url):
    """Plain HTTP and a short key are said, as warnings."""
    weak = PRODUCTION | {"REDIS_URL": redis_url, "HTTPS_ONLY": "0", "SECRET_KEY": "short"}
    done = manage("check", "--deploy", "--fail-level", "WARNING", **weak)
    assert done.returncode == 1
    for name in ("security.W004", "security.W008", "security.W009", "security.W012", "security.W016"):
        assert name in done.stderr
