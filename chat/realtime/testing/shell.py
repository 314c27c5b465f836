"""The second process of ``RealtimeServer.django``: runs code from JSON lines, answers with JSON lines."""

import json
import sys
import traceback
from typing import Any


def main() -> None:
    """In a process where Django is set up."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the code prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        names: dict[str, Any] = {"__name__": "__shell__", **asked["names"]}
        try:
            exec(asked["code"], names)
            answer = {"result": names.get("result")}
        except Exception:  # noqa: BLE001 - whatever it is, the test is told
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
