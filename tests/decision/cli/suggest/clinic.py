"""A labelled sample schema: what a classification of it should say, and values made up to look like it.

Names and content were written before the detectors were tuned, with traps on purpose: content under names that say
nothing, names that say something the content isn't, numbers of the right length with no checksum.
"""

from __future__ import annotations

import random

from stdnum import luhn

# column -> label
TRUTH = {
    "public.patients.email": "email",
    "public.patients.full_name": "name",
    "public.patients.dob": "birth-date",
    "public.patients.ssn": "national-id",
    "public.patients.homeAddress": "address",
    "public.patients.phone_mobile": "phone",
    "public.patients.blood_type": "health",
    "public.payments.c1": "pan",  # nothing in the name
    "public.payments.iban": "iban",
    "public.payments.holder_name": "name",
    "public.payments.acct": "iban",  # nothing certain in the name
    "public.accounts.login": "email",
    "public.accounts.password_hash": "credential",
    "public.accounts.last_ip": "ip",
    "public.accounts.peer": "ip",
    "public.accounts.api_key": "credential",
    "public.accounts.reset_token": "credential",
    "public.staff.name": "name",
    "public.staff.salary": "salary",
    "public.staff.contact": "phone",
    "public.staff.tax_id": "national-id",
    "public.notes.body": "email",  # free text with addresses in it
    "public.notes.payload": "email",  # jsonb
    "sales data.Customer List.E-Mail": "email",
    "sales data.Customer List.Last Name": "name",
    "public.events.subject_email": "email",  # partitioned
    "public.secret_box.email": "email",  # the account may not read it
    "public.empty.email": "email",
    "public.empty.surname": "name",
}  # fmt: skip

SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, email text, full_name text, dob date, ssn text, "homeAddress" text,
  phone_mobile text, blood_type text, email_verified boolean, email_count int, created_at timestamptz, ward text,
  height_cm int, insurance_class text);
CREATE TABLE payments (id bigint PRIMARY KEY, c1 text, iban text, holder_name text, acct text, reference text,
  order_number bigint, amount numeric(12,2), currency char(3), card_type text, card_id int);
CREATE TABLE accounts (id uuid PRIMARY KEY, login text, password_hash text, last_ip inet, peer text, api_key text,
  reset_token text, token_count int, status text, locale text, version text, mail_template_id int,
  last_login_at timestamptz);
CREATE TABLE staff (id int, name text, title text, salary numeric, contact text, tax_id text, department_name text);
CREATE TABLE products (id int, name text, sku text, ean text, price numeric, description text, mailing_weight int,
  address_count int, street_legal boolean, panel text, spanner text, tokenizer text);
CREATE TABLE notes (id int, body text, payload jsonb, kind text);
CREATE SCHEMA "sales data";
CREATE TABLE "sales data"."Customer List" ("Id" int, "E-Mail" text, "Last Name" text, "Visits" int);
CREATE TABLE events (id int, at date, subject_email text, kind text) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE empty (id int, email text, surname text, flag boolean);
CREATE VIEW patient_mails AS SELECT email FROM patients;
CREATE TABLE secret_box (email text);
CREATE DOMAIN shout AS text;
CREATE TYPE pair AS (a text, b text);
CREATE TABLE odd (p pair, s shout);
"""
ROWS = 120


def _card(pick: random.Random) -> str:
    body = "4" + "".join(pick.choices("0123456789", k=14))
    return body + str(luhn.calc_check_digit(body))


def _iban(pick: random.Random) -> str:
    account = "".join(pick.choices("0123456789", k=18))
    check = 98 - int(f"{account}131400") % 97
    return f"DE{check:02d}{account}"


def _ssn(pick: random.Random) -> str:
    return f"{pick.randint(100, 600):03d}-{pick.randint(10, 89):02d}-{pick.randint(1000, 9998):04d}"


def statements(seed: int = 7) -> str:
    """The schema and its rows, as SQL."""
    pick = random.Random(seed)
    first = ["Ada", "Bruno", "Chidi", "Dana", "Elif", "Femi", "Grete", "Hiro"]
    last = ["Alvarez", "Brandt", "Costa", "Duval", "Eriksen", "Fonseca"]
    parts = [SCHEMA]

    def insert(table: str, rows: list[tuple[object, ...]]) -> None:
        spelt = ",\n".join("(" + ", ".join(_literal(value) for value in row) + ")" for row in rows)
        parts.append(f"INSERT INTO {table} VALUES {spelt};\n")

    def mail(number: int) -> str:
        return f"{pick.choice(first).lower()}.{pick.choice(last).lower()}{number}@mail{number % 9}.example.org"

    def person() -> str:
        return f"{pick.choice(first)} {pick.choice(last)} {pick.choice('ABCDEFGH')}."

    def digits(count: int) -> str:
        return "".join(pick.choices("0123456789", k=count))

    numbers = range(1, ROWS + 1)
    insert("patients", [
        (n, mail(n), person(), f"19{40 + n % 50}-0{1 + n % 9}-1{n % 9}", _ssn(pick), f"{n} {pick.choice(last)} Street",
         f"+49 151 {digits(8)}", pick.choice(["A+", "B-", "0+", "AB+", "A-", "B+"]), n % 2 == 0, n % 7,
         "2024-05-01 10:00:00Z", f"W{n % 12}", 150 + n % 40, pick.choice("ABC"))
        for n in numbers
    ])  # fmt: skip
    insert("payments", [
        (n, _card(pick), _iban(pick), person(), _iban(pick), f"INV-{digits(8)}", int(digits(15)) + 10**15,
         n * 1.5, "EUR", pick.choice(["visa", "amex"]), n)
        for n in numbers
    ])  # fmt: skip
    insert("accounts", [
        (f"00000000-0000-0000-0000-{n:012d}", mail(n), f"$2b$12${digits(22)}{digits(31)}", f"10.0.{n % 250}.7",
         f"192.0.2.{n % 250}", f"sk_live_{digits(24)}", digits(32), n,
         pick.choice(["on", "off", "new", "old", "x", "y"]), pick.choice(["de", "en", "fr"]), f"1.{n}.0", n,
         "2024-05-01 10:00:00Z")
        for n in numbers
    ])  # fmt: skip
    insert("staff", [
        (n, person(), pick.choice(["nurse", "doctor", "clerk"]), 30000 + n * 100, f"+44 20 7946 {n % 1000:04d}",
         digits(11), pick.choice(["ward 1", "ward 2", "lab", "desk", "it", "hr"]))
        for n in numbers
    ])  # fmt: skip
    insert("products", [
        (n, f"Thing {n}", f"SKU-{digits(6)}", digits(13), n * 2.5, f"A fine thing, number {n}", n, n, True, f"P{n}",
         f"S{n}", f"T{n}")
        for n in numbers
    ])  # fmt: skip
    insert("notes", [
        (n, f"Called back, wrote to {mail(n)} about it" if n % 2 else f"No answer on day {n}",
         f'{{"from": "{mail(n)}", "n": {n}}}', "call")
        for n in numbers
    ])  # fmt: skip
    insert('"sales data"."Customer List"', [(n, mail(n), person(), n) for n in numbers])
    insert("events", [(n, f"2020-0{1 + n % 9}-11", mail(n), pick.choice(["in", "out"])) for n in numbers])
    insert("secret_box", [(mail(n),) for n in numbers])
    parts.append("ANALYZE;\n")
    return "".join(parts)


def _literal(value: object) -> str:
    if isinstance(value, bool | int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
