# SPDX-License-Identifier: Apache-2.0
"""Write a file that others read: they see the old contents or the new, never a part."""

import os
import tempfile
from pathlib import Path

import click


def replace_file(path: Path, content: bytes) -> None:
    """Replace ``path``, readable for all; a link that stands there is replaced, not followed.

    Raises ``click.ClickException``.
    """
    try:
        descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)
            Path(fresh).replace(path)
        except BaseException:
            Path(fresh).unlink()
            raise
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from error
