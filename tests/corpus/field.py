"""The battlefield: one PostgreSQL, two pairs of databases, a stack in front of one pair with the shipped policies.

`a` and `b` are reached through the gateway, `direct_a` and `direct_b` without it; a and b differ in classified values
alone, and all four have the same object ids, being copies of one. The planner's account at the target is a superuser:
the gateway is the only defence. `work` is `a` with an account that may only read, as it should be.

Planners never write, whatever they write. So there is a second masked role: here the executor sees every label masked
too, on connections where writes are held for nothing else (`write_a`, `write_b`; `hands` is `a` with an account that
may write rows). What is held all the same is held for a second, and then denied.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from decision.cli.demo.stack import PEOPLE, SUBJECTS, Stack
from decision.policy.bundle import shipped_rego
from tests.corpus import worlds
from tests.corpus.canaries import SIDES, rows
from tests.corpus.link import Link, Place

HERE = Path(__file__).parent
READER = "reader"
WRITER = "writer"
WIDE = "wide"
EXTENSIONS = (
    "dblink", "postgres_fdw", "file_fdw", "pageinspect", "amcheck", "pgcrypto", "tablefunc", "xml2", "pg_trgm",
    "hstore", "citext", "fuzzystrmatch", "pg_stat_statements", "pgrowlocks", "pgstattuple", "pg_visibility",
    "pg_walinspect", "unaccent", "btree_gist", "intarray", "ltree", "lo", "pg_prewarm", "pg_freespacemap",
)  # fmt: skip

_HEAD = "people: people.yaml\npolicy: {data: policy-data}\nconnections:\n"
_CONNECTION = """\
  - name: {name}
    kind: postgres
    environment: {environment}
    upstream: {url}
    credentials:
      {role}: {{user: {user}, password: {{env: COMPANY_RO_PASSWORD}}}}
    classification: classification.yaml
"""
_TAIL = "store: sqlite:///state/twokey.db\naudit: {dir: state/audit}\n"
# The connection's database, role, account and environment.
CONNECTIONS = {
    "a": ("a", "planner", WIDE, "production"),
    "b": ("b", "planner", WIDE, "production"),
    "work": ("a", "planner", READER, "production"),
    "write_a": ("a", "executor", WIDE, "development"),
    "write_b": ("b", "executor", WIDE, "development"),
    "hands": ("a", "executor", WRITER, "development"),
}
_CLEARED = '  executor: ["*"]\n'
_SETTINGS = (
    "shared_preload_libraries=pg_stat_statements",
    "track_io_timing=off",
    "autovacuum=off",
    "wal_keep_size=1GB",  # an attack reads it
)


class FieldStack(Stack):
    """The stack of the field: its connections, its classification."""

    def __init__(self, world: worlds.World, seed: int) -> None:
        super().__init__(database_settings=_SETTINGS)
        self.world, self.seed = world, seed
        self.classification = (HERE / "classification.yaml").read_text(encoding="utf-8") + world.classification

    def start_database(self) -> None:
        self.database.start()
        self._make_databases(self.passwords["company_ro"])
        connections = "".join(
            _CONNECTION.format(name=name, url=self.database.url(base), role=role, user=user, environment=environment)
            for name, (base, role, user, environment) in CONNECTIONS.items()
        )
        self._make_policy()
        self.config.write_text(_HEAD + connections + _TAIL, encoding="utf-8")
        (self.folder / "people.yaml").write_text(PEOPLE, encoding="utf-8")
        (self.folder / "classification.yaml").write_text(self.classification, encoding="utf-8")

    def _make_policy(self) -> None:
        """The shipped data, but that executors see labels masked and nobody waits long for a reviewer."""
        data = self.folder / "policy-data"
        data.mkdir()
        for name, shipped, own in (
            ("masking.yaml", _CLEARED, ""),
            ("approvals.yaml", "expires_s: 3600", "expires_s: 1"),
        ):
            text = (shipped_rego() / "data" / name).read_text(encoding="utf-8")
            if shipped not in text:
                raise ValueError(f"{name} has no {shipped!r} any more")
            (data / name).write_text(text.replace(shipped, own), encoding="utf-8")

    def _make_databases(self, password: str) -> None:
        run = self.database.run
        for role, right in ((WIDE, "SUPERUSER"), (READER, "NOSUPERUSER"), (WRITER, "NOSUPERUSER")):
            run(f"CREATE ROLE {role} LOGIN {right} PASSWORD '{password}'")
        run("CREATE DATABASE origin")
        run((HERE / "schema.sql").read_text(encoding="utf-8"), database="origin")
        made = [*self.world.ddl, *self.world.views, "GRANT USAGE ON SCHEMA rnd TO PUBLIC"]
        made += [f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {WRITER}"]
        run(";\n".join([*made, "GRANT SELECT ON ALL TABLES IN SCHEMA rnd TO PUBLIC"]), database="origin")
        wanted = ", ".join(f"'{name}'" for name in EXTENSIONS)
        found = run(f"SELECT name FROM pg_available_extensions WHERE name IN ({wanted}) ORDER BY 1").split()
        statements = "".join(f'CREATE EXTENSION "{name}" SCHEMA tools;' for name in found)
        run(f"CREATE SCHEMA tools; {statements} GRANT USAGE ON SCHEMA tools TO PUBLIC", database="origin")
        self.extensions = frozenset(found)
        for side in SIDES:
            for name in (side, f"direct_{side}"):
                run(f"CREATE DATABASE {name} TEMPLATE origin")
                run(worlds.rows(self.world, side, self.seed) + rows(side), database=name)
        run("CHECKPOINT")  # what reads files finds rows there


class Field:
    """A context manager."""

    def __init__(self, *, world: worlds.World | None = None, seed: int = 0) -> None:
        """world: the random schema beside the fixed one; of seed 0 where none is given."""
        self.world = world or worlds.make(seed)
        self.stack = FieldStack(self.world, seed)

    def __enter__(self) -> Field:
        try:
            self.stack.start()
        except BaseException:
            self.stack.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.stop()

    @property
    def classification(self) -> str:
        return self.stack.classification

    @property
    def version(self) -> int:
        return self.stack.database.version

    def gateway(self, connection: str) -> Place:
        """connection: one of CONNECTIONS."""
        _, port = self.stack.address(connection)
        role = CONNECTIONS[connection][1]
        return Place(port, role, self.stack.token(SUBJECTS[role], role), connection)

    def direct(self, database: str, user: str = WIDE) -> Place:
        """database: direct_a, direct_b; or a, for what `work` is compared with."""
        return Place(self.stack.database.port, user, self.stack.passwords["company_ro"], database)

    def link(self, place: Place) -> Link:
        return Link(place)
