"""Operations: ids, lease keys, digests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from enforcers.postgres.describe.digest import operation_digest
from enforcers.postgres.description import Description, SessionNames
from enforcers.postgres.machine_state import Transaction
from enforcers.postgres.operations import Digests, LeaseKeys, bound_values, build, new_operation_id, status_of
from tests.enforcers.postgres.fakes import ScriptedDescriber

NAMES = SessionNames(database="db", search_path=("pg_catalog", "public"), effective_role="app", session_role="app")


def described(text: str = "SELECT 1") -> Description:
    found = ScriptedDescriber().describe(text.encode(), NAMES)
    assert isinstance(found, list)
    return found[0]


def test_ids_are_uuid7_and_differ() -> None:
    ids = {new_operation_id() for _ in range(1000)}
    assert len(ids) == 1000
    for one in ids:
        value = 0
        for digit in one[3:]:
            value = value << 5 | "abcdefghijklmnopqrstuvwxyz234567".index(digit)
        value >>= 2
        assert len(one) == 29
        assert (value >> 76 & 15, value >> 62 & 3) == (7, 2)


VALUES = st.lists(st.none() | st.binary(max_size=12), max_size=4)


@given(VALUES, st.sampled_from([(), (0,), (1,)]), st.lists(st.integers(0, 2**32 - 1), max_size=4))
def test_the_digest_is_the_describers(values: list[bytes | None], formats: tuple[int, ...], types: list[int]) -> None:
    bound = bound_values(values, formats, tuple(types))
    digests = Digests("crm")
    for _ in range(2):  # the second time from what was kept
        assert digests.digest(described(), NAMES, bound) == operation_digest(described(), NAMES, "crm", bound)


def test_a_lease_key_differs_by_everything_policy_reads() -> None:
    keys = LeaseKeys(read_only=False)
    one = described()
    idle, active, written = Transaction(), Transaction(active=True), Transaction(active=True, written=True)
    found = {
        keys.key(one, idle, 0, 1),
        keys.key(one, active, 0, 1),
        keys.key(one, written, 0, 1),
        keys.key(one, Transaction(active=True, failed=True), 0, 1),
        keys.key(one, idle, 0, 2),
        keys.key(one, idle, 1, 2),
        keys.key(described("UPDATE x"), idle, 0, 1),
        LeaseKeys(read_only=True).key(one, idle, 0, 1),
    }
    assert len(found) == 8
    assert keys.key(one, idle, 0, 1) == keys.key(described(), idle, 0, 1)


def test_what_is_kept_is_bounded_and_changes_nothing() -> None:
    keys = LeaseKeys(read_only=False, maximum=3)
    first = keys.key(described(), Transaction(), 0, 1)
    for i in range(10):
        keys.key(described(), Transaction(), i, 20)
    assert keys.key(described(), Transaction(), 0, 1) == first


def test_an_operation_holds_what_the_session_adds() -> None:
    bound = bound_values([b"a", None], (0, 1), (25,))
    operation = build(
        "crm",
        described(),
        operation_id="op_x",
        digest=b"d",
        transaction=Transaction(active=True, written=True),
        read_only=True,
        position=1,
        statements=2,
        bound=bound,
    )
    sql = operation.sql
    assert (sql.transaction.status, sql.transaction.written, sql.transaction.read_only) == ("active", True, True)
    assert (sql.position, sql.statements, sql.values.statement) == (1, 2, b"SELECT 1")
    assert [(v.type_oid, v.is_null, v.binary, v.value) for v in sql.values.bound] == [
        (25, False, False, b"a"),
        (0, True, True, b""),
    ]
    assert status_of(Transaction(active=True, failed=True)) == "failed"
