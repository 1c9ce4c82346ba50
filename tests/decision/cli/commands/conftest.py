"""A real PostgreSQL with the labelled sample schema, and a configuration that names it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from decision.cli.demo.database import Database, scratch_folder
from tests.decision.cli.suggest import clinic as sample

CONFIG = """
people: people.yaml
connections:
  - name: clinic
    kind: postgres
    environment: test
    upstream: {url}
    credentials:
      planner: {{user: clinic_ro, password: {{file: ro.secret, on_disk: true}}}}
      executor: {{user: clinic_rw, password: {{file: ro.secret, on_disk: true}}}}
    classification: clinic.classification.yaml
store: sqlite:///state/twokey.db
"""


@dataclass(frozen=True)
class Clinic:
    database: Database
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "twokey.yaml"

    @property
    def classification(self) -> Path:
        return self.folder / "clinic.classification.yaml"

    def run(self, sql: str) -> str:
        return self.database.run(sql, database="clinic")


@pytest.fixture(scope="session")
def _clinic() -> Iterator[Clinic]:
    folder = scratch_folder("twokey-clinic-")
    database = Database(folder / "postgresql")
    try:
        database.start()
        database.run("CREATE DATABASE clinic")
        database.run("CREATE ROLE clinic_ro LOGIN PASSWORD 'x'; CREATE ROLE clinic_rw LOGIN PASSWORD 'x'")
        database.run(sample.statements(), database="clinic")
        database.run(
            'GRANT USAGE ON SCHEMA public, "sales data" TO clinic_ro; REVOKE CREATE ON SCHEMA public FROM PUBLIC;'
            'GRANT SELECT ON ALL TABLES IN SCHEMA public, "sales data" TO clinic_ro;'
            "REVOKE ALL ON secret_box FROM clinic_ro",
            database="clinic",
        )
        (folder / "twokey.yaml").write_text(CONFIG.format(url=database.url("clinic")))
        (folder / "people.yaml").write_text("principals: [{name: alice}]\n")
        (folder / "ro.secret").write_text("x")
        yield Clinic(database, folder)
    finally:
        database.remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def clinic(_clinic: Clinic) -> Clinic:
    """With nothing classified."""
    _clinic.classification.write_text("# labels of the clinic\n")
    return _clinic
