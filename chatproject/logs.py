"""Log lines: one event, one line, as text or as JSON."""

import json
import logging
import re
import time
from typing import Any

# Control characters (C1 too: some terminals obey them), line separators, marks that turn writing round,
# and surrogates, which no stream can write.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class LineFormatter(logging.Formatter):
    """`2025-01-31T10:30:00.123Z WARNING chat.realtime.hub[4711] text`, in UTC.

    Control characters in the text are escaped, so no event can pass for another one or play with a terminal.
    With `fold_tracebacks` a traceback stays on its event's line too, its line ends written as `\\n`.
    """

    def __init__(self, fold_tracebacks: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s")
        self.fold_tracebacks = fold_tracebacks

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _moment(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _escape(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return _escape(line) if self.fold_tracebacks else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `pid`, `event`, its fields, and `traceback`.

    Lines that are no events of ours (Django's, an application's) have their text in `event`. All that is not
    ASCII is escaped.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "event": getattr(record, "event", None) or record.getMessage(),
        }
        for name, value in getattr(record, "fields", {}).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class RefusalFilter(logging.Filter):
    """Refused requests (an unknown Host, a form too big) without a traceback: any client can cause them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.security."):
            record.exc_info = None
        return True


def _moment(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _escape(text: str) -> str:
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
