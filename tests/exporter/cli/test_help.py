# SPDX-License-Identifier: Apache-2.0
import re

import click
import pytest

from exporter.cli.main import COMMANDS, cli


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_two_examples_of_itself(name: str) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command and command.help
    _, _, shown = command.help.partition("Examples:")
    examples = re.findall(rf"^ *(?:\S+ .*)?hvoscope {name}\b", shown, re.MULTILINE)
    assert len(examples) >= 2
