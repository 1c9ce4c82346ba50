"""Small policies, sources and the real OPA for the tests of this folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from decision.cli import opa
from decision.policy.bundle import ConnectionSource, PolicySources
from decision.policy.engine import Engine, start_engine
from decision.policy.opa_process import LocalOpa, OpaSettings

ROOT = Path(__file__).resolve().parents[3]

ALLOW = {"version": 1, "question": "allow"}

TINY = """package twokey.main

base := {
	"outcome": "deny", "reasons": [{"rule": "tiny.default", "reason": "nothing allows it", "next": ""}],
	"obligations": [], "needs": [], "approval": null, "lease": null, "durability": "before", "window": null,
}

default decision := {
	"outcome": "deny", "reasons": [{"rule": "tiny.default", "reason": "nothing allows it", "next": ""}],
	"obligations": [], "needs": [], "approval": null, "lease": null, "durability": "before", "window": null,
}

decision := object.union(base, {
	"outcome": "allow", "reasons": [{"rule": "@RULE@", "reason": "allowed", "next": ""}],
}) if {
	input.question == "allow"
}

decision := object.union(base, {"outcome": "allow", "reasons": [{"rule": name, "reason": "named", "next": ""}]}) if {
	input.question == "people"
	some principal in data.twokey.config.people.principals
	name := principal.name
}

decision := object.union(base, {"outcome": "allow"}) if {
	input.question == "builtin"
	not time.parse_rfc3339_ns(input.bad)
}

decision := "nonsense" if input.question == "nonsense"
"""

PEOPLE = """principals:
  - {name: alice, identities: [{iss: https://idp.example, sub: a1}], groups: [dba]}
agents:
  - {name: robot, identities: [{iss: https://idp.example, sub: r1}], owner: alice}
"""


def opa_path() -> Path:
    """The OPA that set-up obtained. Raises CliError when there is none."""
    return opa.find(os.environ)


def write_policy(folder: Path, rule: str = "tiny.allow") -> None:
    (folder / "rego").mkdir(exist_ok=True)
    (folder / "rego" / "main.rego").write_text(TINY.replace("@RULE@", rule))


def make_sources(folder: Path, *, data: Path | None = None, dev: bool = False) -> PolicySources:
    write_policy(folder)
    (folder / "people.yaml").write_text(PEOPLE)
    (folder / "crm.yaml").write_text("public.customers.email: email\n")
    connection = ConnectionSource(
        name="crm", kind="postgres", environment="production", classification=folder / "crm.yaml"
    )
    return PolicySources(
        rego=folder / "rego",
        data=data,
        people=folder / "people.yaml",
        connections=(connection,),
        issuers=(
            {"issuer": "https://idp.example", "audience": "twokey", "roles": {"claim": "g", "map": {"p": "planner"}}},
        ),
        dev=dev,
    )


class Events:
    """Hears the engine's events and lets a test wait for one."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self._changed = asyncio.Event()

    def __call__(self, name: str, fields: object) -> None:
        self.seen.append((name, dict(fields)))  # type: ignore[call-overload]
        self._changed.set()

    async def until(self, condition: Callable[[list[str]], bool]) -> None:
        async with asyncio.timeout(15):
            while not condition([name for name, _ in self.seen]):
                self._changed.clear()
                await self._changed.wait()

    def count(self, name: str) -> int:
        return [seen for seen, _ in self.seen].count(name)


async def start(folder: Path, events: Events | None = None, *, watch: bool = False) -> Engine:
    return await start_engine(make_sources(folder), OpaSettings(opa_path()), on_event=events, watch=watch)


def local(engine: Engine) -> LocalOpa:
    assert engine._current is not None
    assert isinstance(engine._current.opa, LocalOpa)
    return engine._current.opa
