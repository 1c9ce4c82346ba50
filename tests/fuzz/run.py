"""`make fuzz`: a million inputs, and what they found.

    python -m tests.fuzz.run [--inputs N] [--seed N] [--jobs N]

Half of the inputs go to the codec, half are conversations with the session machine (tests/fuzz/conversation.py says
what must hold). Input n of a seed is the same on every machine. What breaks an invariant is made smaller and kept in
tests/fuzz/crashers/, where `make test` runs it for ever after. The exit status is 1 then.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from os import cpu_count
from pathlib import Path
from random import Random

from tests.fuzz import codec
from tests.fuzz.conversation import Conversation, Operation, compare, frames
from tests.fuzz.generate import PROFILES, conversation
from tests.fuzz.shrink import shrink

CRASHERS = Path(__file__).parent / "crashers"
_BATCH = 5_000


def judge(operations: list[Operation], *, plain: bool) -> None:
    """Run one conversation to its end; a plain one is compared with what a direct client sees.

    Raises BrokenInvariantError, or whatever the machine should not have raised.
    """
    one = Conversation()
    one.run(operations)
    one.settle()
    if plain and one.quiet and not one.machine.closed:
        compare(one)
    one.conclude()


def problem(operations: list[Operation], *, plain: bool) -> str:
    """What is wrong with it; empty when nothing is."""
    try:
        judge(operations, plain=plain)
    except Exception as error:  # noqa: BLE001 - any exception is a finding here
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {where.name}: {str(error)[:200]}"
    return ""


def one_input(seed: int) -> tuple[str, list[Operation]]:
    """(problem, operations); of a codec's input the operations are empty."""
    if seed % 2:
        try:
            codec.check(Random(seed))
        except Exception as error:  # noqa: BLE001 - any exception is a finding here
            return f"codec, input {seed}: {type(error).__name__}: {error}", []
        return "", []
    profile = profile_of(seed)
    operations = conversation(seed, profile)
    return problem(operations, plain=profile == "plain"), operations


def profile_of(seed: int) -> str:
    return PROFILES[seed // 2 % len(PROFILES)]


def batch(first: int, count: int) -> list[tuple[int, str, list[Operation]]]:
    found = []
    for seed in range(first, first + count):
        what, operations = one_input(seed)
        if what:
            found.append((seed, what, operations))
    return found


def smaller(operations: list[Operation], *, plain: bool) -> list[Operation]:
    """While the same kind of thing goes wrong; message by message where the bytes are whole messages."""
    kind = _kind(problem(operations, plain=plain))

    def fails(shorter: list[Operation]) -> bool:
        return _kind(problem(shorter, plain=plain)) == kind

    apart = _apart(operations)
    return shrink(apart if fails(apart) else operations, fails)


def _kind(what: str) -> str:
    """The problem without the statement it is about, and without what stands around the difference."""
    line = what.split("\n", maxsplit=1)[0].partition(" at ")[0]
    return line if "(b'" not in line else line.split("(b'", maxsplit=1)[0] + line.rpartition(")")[2]


def _apart(operations: list[Operation]) -> list[Operation]:
    """Adjacent bytes of the client's joined, then cut into messages."""
    found: list[Operation] = []
    for operation in operations:
        if operation[0] == "c" and found and found[-1][0] == "c":
            found[-1] = ["c", str(found[-1][1]) + str(operation[1])]
        else:
            found.append(operation)
    result: list[Operation] = []
    for operation in found:
        pieces: list[Operation] = [operation]
        if operation[0] == "c":
            try:
                pieces = [["c", raw.hex()] for _, raw in frames(bytes.fromhex(str(operation[1])))]
            except AssertionError:
                pieces = [operation]
        result += pieces
    return result


def keep(seed: int, what: str, operations: list[Operation], *, folder: Path = CRASHERS) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"seed-{seed}.json"
    plain = profile_of(seed) == "plain"
    lines = ",\n  ".join(json.dumps(operation) for operation in smaller(operations, plain=plain))
    head = f'"found": {json.dumps(what.split(chr(10), maxsplit=1)[0])}, "plain": {json.dumps(plain)}'
    path.write_text(f'{{{head}, "operations": [\n  {lines}\n]}}\n')
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input; the others follow")
    parser.add_argument("--jobs", type=int, default=cpu_count() or 1)
    arguments = parser.parse_args()
    began = time.monotonic()
    kinds: dict[str, int] = {}
    done = 0
    with ProcessPoolExecutor(arguments.jobs) as pool:
        last = arguments.seed + arguments.inputs
        pending = [
            pool.submit(batch, first, min(_BATCH, last - first)) for first in range(arguments.seed, last, _BATCH)
        ]
        for future in as_completed(pending):
            done += _BATCH
            for seed, what, operations in future.result():
                kind = _kind(what)
                kinds[kind] = kinds.get(kind, 0) + 1
                if kinds[kind] == 1:
                    kept = keep(seed, what, operations) if operations else ""
                    sys.stdout.write(f"input {seed}: {what[:300]}\n  {kept}\n")
                    sys.stdout.flush()
    seconds = time.monotonic() - began
    total = f"{arguments.inputs} inputs from seed {arguments.seed} in {seconds:.0f} s"
    sys.stdout.write(f"{total}: {sum(kinds.values())} findings\n")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
