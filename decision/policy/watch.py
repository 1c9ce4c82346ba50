"""Which file changes mean that policy must be loaded again.

Folders of Rego and data are watched whole; for single files (people, classification) their folder is watched without
its subfolders, because editors and secret mounts replace a file instead of writing it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

from watchfiles import Change, awatch

_DEBOUNCE_MS = 300
_STEP_MS = 50


async def changed_dirs(folders: Sequence[Path]) -> AsyncIterator[None]:
    """One item for each burst of changes anywhere below the folders. Ends by cancellation."""
    async with aclosing(awatch(*folders, debounce=_DEBOUNCE_MS, step=_STEP_MS, watch_filter=_not_hidden)) as bursts:
        async for _ in bursts:
            yield


async def changed_files(files: Sequence[Path]) -> AsyncIterator[None]:
    """One item for each burst of changes to one of the files, or of the `..data` link that carries a mounted one."""
    names = {str(file.absolute()) for file in files}
    folders = sorted({file.absolute().parent for file in files if file.absolute().parent.is_dir()})

    def ours(_change: Change, path: str) -> bool:
        return path in names or Path(path).name == "..data"

    bursts = awatch(*folders, debounce=_DEBOUNCE_MS, step=_STEP_MS, watch_filter=ours, recursive=False)
    async with aclosing(bursts):
        async for _ in bursts:
            yield


def _not_hidden(_change: Change, path: str) -> bool:
    name = Path(path).name
    return not (name.startswith(".") and not name.startswith("..")) and not name.endswith(("~", ".swp"))
