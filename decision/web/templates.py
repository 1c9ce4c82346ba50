"""Jinja's templates (html/), everything escaped unless it is markup of ours, and the page that every answer is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from decision.web.statement import marked

_FOLDER: Final = Path(__file__).parent / "html"


def _shown(text: str) -> Markup:
    """A stranger's words on one line."""
    return marked(text, lines=False)


def _boxed(text: str) -> Markup:
    """A stranger's words with their line ends, for a box of their own."""
    return marked(text)


class Templates:
    def __init__(self, *, dev: bool) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(shown=_shown, boxed=_boxed)
        self._environment.globals.update(dev=dev)

    def page(self, name: str, facts: Mapping[str, object], *, title: str, status: int = 200) -> web.Response:
        given = {"person": "", "here": "", **facts, "title": title}
        text = self._environment.get_template(name).render(given)
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
