"""`python -m enforcers postgres --settings-fd N --ready-fd M`: what the supervisor starts (docs/architecture.md)."""

from __future__ import annotations

import argparse
import sys

from enforcers.app import PROTOCOLS, Arguments, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m enforcers", allow_abbrev=False)
    parser.add_argument("protocol", choices=sorted(PROTOCOLS))
    parser.add_argument("--settings-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--worker", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--metrics-port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--supervisor", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--siblings", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    return run(
        Arguments(
            protocol=given.protocol,
            settings_fd=given.settings_fd,
            ready_fd=given.ready_fd,
            worker=given.worker,
            supervisor=given.supervisor,
            metrics_port=given.metrics_port,
            siblings=tuple(int(item) for item in given.siblings.split(",") if item),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
