"""Operators' files, read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision.errors import PolicyLoadError
from decision.identity.documents import MAX_BYTES, parse, read_bytes, spell


def test_plain_data_with_positions() -> None:
    document = parse(b"a: 1\nb:\n  - {c: true}\n  - 2.5\nd: null\ne: 2026-01-01\nf: yes\n", "x.yaml")
    assert document.data == {"a": 1, "b": [{"c": True}, 2.5], "d": None, "e": "2026-01-01", "f": "yes"}
    assert document.lines[("b", 0, "c")] == 3
    assert document.lines[("b", 1)] == 4
    with pytest.raises(PolicyLoadError, match=r"^x\.yaml:3: b\[0\]\.c\.deeper: what; fix$"):
        document.fail(("b", 0, "c", "deeper"), "what", "fix")


def test_json_by_its_name() -> None:
    assert parse(b'{"a": [1, 2.5, null]}', "x.json").data == {"a": [1, 2.5, None]}
    assert parse(b"", "x.yaml").data is None


BOMB = b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (BOMB, "x.yaml", r"x\.yaml:1: a: anchors and aliases are not allowed"),
        (b"a: *nobody\n", "x.yaml", "x.yaml:1: is not YAML"),
        (b"base: {x: 1}\nb:\n  <<: {x: 2}\n", "x.yaml", "is not allowed"),
        (b"a: !!python/object:os.system x\n", "x.yaml", "is not allowed"),
        (b"a: !local {}\n", "x.yaml", "is not allowed"),
        (b"a: 1\na: 2\n", "x.yaml", "x.yaml:2: a: is given twice"),
        (b"1: a\n", "x.yaml", "a key is not a string"),
        (b"? [a]\n: b\n", "x.yaml", "a key is not a string"),
        (b"a: .inf\n", "x.yaml", "is not a finite number"),
        (b"a: .nan\n", "x.yaml", "is not a finite number"),
        (b"a: [\n", "x.yaml", "x.yaml:2: is not YAML"),
        (b"a: 1\n---\nb: 2\n", "x.yaml", "is not YAML"),
        (b"a: \xff\n", "x.yaml", "x.yaml:1: is not UTF-8"),
        (b"a: \x00\n", "x.yaml", "is not YAML"),
        (b"[" * 5000, "x.yaml", "nested too deeply|is not YAML"),
        (b"[" * 70 + b"]" * 70, "x.yaml", "nested too deeply"),
        (b'{"a": 1, "a": 2}', "x.json", "x.json: a: is given twice"),
        (b'{"a": NaN}', "x.json", "NaN is not a JSON number"),
        (b'{\n"a": }', "x.json", "x.json:2: is not JSON"),
        (b"[" * 100_000, "x.json", "nested too deeply"),
        (b"9" * 5000, "x.json", "too many digits"),
        (b"1" + b"0" * 30, "x.json", "can't be written as JSON"),
        (b"1" + b"0" * 30, "x.yaml", "can't be written as JSON"),
        (b"a: 1e999", "x.yaml", "is not a finite number"),
        (b'{"a": 1e999}', "x.json", "1e999 is not a JSON number"),
        (b'{"a": "\\ud800"}', "x.json", "can't be written as JSON"),
        (b'{"\\ud800": 1}', "x.json", "can't be written as JSON"),
        (b'a: "\\ud800"', "x.yaml", "can't be written as JSON|is not YAML"),
    ],
)
def test_refusals_name_place_and_fix(content: bytes, name: str, message: str) -> None:
    with pytest.raises(PolicyLoadError, match=message) as caught:
        parse(content, name)
    assert caught.value.next_step


def test_reading(tmp_path: Path) -> None:
    with pytest.raises(PolicyLoadError, match="there is no such file"):
        read_bytes(tmp_path / "no")
    with pytest.raises(PolicyLoadError, match="can't be read"):
        read_bytes(tmp_path)
    big = tmp_path / "big"
    big.write_bytes(b"x" * MAX_BYTES)
    assert len(read_bytes(big)) == MAX_BYTES
    big.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(PolicyLoadError, match="larger than 1 MiB"):
        read_bytes(big)


def test_spelling() -> None:
    assert spell(("agents", 0, "owner")) == "agents[0].owner"
    assert spell((0, "a")) == "[0].a"


@given(st.text(max_size=60), st.sampled_from(["x.yaml", "x.json"]))
def test_any_text_is_a_document_or_a_load_error(text: str, name: str) -> None:
    try:
        content = text.encode()
    except UnicodeEncodeError:
        return
    refusal = None
    try:
        parse(content, name)
    except PolicyLoadError as error:
        refusal = error
    assert refusal is None or str(refusal).startswith(name)
