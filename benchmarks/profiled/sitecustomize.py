"""A sampling profiler that Python imports by itself where this directory is on PYTHONPATH.

At each kernel tick of CPU (1 to 10 ms) it notes which line the main thread is on, and the functions above.
SIGUSR2 makes it forget what it has, SIGUSR1 makes it write all to PROFILE_DIRECTORY/<pid>.json. The time
that C code takes (a system call, a parser) belongs to the line that called it.
"""

import collections
import json
import os
import signal
from pathlib import Path
from types import FrameType

PERIOD = 0.001  # seconds of the process's CPU; the kernel makes it at least its tick
DIRECTORY = os.environ.get("PROFILE_DIRECTORY")

lines: collections.Counter[str] = collections.Counter()
within: collections.Counter[str] = collections.Counter()


def sample(_number: int, frame: FrameType | None) -> None:
    """Count the line that runs, and once each function on the stack."""
    if frame is None:
        return
    code = frame.f_code
    lines[f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}"] += 1
    seen = set()
    while frame is not None:
        seen.add(f"{frame.f_code.co_filename} {frame.f_code.co_qualname}")
        frame = frame.f_back
    within.update(seen)


def forget(_number: int, _frame: FrameType | None) -> None:
    """Start anew."""
    lines.clear()
    within.clear()


def write(_number: int, _frame: FrameType | None) -> None:
    """Leave the counts where the benchmark finds them, whole or not at all."""
    path = Path(str(DIRECTORY), f"{os.getpid()}.json")
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"lines": lines, "within": within}))
    part.rename(path)


if DIRECTORY:
    signal.signal(signal.SIGPROF, sample)
    signal.siginterrupt(signal.SIGPROF, False)
    signal.signal(signal.SIGUSR1, write)
    signal.signal(signal.SIGUSR2, forget)
    signal.setitimer(signal.ITIMER_PROF, PERIOD, PERIOD)
