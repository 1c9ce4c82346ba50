"""The detector finds a canary however it was turned, on a real server, and finds none where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from enforcers.postgres import wire
from tests.corpus.detector import Detector
from tests.corpus.field import Field
from tests.corpus.link import Link
from tests.corpus.modes import say
from tests.corpus.secrets_of import classified, detector

TURNED = {
    "as it is": "ssn",
    "upper": "upper(ssn)",
    "lower": "lower(ssn)",
    "initcap": "initcap(ssn)",
    "reversed": "reverse(ssn)",
    "cut to six characters": "substr(ssn, 4, 6)",
    "cut and reversed": "reverse(substr(ssn, 4, 6))",
    "within other text": "'so: ' || ssn || '!'",
    "with dashes between": "regexp_replace(ssn, '(.)', '\\1-', 'g')",
    "md5": "md5(ssn)",
    "md5 of upper": "md5(upper(ssn))",
    "md5 of reversed": "md5(reverse(ssn))",
    "sha1": "encode(tools.digest(ssn, 'sha1'), 'hex')",
    "sha224": "encode(sha224(ssn::bytea), 'hex')",
    "sha256": "sha256(ssn::bytea)",
    "sha384 in base64": "encode(sha384(ssn::bytea), 'base64')",
    "sha512 in base64": "encode(sha512(ssn::bytea), 'base64')",
    "base64": "encode(ssn::bytea, 'base64')",
    "base64, one byte further": "encode(('x' || ssn)::bytea, 'base64')",
    "base64, two bytes further": "encode(('xy' || ssn)::bytea, 'base64')",
    "base64 of base64": "encode(encode(reverse(ssn)::bytea, 'base64')::bytea, 'escape')",
    "base64 for URLs": "translate(encode(ssn::bytea, 'base64'), '+/=', '-_')",
    "hex": "encode(ssn::bytea, 'hex')",
    "hex in upper case": "upper(encode(ssn::bytea, 'hex'))",
    "bytea": "ssn::bytea",
    "octal escapes": "regexp_replace(encode(ssn::bytea, 'hex'), '(..)', '\\x\\1', 'g')",
    "URL": "regexp_replace(encode(ssn::bytea, 'hex'), '(..)', '%\\1', 'g')",
    "JSON": "to_json(ssn)",
    "code points": "regexp_replace(encode(ssn::bytea, 'hex'), '(..)', '\\u00\\1', 'g')",
    "entities": "regexp_replace(encode(ssn::bytea, 'hex'), '(..)', '&#x\\1;', 'g')",
    "UTF-16": "decode(regexp_replace(encode(ssn::bytea, 'hex'), '(..)', '00\\1', 'g'), 'hex')",
    "an array of characters": "string_to_array(ssn, NULL)",
    "bits": "(SELECT string_agg(ascii(c)::bit(8)::text, '') FROM string_to_table(ssn, NULL) c)",
    "quoted": "quote_literal(ssn)",
    "a name": "ssn::name",
    "a row": "ROW(1, ssn)",
    "XML": "xmlelement(name a, ssn)",
}
_LETTERS = "FROM patients, generate_series(1, 12) n WHERE id = 1 ORDER BY n"
SPREAD = {
    "over rows": f"SELECT substr(ssn, n, 1) {_LETTERS}",
    "over rows as codes": f"SELECT ascii(substr(ssn, n, 1)) {_LETTERS}",
    "over rows beside others": f"SELECT n, substr(ssn, n, 1) {_LETTERS}",
    "over cells": "SELECT left(ssn, 2), substr(ssn, 3, 2), substr(ssn, 5, 3) FROM patients WHERE id = 1",
    "over cells, reversed": "SELECT substr(ssn, 7, 2), substr(ssn, 5, 2), substr(ssn, 3, 2) FROM patients WHERE id = 1",
    "first characters": f"SELECT substr(ssn, n, 1) || 'xxxx' {_LETTERS}",
    "in a name of a column": "SELECT query_to_xml('SELECT ssn FROM patients', true, true, '')",
    "in an error": "SELECT ssn::int FROM patients WHERE id = 1",
    "in a notice": "SELECT f_raise(ssn) FROM patients WHERE id = 1",
    "in a parameter": "SELECT set_config('application_name', ssn, false) IS NULL FROM patients WHERE id = 1",
}
CLEAN = (
    "SELECT id, name, ward, status FROM patients",
    "SELECT md5(name), encode(sha256(name::bytea), 'base64') FROM patients",
    "SELECT * FROM shop.orders",
    "SELECT * FROM other.patients",
    "SELECT oid, * FROM pg_class",
    "SELECT proname, prosrc FROM pg_proc",
    "SHOW ALL",
    "SELECT g, md5(g::text), chr(65 + g % 26) FROM generate_series(1, 2000) g",
)


@pytest.fixture(scope="module")
def link(field: Field) -> Iterator[Link]:
    with field.link(field.direct("direct_a")) as made:
        yield made


@pytest.fixture(scope="module")
def seeker(link: Link) -> Detector:
    return detector([link])


@pytest.mark.parametrize("how", TURNED)
@pytest.mark.parametrize("way", ["simple", "binary"])
def test_a_turned_canary_is_found(seeker: Detector, link: Link, how: str, way: str) -> None:
    frames = say(link, way, (f"SELECT {TURNED[how]} FROM patients WHERE id = 1",))
    assert seeker.scan(frames), [(kind, raw) for kind, raw in frames if kind in "DE"]


@pytest.mark.parametrize("how", SPREAD)
def test_a_spread_canary_is_found(seeker: Detector, link: Link, how: str) -> None:
    frames = say(link, "simple", (SPREAD[how],))
    link.ask(wire.query(b"RESET ALL"))
    assert seeker.scan(frames), [(kind, raw) for kind, raw in frames if kind in "DE"]


@pytest.mark.parametrize(
    "way", ["simple", "binary", "copy", "csv", "copybinary", "cursor", "prepared", "portal", "mixed"]
)
@pytest.mark.parametrize("name", sorted(classified()), ids=".".join)
def test_each_classified_column_is_found_in_each_format(
    seeker: Detector, link: Link, name: tuple[str, str], way: str
) -> None:
    table, column = name
    frames = say(link, way, (f"SELECT {column} FROM {table}",))
    if column in {"flag", "severity"}:
        assert seeker.scan(frames) is None  # too few values to be told apart: the second database tells them
    else:
        assert seeker.scan(frames), [(kind, raw) for kind, raw in frames if kind in "DdE"][:3]


@pytest.mark.parametrize("statement", CLEAN)
@pytest.mark.parametrize("way", ["simple", "binary", "copy", "copybinary"])
def test_nothing_is_found_where_nothing_is(seeker: Detector, link: Link, statement: str, way: str) -> None:
    if way.startswith("copy") and statement.startswith("SHOW"):
        way = "extended"
    frames = say(link, way, (statement,))
    assert any(kind in "Dd" for kind, _ in frames)
    assert seeker.scan(frames) is None


def test_what_a_client_prints_is_looked_at_too(seeker: Detector, link: Link) -> None:
    frames = link.ask(wire.query(b"SELECT ssn FROM patients WHERE id = 1"))
    (cell,) = next(wire.parse_data_row(raw) for kind, raw in frames if kind == "D")
    assert cell is not None
    assert seeker.text(b"| " + cell + b" |")
    assert seeker.text(b"nothing") is None
