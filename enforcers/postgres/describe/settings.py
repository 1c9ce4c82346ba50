"""Settings that a statement shows or changes; which of them change what names, rights or the grammar mean."""

from __future__ import annotations

from enforcers.postgres.describe.context import Context

# Their value is part of the shape and shown to policy (docs/operation.md).
SHOWN = frozenset(
    [
        "search_path",
        "role",
        "session_authorization",
        "row_security",
        "session_replication_role",
        "transaction_read_only",
        "default_transaction_read_only",
        "transaction_isolation",
        "restrict_nonsystem_relation_kind",
    ]
)
NAMES = frozenset({"search_path", "role", "session_authorization", "*"})
_OWN = "twokey."  # the gateway's own settings
_ON = {"on", "true", "yes", "1", "t", "y", "tr", "tru", "ye"}
_OFF = {"false", "no", "0", "f", "n", "of", "fa", "fal", "fals"}
_BOOLEAN = frozenset({"row_security", "transaction_read_only", "default_transaction_read_only"})


# What the parser assumes of the session: its text means the same here and there only while these stay. The value as
# policy is shown it, and its other spellings.
_GRAMMAR: dict[str, tuple[str, frozenset[str]]] = {
    "standard_conforming_strings": ("on", frozenset(_ON)),
    "backslash_quote": ("safe_encoding", frozenset({"safe_encoding"})),
    "client_encoding": ("UTF8", frozenset({"utf8", "utf-8", "unicode"})),
}


def touch_setting(context: Context, name: str, action: str, value: str) -> None:
    lowered = name.lower()
    context.facts.setting(lowered, action, normal(lowered, value) if action != "show" else "")
    if action == "show":
        return
    if lowered in NAMES:
        context.facts.changes_names = True
    if lowered.startswith(_OWN):
        context.facts.own_setting = True
    if lowered in _GRAMMAR and (action == "reset" or not _pinned(lowered, value)):
        context.facts.changes_grammar = True
        context.facts.doubt("dynamic-setting", f"{lowered} changes what text means")


def value_matters(name: str) -> bool:
    """Does anything here or in policy depend on the value this setting is given?"""
    lowered = name.lower()
    return lowered in SHOWN or lowered in NAMES or lowered in _GRAMMAR


def normal(name: str, value: str) -> str:
    """What policy is shown of a value: "" for most settings. Booleans as on or off. Names keep their case: "Reader" is
    another role than reader. Of what the parser assumes, whether it is that."""
    if name in _GRAMMAR:
        return _GRAMMAR[name][0] if _pinned(name, value) else ""
    if name not in SHOWN:
        return ""
    if name not in _BOOLEAN:
        return value
    lowered = value.strip().lower()
    if lowered in _ON:
        return "on"
    return "off" if lowered in _OFF else lowered  # what is "off" already stays so


def _pinned(name: str, value: str) -> bool:
    return value.strip().lower() in _GRAMMAR[name][1]
