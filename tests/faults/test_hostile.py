"""A logged-in client that sends anything: real gateway, real describer, real PostgreSQL.

Whatever it sends, it gets messages of the protocol and, at the latest when it has broken it, an end; the gateway has
no exception of its own, every act has its outcome, nothing runs twice, and the next client is served.
"""

from __future__ import annotations

from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcers.postgres import wire
from tests.enforcers.postgres.conftest import Postgres
from tests.faults.bench import ApprovingGate, Bench, Client, client, until
from tests.faults.conversations import PLAIN, POLICY, RUN, Unit, conversations
from tests.fuzz.generate import break_messages, cut

SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def messages_of(units: list[Unit]) -> list[bytes]:
    found: list[bytes] = []
    for unit in units:
        data = unit.messages
        while data:
            end = 1 + int.from_bytes(data[1:5], "big")
            found.append(data[:end])
            data = data[end:]
    return found


def take_in(one: Client) -> None:
    """Everything up to the end."""
    while one.read() is not None:
        pass


@SETTINGS
@given(units=conversations((*PLAIN, *POLICY)), seed=st.integers(0, 1 << 32))
def test_whatever_a_client_sends(bench: Bench, postgres: Postgres, units: list[Unit], seed: int) -> None:
    random = Random(seed)
    run = b"%016d" % (10**15 + random.randrange(10**12))
    messages = break_messages(random, [raw.replace(RUN, run) for raw in messages_of(units)])
    with client(bench.port, application="hostile") as one:
        assert one.log_in()
        gate = bench.core.gates[-1]
        assert isinstance(gate, ApprovingGate)
        for piece in cut(random, b"".join(messages)) if random.random() < 0.3 else messages:
            one.send(piece)
        one.finish()
        take_in(one)
        assert not one.parts, "the end came within a message"
    until(lambda: bool(gate.closed), what="the session's end")
    assert len(gate.ends) == gate.granted, (gate.ended, gate.granted)
    assert bench.failures == []
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hostile'"
        until(lambda: admin.execute(query).fetchone() == (0,), what="the end of its backend")
        twice = admin.execute("SELECT n FROM ledger WHERE run = %s GROUP BY n HAVING count(*) > 1", (run.decode(),))
        sent = b"".join(messages)
        # A message that was sent twice may of course run twice.
        assert [n for (n,) in twice if sent.count(b"%d" % n) < 2] == []


@pytest.mark.parametrize("kind", range(256))
def test_every_type_of_message_with_an_empty_body(bench: Bench, kind: int) -> None:
    with client(bench.port, application="types") as one:
        assert one.log_in()
        one.send(bytes([kind]) + b"\0\0\0\4" + wire.SYNC)
        one.finish()
        take_in(one)
        assert not one.parts
        if one.seen:
            assert one.seen[0][0] in "EZ", one.seen
    assert bench.failures == []


def test_the_next_client_is_served(bench: Bench) -> None:
    with client(bench.port, application="next") as one:
        assert one.log_in()
        one.send(wire.query(b"SELECT 1"))
        assert one.until_ready(1)
