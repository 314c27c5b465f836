"""Python runs this at its start where its directory is on PYTHONPATH (site): it lets a test set the clock.

REALTIME_TEST_CLOCK names a file of one double: the seconds by which this process is ahead of time.
"""

import mmap
import os
import struct
import time
from collections.abc import Callable


def _shifted(real: Callable[[], float], ahead: mmap.mmap) -> Callable[[], float]:
    return lambda: real() + struct.unpack("d", ahead[:8])[0]


with open(os.environ["REALTIME_TEST_CLOCK"], "rb") as _file:
    _ahead = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
time.time = _shifted(time.time, _ahead)
time.monotonic = _shifted(time.monotonic, _ahead)
