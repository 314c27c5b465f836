"""What the environment of a test's server asks for.

FAULT_CONFIG: JSON, settings of the realtime layer (shorter deadlines than any user would want).
FAULT_FREEZE: a file; while it exists, the database answers no query.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created

LONGEST_FREEZE = 60.0  # seconds


class FaultConfig(AppConfig):
    name = "tests.faultapp"
    label = "faultapp"

    def ready(self) -> None:
        from chat.realtime import config

        config.apply(**json.loads(os.environ.get("FAULT_CONFIG", "{}")))
        if "FAULT_FREEZE" in os.environ:
            connection_created.connect(_freeze_on_demand)


def _freeze_on_demand(connection: Any, **_: Any) -> None:
    connection.execute_wrappers.append(_wait_while_frozen)


def _wait_while_frozen(execute: Any, *query: Any) -> Any:
    flag = Path(os.environ["FAULT_FREEZE"])
    end = time.monotonic() + LONGEST_FREEZE
    while flag.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return execute(*query)
