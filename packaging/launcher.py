#!/usr/bin/python3 -I
# SPDX-License-Identifier: Apache-2.0
"""/usr/bin/hvoscope of the Debian package, whose modules have a place of their own."""

import os
import sys

HOME = "/usr/share/hvoscope"

sys.path.insert(0, HOME)
os.environ["PYTHONPATH"] = HOME  # for the loader, which is a Python of its own

from exporter.cli.main import main  # noqa: E402 - only found from here on

main()
