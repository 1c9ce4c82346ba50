"""The form in which COPY TO STDOUT sends its rows, as far as rows of it can be read and written again.

Source: PostgreSQL documentation, "COPY". Options stand in the tree by one name each, whichever syntax was written.
"""

from __future__ import annotations

from enforcers.postgres.describe.context import Node, strings, unwrap
from enforcers.postgres.description import CopyForm

_KNOWN = frozenset({"format", "delimiter", "null", "header", "quote", "escape", "force_quote", "encoding"})
_UTF8 = frozenset({"utf8", "utf-8", "unicode"})


def form_of(options: list[Node]) -> CopyForm:
    """What the options ask for; `problem` where rows of that can't be rewritten with certainty."""
    said: dict[str, str] = {}
    forced: list[str] = []
    force_all = False
    problem = ""
    for option in options:
        element = option.get("DefElem", {})
        name = str(element.get("defname", ""))
        kind, value = unwrap(element["arg"]) if "arg" in element else ("", {})
        if name not in _KNOWN or name in said:
            problem = problem or f"with the option {name.upper()}"
        elif name == "force_quote":
            force_all = kind == "A_Star"
            forced = strings(value.get("items")) if kind == "List" else []
        said[name] = str(value.get("sval", ""))
    form = said.get("format", "text").lower()
    csv = form == "csv"
    delimiter = said.get("delimiter", "," if csv else "\t")
    null = said.get("null", "" if csv else "\\N")
    quote = said.get("quote", '"')
    escape = said.get("escape", quote)
    if form not in {"text", "csv", "binary"}:
        problem = problem or f"in the format {form}"
    if said.get("encoding", "utf8").lower() not in _UTF8:
        problem = problem or "in another encoding than UTF8"
    if not all(len(item.encode()) == 1 for item in (delimiter, quote, escape)):
        problem = problem or "with a delimiter, quote or escape that is no single byte"
    if form == "text" and null != "\\N":
        # A value that is spelt like it would pass as NULL, and so tell what it is.
        problem = problem or "in text with a NULL of its own"
    return CopyForm(
        format=form,
        delimiter=delimiter.encode(),
        null=null.encode(),
        quote=quote.encode(),
        escape=escape.encode(),
        force_quote=frozenset(forced),
        force_all=force_all,
        problem=problem,
    )
