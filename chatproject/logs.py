"""Log lines: one event, one line."""

import logging
import re
import time

CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class LineFormatter(logging.Formatter):
    """`2025-01-31T10:30:00.123Z WARNING chat.realtime.hub[4711] text`, in UTC.

    Control characters in the text are escaped, so no event can pass for another one or play with a terminal.
    With `fold_tracebacks` a traceback stays on its event's line too, its line ends written as `\\n`.
    """

    def __init__(self, fold_tracebacks: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s")
        self.fold_tracebacks = fold_tracebacks

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{seconds}.{int(record.msecs):03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _escape(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return _escape(line) if self.fold_tracebacks else line


class RefusalFilter(logging.Filter):
    """Refused requests (an unknown Host, a form too big) without a traceback: any client can cause them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.security."):
            record.exc_info = None
        return True


def _escape(text: str) -> str:
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
