# SPDX-License-Identifier: Apache-2.0
import platform
import subprocess
import sys


def test_glibc_lets_threads_share_one_arena() -> None:
    code = "from exporter.service import malloc; print(malloc.use_one_arena())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(platform.libc_ver()[0] == "glibc")
