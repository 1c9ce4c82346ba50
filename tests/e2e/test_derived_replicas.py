"""Two decision services, each with a gateway of its own, on one store and one target: what is derived through one is
masked by the other from its next statement on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from decision.cli.demo.database import scratch_folder
from decision.cli.demo.stack import CONFIG, DATABASE, Stack
from tests.e2e.clients import admin, connect
from tests.e2e.test_derived_labels import CONNECTION, MASKING, again

FILES = ("people.yaml", "company.classification.yaml", "pgpass")


class First(Stack):
    """Its store is a database beside the target's."""

    def start_database(self) -> None:
        super().start_database()
        self.database.run("CREATE DATABASE store")
        passwords = self.folder / "pgpass"
        passwords.touch(mode=0o600)
        passwords.write_text(f"*:*:*:*:{self.database.admin_password}\n")
        where = f"postgresql://postgres@127.0.0.1:{self.database.port}/store?passfile={passwords}"
        text = CONFIG.format(upstream=self.database.url(DATABASE)).replace("sqlite:///state/twokey.db", where)
        self.config.write_text(text + "policy: {data: policy-data}\n")
        (self.folder / "policy-data").mkdir()
        (self.folder / "policy-data" / "masking.yaml").write_text(MASKING)


class Second(Stack):
    """The first's configuration in a folder of its own."""

    def __init__(self, first: Stack) -> None:
        super().__init__(scratch_folder("twokey-second-"))
        self._first = first
        self._passwords = dict(first.passwords)

    def start_database(self) -> None:
        for name in FILES:
            shutil.copy(self._first.folder / name, self.folder / name)
        shutil.copytree(self._first.folder / "policy-data", self.folder / "policy-data")
        self.config.write_text(self._first.config.read_text())

    def stop(self, *, remove: bool = True) -> None:
        self.stop_twokey()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Stack, Stack]]:
    with First() as first:
        admin(
            first,
            "GRANT CREATE ON SCHEMA public TO company_rw;"
            "ALTER DEFAULT PRIVILEGES FOR ROLE company_rw IN SCHEMA public GRANT SELECT ON TABLES TO company_ro",
        )
        with Second(first) as second:
            yield first, second


def test_a_gateway_of_another_decision_service_masks_it_at_once(both: tuple[Stack, Stack]) -> None:
    for number, (one, other) in enumerate((both, both[::-1])):
        name = f"recent_{number}"
        with (
            connect(one, "executor", connection=CONNECTION) as executor,
            connect(other, "planner", connection=CONNECTION) as planner,
            connect(other, "executor", connection=CONNECTION) as elsewhere,
        ):
            assert again(planner, "SELECT name FROM customers WHERE id = 1")
            again(executor, f"CREATE TABLE {name} AS SELECT id, email FROM customers")
            rows = again(planner, f"SELECT id, email FROM {name}")
            assert len(rows) > 1
            assert all(email is None for _, email in rows)
            assert all("@" in str(email) for _, email in again(elsewhere, f"SELECT id, email FROM {name}"))
