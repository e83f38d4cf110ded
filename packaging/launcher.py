#!/usr/bin/python3 -I
# SPDX-License-Identifier: Apache-2.0
"""/usr/bin/hvoscope of the packages, whose modules are outside of Python's path."""

import os
import sys
from pathlib import Path

HOME = str(Path(__file__).resolve().parents[1] / "share/hvoscope")

sys.path.insert(0, HOME)
os.environ["PYTHONPATH"] = HOME  # for the loader, a separate Python process

from exporter.cli.main import main  # noqa: E402 - needs the path above

main()
