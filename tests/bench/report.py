"""The rows of a run as text: for the terminal, as bounds that were missed, and as the generated part of a document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from tests.bench.world import BOUNCER, DIRECT, DURABLE, MASKED, POLICY, RELAY

BEGIN = "<!-- written by `python -m tests.bench.run --write`: from here -->"
END = "<!-- to here -->"
Row = Mapping[str, object]


def line(row: Row) -> str:
    return "  ".join(f"{key}={value}" for key, value in row.items() if key not in {"group", "rungs", "missing"})


def rungs_line(row: Row) -> str:
    """Each rung's ratio and the CPU of its own processes."""
    parts = []
    for rung, figure in rungs_of(row).items():
        cpu = " ".join(f"{name} {used} µs" for name, used in figure["cpu_us"].items())
        parts.append(f"    {rung:12} {figure['rate']:>12,} {row['unit']}  ratio {figure['ratio']:<6} {cpu}")
    parts += [f"    {rung:12} not measured: {why}" for rung, why in cast("Row", row.get("missing", {})).items()]
    return "\n".join(parts)


def rungs_of(row: Row) -> dict[str, dict[str, object]]:
    return cast("dict[str, dict[str, object]]", row.get("rungs", {}))


def number(value: object) -> float:
    return float(str(value))


def missed(rows: Sequence[Row]) -> list[str]:
    """The cells outside their bound."""
    out = []
    for row in rows:
        if "floor" in row and number(row["ratio"]) < number(row["floor"]):
            out.append(f"{row['cell']}: {row['ratio']} is below {row['floor']}")
        measured = row.get("median_ms", row.get("value"))
        if "ceiling" in row and number(measured) > number(row["ceiling"]):
            out.append(f"{row['cell']}: {measured} is above {row['ceiling']}")
        if "kib_ceiling" in row and number(row["kib_each"]) > number(row["kib_ceiling"]):
            out.append(f"{row['cell']}: {row['kib_each']} KiB each is above {row['kib_ceiling']}")
    return out


def behind_goal(rows: Sequence[Row]) -> list[str]:
    """Those within their bound that don't reach the goal."""
    return [
        f"{row['cell']}: {row['ratio']}, the goal is {row['goal']}"
        for row in rows
        if "goal" in row and "ratio" in row and number(row["ratio"]) < number(row["goal"])
    ]


def markdown(rows: Sequence[Row], *, heading: str, command: str, machine: str, sync_ms: float) -> str:
    parts = [
        heading,
        f"{machine}. The log's disk syncs 256 bytes in {sync_ms:.2f} ms at the median. Command: `{command}`.",
        ladder_table([row for row in rows if "rungs" in row]),
        other_table([row for row in rows if "rungs" not in row]),
    ]
    reasons = {f"{rung}: {why}" for row in rows for rung, why in cast("Row", row.get("missing", {})).items()}
    parts += [f"Not measured: {reason}." for reason in sorted(reasons)]
    outside, behind = missed(rows), behind_goal(rows)
    parts.append("Outside their bound: " + ("; ".join(outside) if outside else "none") + ".")
    if behind:
        parts.append("Within their bound and behind the goal: " + "; ".join(behind) + ".")
    return "\n\n".join(part for part in parts if part) + "\n"


def ladder_table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    out = [
        "| Cell | direct | pgbouncer | transparent | durable relay | with policy | and a masked column "
        "| gateway µs | decision + OPA µs | bound |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = rungs_of(row)
        cpu = cast("dict[str, float]", figures.get(POLICY, {}).get("cpu_us", {}))
        others = cpu.get("decision", 0.0) + cpu.get("opa", 0.0)
        bound = f"at least {row['floor']}" if "floor" in row else ""
        if "goal" in row:
            bound = f"{bound}, goal {row['goal']}".removeprefix(", ")
        beside = f" (the log's disk syncs in {row['sync_ms']} ms)" if "sync_ms" in row else ""
        cells = [
            f"`{row['cell']}`{beside}",
            f"{number(figures[DIRECT]['rate']):,.0f} {row['unit']}",
            *(_ratio(figures.get(rung)) for rung in (BOUNCER, RELAY, DURABLE, POLICY, MASKED)),
            _us(cpu.get("gateway")),
            _us(others if cpu else None),
            bound,
        ]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def _ratio(figure: Mapping[str, object] | None) -> str:
    return "–" if figure is None else f"{number(figure['ratio']):.3f}"


def _us(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"


def other_table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    out = ["| Measured | Figures | Bound |", "|---|---|---|"]
    skipped = {"cell", "group", "floor", "ceiling", "kib_ceiling", "goal"}
    for row in rows:
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items() if name not in skipped)
        bounds = [f"at least {row['floor']}"] if "floor" in row else []
        bounds += [f"at most {row['ceiling']}"] if "ceiling" in row else []
        bounds += [f"at most {row['kib_ceiling']} KiB each"] if "kib_ceiling" in row else []
        out.append(f"| {row['cell']} | {figures} | {', '.join(bounds)} |")
    return "\n".join(out)


def write(path: Path, generated: str) -> None:
    """Put the generated part between its marks. Raises RuntimeError when the document has none."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{path} has no marks for the generated part")
    path.write_text(f"{before}{BEGIN}\n\n{generated}\n{END}{after}", encoding="utf-8")


def dump(path: Path, rows: Sequence[Row]) -> None:
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
