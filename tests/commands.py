"""Running manage.py, and asking for the settings, with an environment that the test decides."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCTION = {
    "SECRET_KEY": "Vf3x-0cPq9_kZr7TjW2sLb8YhNd5MgEa4RuXo6CiQy1KtHwJzBvFpGnS",
    "ALLOWED_HOSTS": "chat.example.com",
    "REDIS_URL": "redis://127.0.0.1:1",  # nobody listens there
}


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py with nothing in the environment but these variables (and where programs are)."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **variables},
        capture_output=True,
        text=True,
        timeout=30,
    )


def settings_of(*names: str, **variables: str) -> dict:
    """The settings of those names in a process with these environment variables."""
    code = (
        "import json; from chatproject import settings;"
        f"print(json.dumps({{name: getattr(settings, name, None) for name in {names!r}}}, default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **variables},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
