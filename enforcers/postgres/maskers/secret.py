"""The masking key: fetched once, when the gateway starts, then in its memory only, as one key per connection.

A key that can't be had stops the start: a gateway without it would refuse what policy says is to be hashed.
"""

from __future__ import annotations

from collections.abc import Mapping

from enforcers.core.errors import CredentialError, SettingsError
from enforcers.core.sources import fetch
from enforcers.postgres.maskers.hashes import connection_key
from enforcers.settings import Settings


async def masking_keys(settings: Settings) -> Mapping[str, bytes]:
    """By connection; empty where no key is configured. Raises SettingsError, which never shows it."""
    source = settings.masking_key
    if source is None:
        return {}
    try:
        secret = await fetch(source, settings.variables, "masking.key")
        try:
            return {name: connection_key(secret.reveal().encode(), name) for name in settings.connections}
        finally:
            secret.wipe()
    except (CredentialError, ValueError) as error:
        raise SettingsError(str(error)) from None
