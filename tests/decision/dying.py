"""A decision service that is killed where a test says: `python -m tests.decision.dying SETTINGS PLACE`.

The real service with one function wrapped: once it is called for a derived label, the process gets SIGKILL. Prints its
address when it is ready.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from decision.app import Service
from decision.policy.engine import Engine
from decision.settings import Settings
from decision.store.derived import SqlDerived

PLACES = ("before it is stored", "stored", "in force")


def arm(place: str) -> None:
    """What comes at the start is let through: it is armed afterwards."""

    async def killed(*given: Any, **named: Any) -> Any:
        if place == "stored":
            await add(*given, **named)
        if place == "in force":
            await reload(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    add, reload = SqlDerived.add, Engine.reload
    if place == "in force":
        Engine.reload = killed  # type: ignore[method-assign]  # only here
    else:
        SqlDerived.add = killed  # type: ignore[method-assign]  # only here


async def main(document: dict[str, Any], place: str) -> None:
    service = Service(Settings.model_validate(document), document, watch=False, drain_s=1.0)
    await service.start()
    arm(place)
    sys.stdout.write(json.dumps({**service.ready_line, "minted": mint(service)}) + "\n")
    sys.stdout.flush()
    await service.run(asyncio.Event())


def mint(service: Service) -> str:
    assert service.dev_issuer is not None
    return service.dev_issuer.mint("executor-7", ["executor"], [], ttl_s=600)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2]))
