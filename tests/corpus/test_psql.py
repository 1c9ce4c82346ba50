"""Every backslash command by which psql describes objects, as its own help lists them, answered as it is directly."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.corpus.field import READER, Field
from tests.corpus.link import Place

_COMMAND = re.compile(r"^  \\(\w+)", re.MULTILINE)
_WAYS = ("", "S+", "x", " shop.*", "+ *.pat*", " no*thing", '+ "public".(wards|v_plain)')
_NAMED = {"sf": ("shop.touch", "+ shop.price_of"), "sv": ("shop.sales", "+ v_over")}
_KINDS = ("dfa", "dfn", "dfp", "dft", "dfw", "dPi", "dPt", "dPn", "dtv", "disv", "dtvmsE")  # letters that go together
# Refused on purpose, as they show connection secrets; and what the gateway sets at a session's opening shows among the
# settings that aren't as they come (test_benign.py compares all settings).
_OTHERWISE = {"\\dRsS+", "\\deuS+", "\\dconfig", "\\dconfigS+", "\\dconfigx"}


def _psql(field: Field, place: Place, *arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [str(field.stack.database.psql), "-X", "-A", "-P", "pager=off", *arguments],
        input=given,
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout


def _commands(field: Field) -> list[str]:
    """Those of the section "Informational" of its help."""
    told = _psql(field, field.direct("a", READER), "--help=commands")
    names = set(_COMMAND.findall(told[told.index("Informational") :].split("\n\n", 1)[0]))
    assert len(names) >= 45
    said = [f"\\{name}{' ' if not way.startswith('+') else ''}{way}" for name in _NAMED for way in _NAMED[name]]
    said += [f"\\{name}{way}" for name in sorted((names - set(_NAMED)) | set(_KINDS)) for way in _WAYS]
    return [command for command in said if command not in _OTHERWISE]


@pytest.mark.target
@pytest.mark.timeout(240)
def test_objects_are_described_as_they_are_directly(field: Field) -> None:
    said = _commands(field)
    script = "".join(f"\\echo {'-' * 8} {number}\n{command}\n" for number, command in enumerate(said))
    shown = [
        _psql(field, place, given=script).split("-" * 8) for place in (field.direct("a", READER), field.gateway("work"))
    ]
    direct, gateway = shown
    assert len(direct) == len(gateway) == len(said) + 1
    differ = [
        f"{command}\n= {here[:600]}\n: {there[:600]}"
        for command, there, here in zip(said, direct[1:], gateway[1:], strict=True)
        if there != here
    ]
    assert not differ, f"{len(differ)} of {len(said)} differ\n" + "\n".join(differ)
