"""What a browser may post, and from where: a form of ours, small, of fields that each come once."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from decision.errors import BadRequestError, CallerError

MAX_FORM: Final = 32 << 10  # bytes; a reason of 4000 characters, each of which is written as twelve at most


def same_origin(request: web.Request, origin: str) -> None:
    """Raises CallerError: another page sent this, or a browser that doesn't say which (RFC 6454; Fetch Metadata)."""
    given = request.headers.getall("Origin", [])
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if given != [origin] or site != "same-origin":
        raise CallerError("this was not sent by a page of ours")


async def fields(request: web.Request, names: frozenset[str]) -> dict[str, str]:
    """The form's fields, "" for those that are absent. Raises BadRequestError."""
    if request.content_type != "application/x-www-form-urlencoded" or "Content-Encoding" in request.headers:
        raise BadRequestError("that is not a form")
    if len(request.headers.getall("Content-Type", [])) != 1:
        raise BadRequestError("that is not a form")
    posted = await request.post()
    if any(name not in names or len(posted.getall(name)) != 1 for name in posted):
        raise BadRequestError("the form has a field that is unknown, or one that comes twice")
    return {name: str(posted.get(name, "")) for name in names}
