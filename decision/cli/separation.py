"""How many principals an act takes: the least number of disjoint closures able to carry it from plan to execution.

Constraints between roles do not by themselves make an act take two people (Li, Tripunitara, Bizri: "On mutually
exclusive roles and separation of duty"): somebody has to count. Two identities are of one principal where their
closures meet, and every chain of owners ends in a principal of people.yaml; so a closure is named by that principal,
its *root*, and closures are disjoint where their roots differ.

What is counted are the grants, risks, approvals and assignments of the policy data, at their most permissive: what
some rule lets pass is reckoned as passing. Policies of one's own in Rego aren't read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

Data = Mapping[str, object]
WRITING = ("write", "delete", "lock", "define", "remove", "rights", "maintain", "rebuild", "blocks")
DELETE = "delete"  # a class of its own: a verb of the group write that risks.yaml may hold by itself
_RULES = {DELETE: "SQL-DELETE"}
_HELD_RULE = "SQL-DDL"


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of an act, and who may do it: root -> the party that would."""

    name: str
    able: Mapping[str, str]
    apart: frozenset[int]  # earlier phases whose closure this one's must not meet


@dataclass(frozen=True, slots=True)
class Row:
    """least: 0 where nobody can. witness: the phases and who would do them."""

    connection: str
    environment: str
    duty: str
    least: int
    witness: tuple[tuple[str, str], ...]
    why: str = ""

    @property
    def sentence(self) -> str:
        if not self.least:
            return self.why or "nobody can"
        names = sorted({party for _, party in self.witness})
        return f"{' and '.join(names)} can: {self.least}" if names else f"at least {self.least}"


def fewest(phases: Sequence[Phase]) -> tuple[str, ...] | None:
    """A root for each phase, as few different ones as there can be; None where it can't be done. Exact: every choice is
    tried that isn't already worse than the best. Roots that nobody tells apart (able to do the same phases) are
    one choice until they are used, so that a thousand principals cost no more than a few."""
    best: tuple[str, ...] | None = None
    kinds: dict[str, frozenset[int]] = {}
    for index, phase in enumerate(phases):
        for root in phase.able:
            kinds[root] = kinds.get(root, frozenset()) | {index}

    def place(chosen: tuple[str, ...], used: frozenset[str]) -> None:
        nonlocal best
        if best is not None and len(used) >= len(set(best)):
            return
        index = len(chosen)
        if index == len(phases):
            best = chosen
            return
        phase = phases[index]
        taken = {chosen[other] for other in phase.apart}
        again = [root for root in sorted(used) if root in phase.able and root not in taken]
        alike: dict[frozenset[int], str] = {}
        for root in sorted(phase.able):
            if root not in used:
                alike.setdefault(kinds[root], root)
        for root in (*again, *alike.values()):
            place((*chosen, root), used | {root})

    place((), frozenset())
    return best


class Separation:
    """`policy`: the policy data by file name; `people`: principals and agents as people.yaml has them."""

    def __init__(self, policy: Mapping[str, object], people: Data, connections: Sequence[tuple[str, str]]) -> None:
        """connections: name and environment. Raises KeyError, TypeError, ValueError: not the data that policy reads."""
        self._policy = policy
        self._connections = connections
        self._duties = _map(policy["duties"])
        self._roles = _map(policy["roles"])
        self._risks = _map(policy["risks"])
        self._approvals = _map(policy["approvals"])
        owners = {str(one["name"]): str(one["owner"]) for one in _maps(people.get("agents", ()))}
        principals = {str(one["name"]): _texts(one.get("groups", ())) for one in _maps(people.get("principals", ()))}
        self._groups = principals
        self._roots = {name: _root(name, owners) for name in (*principals, *owners)}

    def rows(self, *, plan: bool = False) -> list[Row]:
        """Of each connection each verb class, and of each process. `plan`: the act is planned first, by another
        principal than who executes it."""
        groups = sorted({str(group) for group in _map(self._policy["verbs"]).values()} | {DELETE})
        found = [self._row(name, where, group, plan=plan) for name, where in self._connections for group in groups]
        return found + [self._process(one) for one in _maps(self._duties.get("processes", ()))]

    def too_few(self, rows: Sequence[Row]) -> list[tuple[Row, int]]:
        """Those that take fewer principals than duties.yaml demands, with what it demands."""
        found = []
        for row in rows:
            least = max((demand for demand in self._demands(row)), default=0)
            if 0 < row.least < least:
                found.append((row, least))
        return found

    def matrix(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows: each role, the duties it has (x), those that conflict in it (!), and what it excludes."""
        calls = _map(_map(self._policy.get("calls", {})).get("roles", {}))
        duties = {
            "plan": self._callers(calls, "twokey.plan.v1.PlanService/Propose"),
            "write": {role for role in self._roles if any(self._granted(role, "*", one) for one in WRITING)},
            "approve": {str(_map(self._duties["review"])["role"])},
            "audit": self._callers(calls, "twokey.audit.v1.AuditService/Read"),
            "administer": self._callers(calls, "twokey.decision.v1.DecisionService/Revoke"),
        }
        conflicts = [{"plan", "write"}, {"write", "approve"}, {"write", "audit"}, {"audit", "administer"}]
        rows = []
        for role in self._roles:
            has = {duty for duty, roles in duties.items() if set(self._below([role])) & roles}
            clash = {duty for pair in conflicts if pair <= has for duty in pair}
            cells = ["!" if duty in clash else "x" if duty in has else "" for duty in duties]
            rows.append([role, *cells, self._excludes(role)])
        return ["role", *duties, "excludes"], rows

    def _row(self, connection: str, environment: str, group: str, *, plan: bool) -> Row:
        risk = _map(self._risks.get(environment, self._risks["*"]))
        if ("write" if group == DELETE else group) in _texts(risk["deny"]):
            return Row(connection, environment, group, 0, (), "denied, approved or not")
        held = group in _texts(risk["hold"]) or (group == DELETE and risk["hold_delete"] is True)
        phases: list[Phase] = []
        executors = self._able(lambda role: self._granted(role, environment, group))
        if plan:
            phases.append(Phase("plan", self._able(self._plans), frozenset()))
        executing = len(phases)
        phases.append(Phase("execute", executors, frozenset(range(executing))))
        for number in range(self._quorum(group) if held else 0):
            reviewers = self._reviewers(group)
            phases.append(Phase(f"approve {number + 1}", reviewers, frozenset(range(len(phases)))))
        chosen = fewest(phases)
        if chosen is None:
            lacking = next((phase.name for phase in phases if not phase.able), "")
            return Row(
                connection, environment, group, 0, (), f"nobody can {lacking}" if lacking else "too few principals"
            )
        witness = tuple((phase.name, phase.able[root]) for phase, root in zip(phases, chosen, strict=True))
        return Row(connection, environment, group, len(set(chosen)), witness)

    def _process(self, process: Data) -> Row:
        steps = len(_maps(process["steps"]))
        limit = process.get("limit", steps)
        least = ceil(steps / (limit - 1)) if isinstance(limit, int) and limit > 1 else 0
        return Row("", "", f"process {process['name']}", least, ())

    def _demands(self, row: Row) -> list[int]:
        found = []
        for entry in _maps(self._duties.get("minimum", ())):
            pairs = (("connections", row.connection), ("environments", row.environment), ("groups", row.duty))
            if all("*" in _texts(entry.get(key, ["*"])) or value in _texts(entry[key]) for key, value in pairs):
                found.append(_number(entry["least"]))
        return found

    def _granted(self, role: str, environment: str, group: str) -> bool:
        if group in WRITING and role in _texts(self._duties.get("never_write", ())):
            return False
        entry = _map(self._roles[role])
        grants = _map(entry.get("grants", {}))
        given = _texts(grants.get(environment, grants.get("*", ())))
        return entry.get("connect") is True and ("write" if group == DELETE else group) in given

    def _plans(self, role: str) -> bool:
        calls = _map(_map(self._policy.get("calls", {})).get("roles", {}))
        return role in self._callers(calls, "twokey.plan.v1.PlanService/Propose")

    def _callers(self, calls: Data, rpc: str) -> set[str]:
        return set(_texts(calls.get(rpc, ())))

    def _able(self, does: object) -> Mapping[str, str]:
        """Root -> its party with a role that does; agents first, they are who acts."""
        roles = [role for role in self._roles if callable(does) and does(role)]
        found: dict[str, str] = {}
        for name in sorted(self._roots, key=lambda one: (one in self._groups, one)):
            if any(role in self._held(name) for role in roles):
                found.setdefault(self._roots[name], name)
        return found

    def _reviewers(self, group: str) -> Mapping[str, str]:
        asked = set(_texts(self._terms(group)["groups"]))
        role = str(_map(self._duties["review"])["role"])
        return {
            self._roots[name]: name
            for name, groups in self._groups.items()
            if asked & set(groups) and role in self._held(name)
        }

    def _quorum(self, group: str) -> int:
        return max(1, _number(self._terms(group)["quorum"]))

    def _terms(self, group: str) -> Data:
        rules = _map(self._approvals["rules"])
        return _map(rules.get(_RULES.get(group, _HELD_RULE), self._approvals["default"]))

    def _held(self, name: str) -> Collection[str]:
        """Roles of a party; where nothing is assigned, any: tokens are given out elsewhere."""
        assignments = self._duties.get("assignments")
        if assignments is None:
            return self._roles
        return self._below(_texts(_map(assignments).get(name, ())))

    def _below(self, roles: Collection[str]) -> Collection[str]:
        hierarchy = _map(self._duties.get("hierarchy", {}))
        found, new = set(roles), list(roles)
        while new:
            for role in _texts(hierarchy.get(new.pop(), ())):
                if role not in found:
                    found.add(role)
                    new.append(role)
        return found

    def _excludes(self, role: str) -> str:
        others: dict[str, set[str]] = {}
        for kind in ("static", "dynamic"):
            for entry in _maps(self._duties.get(kind, ())):
                roles = _texts(entry["roles"])
                for other in roles if role in roles else ():
                    if other != role:
                        others.setdefault(other, set()).add(kind)
        return ", ".join(f"{other} ({' and '.join(sorted(kinds))})" for other, kinds in sorted(others.items()))


def _root(name: str, owners: Mapping[str, str]) -> str:
    seen: set[str] = set()
    while name in owners and name not in seen:
        seen.add(name)
        name = owners[name]
    return name


def _map(value: object) -> Data:
    if not isinstance(value, Mapping):
        raise TypeError("a mapping is expected")
    return value


def _maps(value: object) -> list[Data]:
    if not isinstance(value, list | tuple):
        raise TypeError("a list is expected")
    return [_map(one) for one in value]


def _texts(value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError("a list is expected")
    return [str(one) for one in value]


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a whole number is expected")
    return value
