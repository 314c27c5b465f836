"""The second process of ``ChatServer.django``: runs code from JSON lines, answers with JSON lines."""

import json
import sys
import traceback
from typing import Any

import django


def main() -> None:
    django.setup()
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


if __name__ == "__main__":
    main()
