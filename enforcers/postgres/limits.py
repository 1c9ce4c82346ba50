"""What went beyond which limit, in words for the client and for the record."""

from __future__ import annotations

from enforcers.postgres import deny
from enforcers.postgres.bounds import Writes
from enforcers.postgres.machine_state import Running


def affected(tag: str) -> int:
    """The row count that ends a command tag such as `UPDATE 3` or `INSERT 0 1`; 0 without one."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdecimal() else 0


def limit_text(running: Running) -> str:
    """One sentence; running.cut says which limit it was."""
    duties = running.act.ruling.duties
    if running.cut == "TIME_LIMIT":
        return f"it took longer than policy allows: {duties.max_duration_ms} ms"
    copied = running.description.copy_in
    if running.cut == "BYTE_LIMIT":
        return f"the {'data' if copied else 'result'} has more bytes than policy allows: {duties.max_bytes}"
    wrote = running.wrote if running.writes is Writes.COUNTED else running.rows
    if wrote < running.least:
        did = "returned" if running.writes is Writes.NOTHING else "wrote"
        end = "" if running.writes is Writes.NOTHING else "; it is rolled back"
        return f"it {did} {wrote} rows, fewer than policy asks for: {duties.least_rows}{end}"
    if running.writes is Writes.NOTHING or running.limit is None or wrote <= running.limit:
        return f"the result has more rows than policy allows: {duties.max_rows}"
    return f"it wrote {wrote} rows, more than policy allows: {duties.max_rows}; it is rolled back"


def limit_error(running: Running) -> bytes:
    """The ErrorResponse."""
    hint = "Ask for fewer rows (WHERE, LIMIT)."
    if running.cut == "TIME_LIMIT":
        hint = "Do less at a time."
    elif running.rows < running.least:
        hint = "See which rows are there."
    elif running.writes is not Writes.NOTHING:
        hint = "Write fewer rows at a time."
    return deny.coded(
        running.cut or "ROW_LIMIT", limit_text(running), detail=f"Decision: {running.act.ruling.decision}", hint=hint
    )
