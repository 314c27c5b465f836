"""How the workers of one host see each other's metrics: each keeps a file in a directory of the supervisor's.

Whoever is scraped writes its own file first, then all of them are added up. So no counter is ever shown
higher than what is written, and none goes down when a worker is killed: the last file of one that has ended
is added to what ended ones have counted. It works without Redis.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from .metrics import Values, counted, merge
from .supervisor import DIRECTORY_VARIABLE

SUFFIX = ".worker"
ENDED = "ended"
REMEMBERED = 64  # ended workers whose file may still be there


def directory() -> Path | None:
    """Where this host's workers write; None under a server that is not ours: there each stands for itself."""
    name = os.environ.get(DIRECTORY_VARIABLE)
    return Path(name) if name else None


def write(place: Path, taken: dict[str, Any]) -> None:
    """Keep one worker's snapshot; readers see the one before or this one. Raises OSError."""
    _replace(
        place / (taken["worker"] + SUFFIX), {**taken, "born": _born(taken["pid"]), "at": time.monotonic()}
    )


def gather(place: Path | None, taken: dict[str, Any]) -> Values:
    """The values of all workers of this host; ``taken`` is the asking worker's own snapshot.

    It is in its file already, so that what one worker shows another one does not see lower. Blocks on files.
    Raises OSError, msgspec.DecodeError.
    """
    if place is None:
        return merge([taken])
    with _locked(place):
        ended = _read(place / ENDED) or {"values": {}, "workers": []}
        living: list[dict[str, Any]] = []
        gone: list[dict[str, Any]] = []
        for path in place.glob("*" + SUFFIX):
            one = _read(path)
            if one is None or one["worker"] in ended["workers"]:
                continue
            (living if _lives(one) else gone).append(one)
        if gone:
            _fold(place, ended, gone)
        now = time.monotonic()
        for one in living:
            _late(one, now)
        return merge(living, [ended["values"]])


def _fold(place: Path, ended: dict[str, Any], gone: list[dict[str, Any]]) -> None:
    """Add what workers that have ended had counted to what is kept, then forget them."""
    kept = counted(merge([], [ended["values"], *[one["values"] for one in gone]]))
    ended["values"] = kept
    ended["workers"] = [*ended["workers"], *[one["worker"] for one in gone]][-REMEMBERED:]
    _replace(place / ENDED, ended)
    for one in gone:
        (place / (one["worker"] + SUFFIX)).unlink(missing_ok=True)


def _late(one: dict[str, Any], now: float) -> None:
    """A worker whose loop is blocked writes nothing: it is as late as its file is."""
    lag = one["values"].get("realtime_event_loop_lag_seconds")
    if lag and "at" in one:  # during an upgrade the last version's workers don't say when
        lag[""] = max(lag[""], now - one["at"] - one["again"])


def _lives(one: dict[str, Any]) -> bool:
    """Whether the process that wrote a snapshot still runs: by its number, and by when it was started."""
    return _born(one["pid"]) == one["born"]


def _born(pid: int) -> int:
    """When a process was started, in ticks since the boot (proc(5), stat, field 22); 0: it does not run.

    Where the system has no /proc it is 1 for every process that runs.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return 0
        try:
            os.kill(pid, 0)
        except OSError:
            return 0
        return 1
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def _replace(path: Path, content: Any) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(msgspec.msgpack.encode(content))
    part.replace(path)


def _read(path: Path) -> Any:
    with suppress(FileNotFoundError):
        return msgspec.msgpack.decode(path.read_bytes())
    return None


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """One scrape at a time on this host: each takes about a millisecond."""
    with (place / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
