# SPDX-License-Identifier: Apache-2.0
"""Generate manual pages and bash completion from the command line.

``python packaging/man_pages.py FOLDER DATE`` writes ``FOLDER/man`` and ``FOLDER/completion``.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import click
from click.shell_completion import BashComplete
from click_man.core import write_man_pages

from exporter.cli.main import cli

NAME = "hvoscope"


def main() -> None:
    """Write both."""
    folder, date = Path(sys.argv[1]), sys.argv[2]
    _load_commands()
    for command in (cli, *cli.commands.values()):
        command.short_help = command.short_help or _first_sentence(command)
    for name in ("man", "completion"):
        (folder / name).mkdir(parents=True)
    write_man_pages(NAME, cli, version=version(NAME), target_dir=str(folder / "man"), date=date)
    completion = BashComplete(cli, {}, NAME, f"_{NAME.upper()}_COMPLETE").source()
    (folder / "completion" / NAME).write_text(completion)


def _load_commands() -> None:
    """Register the commands in the group, which otherwise imports them on use."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        if command := cli.get_command(context, name):
            cli.commands[name] = command


def _first_sentence(command: click.Command) -> str:
    """Return the first sentence of the help, which click would truncate."""
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


if __name__ == "__main__":
    main()
