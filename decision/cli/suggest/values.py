"""What sampled values say of a column's content: each detector says of one value whether it is of its kind.

Checksummed identifiers go by python-stdnum, telephone numbers by phonenumbers (the extra `classify`); the rest is form.
A detector that form alone satisfies by chance (`weak`) only confirms what the name says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decision.cli.errors import CliError

try:
    import phonenumbers
    from stdnum import iban, luhn
    from stdnum.us import ssn
except ImportError:
    raise CliError(
        "`twokey classify suggest` needs libraries that are not installed", next_step="pip install 'twokey[classify]'"
    ) from None

_EMAIL = re.compile(r"[^\s@<>\"']{1,64}@[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", re.IGNORECASE)
_DIGITS = re.compile(r"[\s.-]")
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}")
# The whole range of issuers' prefixes (ISO/IEC 7812): what begins otherwise is no payment card.
_CARD = re.compile(r"(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12,17}|6\d{12,18})")
_DATE = re.compile(r"(?:18|19|20)\d\d-\d\d-\d\d.*")
_HASH = re.compile(r"\$(?:2[abxy]|5|6|y|7|argon2\w*|scrypt|pbkdf2\S*)\$\S+|(?:scrypt|pbkdf2|argon2|SCRAM)\S*[:$]\S+")
_TOKEN = re.compile(
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*|(?:sk|pk|rk)_(?:live|test)_\w{8,}|gh[pousr]_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|xox[abpsr]-[\w-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.DOTALL,
)


def is_email(value: str) -> bool:
    return _EMAIL.fullmatch(value.strip()) is not None


def holds_email(value: str) -> bool:
    return _EMAIL.search(value) is not None


def is_card(value: str) -> bool:
    digits = _DIGITS.sub("", value)
    return _CARD.fullmatch(digits) is not None and bool(luhn.is_valid(digits))


def looks_like_card(value: str) -> bool:
    return re.fullmatch(r"\d{13,19}|[\dxX*]{8,15}\d{4}", _DIGITS.sub("", value)) is not None


def is_iban(value: str) -> bool:
    return bool(iban.is_valid(value))


def is_account(value: str) -> bool:
    return re.fullmatch(r"[A-Z]{0,4}\d{6,34}", _DIGITS.sub("", value)) is not None


def is_ssn(value: str) -> bool:
    return _SSN.fullmatch(value.strip()) is not None and bool(ssn.is_valid(value.strip()))


def is_id(value: str) -> bool:
    return re.fullmatch(r"[A-Z]{0,3}[\dA-Z]{5,18}", _DIGITS.sub("", value).upper()) is not None and any(
        char.isdigit() for char in value
    )


def is_international_phone(value: str) -> bool:
    value = value.strip()
    if not value.startswith("+") or not 8 <= len(value) <= 24:
        return False
    try:
        return bool(phonenumbers.is_possible_number(phonenumbers.parse(value)))
    except phonenumbers.NumberParseException:
        return False


def is_phone(value: str) -> bool:
    return 7 <= len(re.sub(r"\D", "", value)) <= 15 and re.fullmatch(r"[+\d\s().x/-]{7,24}", value.strip()) is not None


def is_address_of_a_host(value: str) -> bool:
    if "." not in value and ":" not in value:
        return False
    try:
        ipaddress.ip_interface(value.strip())
    except ValueError:
        return False
    return True


def is_secret(value: str) -> bool:
    return _HASH.fullmatch(value) is not None or _TOKEN.fullmatch(value) is not None


def is_opaque_word(value: str) -> bool:
    return len(value) >= 3 and not re.fullmatch(r"\s*", value)


def is_date(value: str) -> bool:
    return _DATE.fullmatch(value) is not None


def is_words(value: str) -> bool:
    return any(char.isalpha() for char in value) and not is_email(value)


def is_place(value: str) -> bool:
    return any(char.isalnum() for char in value)


def is_number(value: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", value) is not None


@dataclass(frozen=True, slots=True)
class Detector:
    label: str
    what: str  # in words, plural
    strong: Callable[[str], bool] | None  # enough by itself
    weak: Callable[[str], bool]  # confirms the name


DETECTORS: tuple[Detector, ...] = (
    Detector("email", "e-mail addresses", is_email, is_email),
    Detector("iban", "account numbers", is_iban, is_account),
    Detector("pan", "card numbers", is_card, looks_like_card),
    Detector("national-id", "identity numbers", is_ssn, is_id),
    Detector("phone", "telephone numbers", is_international_phone, is_phone),
    Detector("ip", "internet addresses", is_address_of_a_host, is_address_of_a_host),
    Detector("credential", "secrets or their hashes", is_secret, is_opaque_word),
    Detector("birth-date", "dates", None, is_date),
    Detector("name", "words", None, is_words),
    Detector("address", "words", None, is_place),
    Detector("location", "numbers", None, is_number),
    Detector("health", "words", None, is_place),
    Detector("salary", "numbers", None, is_number),
)


def share(values: Sequence[str], test: Callable[[str], bool]) -> float:
    """How many of the values satisfy it, from 0 to 1; 0 of none."""
    return sum(map(test, values)) / len(values) if values else 0.0
