"""The battlefield: one PostgreSQL, two pairs of databases, a stack in front of one pair with the shipped policies.

`a` and `b` are reached through the gateway, `direct_a` and `direct_b` without it; a and b differ in classified values
alone, and all four have the same object ids, being copies of one. The planner's account at the target is a superuser:
the gateway is the only defence. `work` is `a` with an account that may only read, as it should be.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from decision.cli.demo.stack import PEOPLE, Stack
from tests.corpus import worlds
from tests.corpus.canaries import SIDES, rows
from tests.corpus.link import Link, Place

HERE = Path(__file__).parent
READER = "reader"
WIDE = "wide"
EXTENSIONS = (
    "dblink", "postgres_fdw", "file_fdw", "pageinspect", "amcheck", "pgcrypto", "tablefunc", "xml2", "pg_trgm",
    "hstore", "citext", "fuzzystrmatch", "pg_stat_statements", "pgrowlocks", "pgstattuple", "pg_visibility",
    "pg_walinspect", "unaccent", "btree_gist", "intarray", "ltree", "lo", "pg_prewarm", "pg_freespacemap",
)  # fmt: skip

_HEAD = "people: people.yaml\nconnections:\n"
_CONNECTION = """\
  - name: {name}
    kind: postgres
    environment: production
    upstream: {url}
    credentials:
      planner: {{user: {user}, password: {{env: COMPANY_RO_PASSWORD}}}}
    classification: classification.yaml
"""
_TAIL = "store: sqlite:///state/twokey.db\naudit: {dir: state/audit}\n"
CONNECTIONS = {"a": WIDE, "b": WIDE, "work": READER}
_SETTINGS = ("shared_preload_libraries=pg_stat_statements", "track_io_timing=off", "autovacuum=off")


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
            _CONNECTION.format(name=name, url=self.database.url("a" if name == "work" else name), user=user)
            for name, user in CONNECTIONS.items()
        )
        self.config.write_text(_HEAD + connections + _TAIL, encoding="utf-8")
        (self.folder / "people.yaml").write_text(PEOPLE, encoding="utf-8")
        (self.folder / "classification.yaml").write_text(self.classification, encoding="utf-8")

    def _make_databases(self, password: str) -> None:
        run = self.database.run
        for role, right in ((WIDE, "SUPERUSER"), (READER, "NOSUPERUSER")):
            run(f"CREATE ROLE {role} LOGIN {right} PASSWORD '{password}'")
        run("CREATE DATABASE origin")
        run((HERE / "schema.sql").read_text(encoding="utf-8"), database="origin")
        made = [*self.world.ddl, *self.world.views, "GRANT USAGE ON SCHEMA rnd TO PUBLIC"]
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
        """connection: a, b or work."""
        _, port = self.stack.address(connection)
        return Place(port, "planner", self.stack.token("planner-3", "planner"), connection)

    def direct(self, database: str, user: str = WIDE) -> Place:
        """database: direct_a, direct_b; or a, for what `work` is compared with."""
        return Place(self.stack.database.port, user, self.stack.passwords["company_ro"], database)

    def link(self, place: Place) -> Link:
        return Link(place)
