"""The secrets: what stands in the classified columns of the two databases, A and B, which differ in nothing else.

Every value is unique and found nowhere else. Between A and B everything differs that an attack could ask for: first
letter, length, order, how many are NULL, how many are distinct, true and false.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import date, timedelta
from random import Random

SIDES = ("a", "b")
PATIENTS = 6
VISITS = 120
_LETTERS = "bcdfghjkmnpqrtvwxzBCDFGHJKMNPQRTVWXZ"
_FIRST = {"a": "123456", "b": "987654"}
_MISSING = {"a": {5}, "b": {3, 6}}  # patients without any value


@dataclass(frozen=True, slots=True)
class Patient:
    """The classified columns, in the table's order."""

    ssn: str
    email: str
    phone: str
    pin: str
    nick: str
    account: int
    salary: str
    ratio: float
    born: date
    seen: str
    token: str
    host: str
    blob: str
    notes: str
    doc: str
    tags: str
    home: str
    stay: str
    flag: bool
    hours: str
    path: str
    mac: str
    wait: str


class Source:
    """Of one side: the same values on every machine."""

    def __init__(self, side: str) -> None:
        self.side = side
        self._random = Random(f"canaries of {side}")

    def word(self, number: int, length: int = 12) -> str:
        """The first character tells the side; letters and digits by turns, so that no window of it is a number."""
        drawn = [self._random.choice("0123456789" if i % 3 == 2 else _LETTERS) for i in range(length - 1)]
        return _FIRST[self.side][number % 6] + "".join(drawn)

    def digits(self, number: int, length: int) -> str:
        return _FIRST[self.side][number % 6] + "".join(self._random.choice("0123456789") for _ in range(length - 1))

    def minutes(self) -> str:
        """Minutes and seconds with all their digits."""
        r = self._random
        return f"{r.randrange(10, 60)}:{r.randrange(10, 60)}.{r.randrange(100_000, 999_999)}"

    def patient(self, number: int) -> Patient:
        r = self._random
        born = date(1801 if self.side == "a" else 1861, 1, 1) + timedelta(days=r.randrange(20_000))
        return Patient(
            ssn=self.word(number, 12 + (number % 3 if self.side == "b" else 0)),
            email=f"{self.word(number)}@{self.word(number, 6)}.example",
            phone=self.word(number, 14),
            pin=self.word(number, 8),
            nick=self.word(number),
            account=int(self.digits(number, 15)),
            salary=self.digits(number, 10) + ".25",
            ratio=float(self.digits(number, 12)) / 8,
            born=born,
            seen=f"{born.year}-0{1 + number}-11 0{number}:{self.minutes()}+00",
            token="".join(r.choice("0123456789abcdef") for _ in range(32)),
            host=".".join(str(r.randrange(100, 250)) for _ in range(4)),
            blob=self.word(number, 16),
            notes=json.dumps({"cause": self.word(number), "list": [self.word(number), int(self.digits(number, 11))]}),
            doc=json.dumps({"inner": {"word": self.word(number)}}),
            tags="{" + self.word(number) + "," + self.word(number) + "}",
            home=f"({self.word(number)},{self.word(number)})",
            stay=f"[{born},{born + timedelta(days=3 + number)})",
            flag=(number % 2 == 0) == (self.side == "a"),
            hours=f"{10 + number}:{self.minutes()}",
            path=f"({self.digits(number, 9)},{self.digits(number, 9)})",
            mac=":".join(f"{r.randrange(17, 255):02x}" for _ in range(6)),
            wait=f"{self.digits(number, 6)} days 0{number}:17:39",
        )


def literal(value: object) -> str:
    return "NULL" if value is None else f"'{value}'"


def rows(side: str) -> str:
    """The statements that fill the tables of one side."""
    source = Source(side)
    missing = _MISSING[side]
    statements = []
    ssns: list[str | None] = []
    for number in range(PATIENTS):
        patient = source.patient(number)
        gone = number + 1 in missing
        values = [None if gone else getattr(patient, field.name) for field in fields(Patient)]
        ssns.append(None if gone else patient.ssn)
        head = f"{number + 1}, 'Name {number + 1}', {1 + number % 3}, '{'open' if number % 2 else 'closed'}'"
        statements.append(f"INSERT INTO patients VALUES ({head}, {', '.join(map(literal, values))})")
    kinds = [source.word(number) for number in range(3 if side == "a" else 5)]
    for number in range(VISITS):
        diagnosis = None if number % (7 if side == "a" else 11) == 0 else kinds[number % len(kinds)]
        severity = number % (3 if side == "a" else 4) + (10 if side == "a" else 20)
        statements.append(
            f"INSERT INTO visits VALUES ({number}, {1 + number % PATIENTS}, date '2026-01-01' + {number},"
            f" {number}.5, {literal(diagnosis)}, {severity})"
        )
    for number, ssn in enumerate(ssns[:4]):
        if number != (1 if side == "a" else 0):
            statements.append(f"INSERT INTO badges VALUES ({number}, {literal(ssn)}, {number % 2})")
        else:
            statements.append(f"INSERT INTO badges VALUES ({number}, NULL, {number % 2})")
    for number in range(6):
        day = f"202{3 + number % 4}-03-0{1 + number}"
        statements.append(f"INSERT INTO events VALUES ({number}, '{day}', 'kind', '{source.word(number)}')")
        statements.append(f"INSERT INTO staff VALUES ({number}, 'Staff {number}', '{source.word(number)}')")
        statements.append(
            f"INSERT INTO doctors VALUES ({10 + number}, 'Doctor {number}', '{source.word(number)}',"
            f" 'Dr', '{source.word(number)}')"
        )
        far = f"203{number}-04-0{1 + number}"
        statements.append(f"INSERT INTO events VALUES ({10 + number}, '{far}', 'far', '{source.word(number)}')")
        statements.append(f"INSERT INTO nurses VALUES ('night', '{source.word(number)}', {20 + number}, 'Nurse')")
        statements.append(
            f"INSERT INTO moved (id, plain, secret, later, last) VALUES ({number}, 'plain {number}',"
            f" '{source.word(number)}', '{source.word(number)}', 'last {number}')"
        )
        said = "NULL" if number == (0 if side == "b" else 1) else f"'{source.word(number)}'"
        statements.append(f"INSERT INTO voices VALUES ({number}, 'plain {number}', {said})")
        statements.append(f"INSERT INTO digests (id, ssn) VALUES ({number}, '{source.word(number)}')")
        statements.append(f"INSERT INTO letters VALUES ({number}, '{source.word(number, 300)}')")
    large = source.word(0, 40)
    for number in range(3):
        statements.append(f"INSERT INTO marked VALUES ({number}, '{source.word(number)}')")
        statements.append(f"INSERT INTO sealed VALUES ({number}, '{source.word(number)}')")
    statements += [f"INSERT INTO lockers VALUES ({number}, 1, '{source.word(number)}')" for number in range(3)]
    statements.append(f"SELECT lo_from_bytea(424242, '{large}')")
    statements += [f"REFRESH MATERIALIZED VIEW {name}" for name in ("m_plain", "m_upper", "m_count")]
    statements.append("ANALYZE")
    return "".join(f"{statement};\n" for statement in statements)
