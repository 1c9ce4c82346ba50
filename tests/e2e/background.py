"""Work beside a test, that a failing test does not wait for: a statement held for an approval that nobody will give any
more would hang a ThreadPoolExecutor, and with it the whole run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_S = 60.0


class Background:
    """As ThreadPoolExecutor, with a thread for each call. On success everything must end by itself."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - handed on to whoever asks for the result
                future.set_exception(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return future

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return  # the caller closes what they wait on
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "work beside the test did not end"
