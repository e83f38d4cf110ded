# SPDX-License-Identifier: Apache-2.0
"""Lines that say what happens: read, written, refused."""

import pytest

from probes.geometry import KIB, MIB
from probes.operations import Operation
from sim_backend.scenario.actions import Action, parse_action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("grow 2MB 23", Operation("grow", 2 * MIB, 23)),
        ("hvo off", Operation("hvo", on=False)),
        ("resize 2MB 0", Action("resize", size=2 * MIB, amount=0)),
        ("take 2MB 23", Action("take", size=2 * MIB, amount=23)),
        ("give 64KB 5", Action("give", size=64 * KIB, amount=5)),
        ("reserve 2MB 5", Action("reserve", size=2 * MIB, amount=5)),
        ("unreserve 2MB 5", Action("unreserve", size=2 * MIB, amount=5)),
        ("dissolve 2MB 1", Action("dissolve", size=2 * MIB, amount=1)),
        ("pressure 20KB", Action("pressure", size=20 * KIB)),
        ("pressure off", Action("pressure")),
        ("fragment 1MB", Action("fragment", size=MIB)),
        ("detach remap_pte", Action("detach", "remap_pte")),
        ("miss restore 5", Action("miss", "restore", amount=5)),
        ("lose 1009", Action("lose", amount=1009)),
        ("restart", Action("restart")),
        ("clock +3600", Action("clock", amount=3600)),
        ("clock -0.5", Action("clock", amount=-0.5)),
        ("slow x2.5", Action("slow", amount=2.5)),
    ],
)
def test_read_and_written(text: str, action: Operation | Action) -> None:
    assert parse_action(text) == action
    assert str(action) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing is called ''"),
        ("explode", "nothing is called 'explode' (there are grow, "),
        ("grow 2MB -5", "invalid count '-5' (expected a number above 0)"),
        ("take 2MB 0", "from 1 on, not '0' (write it like 'take 2MB 23')"),
        ("take 2MB -3", "from 1 on, not '-3'"),
        ("resize 2MB -1", "from 0 on, not '-1'"),
        ("take two 3", "invalid size 'two'"),
        ("take 2MB", "write it like 'take 2MB 23'"),
        ("detach kprobe", "no step is called 'kprobe'; there are batch, optimize"),
        ("miss remap_pte", "write it like 'miss remap_pte 5'"),
        ("miss remap_pte few", "not 'few'"),
        ("lose -1", "not '-1'"),
        ("restart now", "write it like 'restart'"),
        ("clock 5", "'5' is no number of seconds with its sign"),
        ("slow 8", "'8' is no factor above 0"),
        ("slow x0", "'x0' is no factor above 0"),
        ("slow x1000001", "more than x1000000"),
        ("clock +1000000001", "further than 1000000000 s"),
        ("clock -1000000001", "further than 1000000000 s"),
        ("pressure some", "invalid size 'some'"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_action(text)
    assert said in str(error.value)
