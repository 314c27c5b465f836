"""The secret key of a development machine: made once, then kept."""

import os
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

MODE = 0o600  # nobody else reads it


def kept(path: Path) -> str:
    """The key in the file at `path`, which is made if it is not there.

    Several processes may ask at once: the file appears whole or not at all, and all get the same key.
    """
    try:
        if not path.exists():
            _make(path)
        key = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"SECRET_KEY is not set, and {path.name} can't be read or made ({error.strerror}): set SECRET_KEY"
        ) from error
    if len(key) < 32:
        raise ImproperlyConfigured(f"{path.name} holds no usable key: remove the file, or set SECRET_KEY")
    return key


def _make(path: Path) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(get_random_secret_key() + "\n")
        temporary.chmod(MODE)
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first: its key is as good
    finally:
        temporary.unlink()
