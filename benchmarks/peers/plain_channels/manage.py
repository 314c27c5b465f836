#!/usr/bin/env python
"""Management entry point of the peer project (only `check` is of any use)."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "plain_channels.settings")
    execute_from_command_line(sys.argv)
