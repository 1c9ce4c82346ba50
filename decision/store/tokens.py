"""What the service remembers of tokens: proofs that were used, one-time passwords, revocations, descent.

Everything here is bounded, and what is full refuses: a replay store that forgot under load would take a proof twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import bindparam, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from decision.errors import StateError, StoreError, TokenError
from decision.model import IdentityKey, VerifiedToken, token_key
from decision.ports import Cut, Grant
from decision.store import tables
from decision.store.clock import from_us, to_us
from decision.store.codec import identity_json
from decision.store.database import Database

MAX_PROOFS: Final = 200_000
MAX_CREDENTIALS: Final = 10_000
MAX_OF_ONE: Final = 1024  # one-time passwords of a minute, certificates of five, that one token gets
MAX_CUTS: Final = 100_000
MAX_DESCENTS: Final = 500_000
KEPT: Final = timedelta(days=31)  # how long a revocation is kept: tokens that live longer are refused by none of it
_SWEPT: Final = 1000  # rows past their time that one transaction removes at most
_DEPTH: Final = 16
_SECOND: Final = 1_000_000

_proofs, _credentials = tables.proofs, tables.credentials
_cutoffs, _descents = tables.cutoffs, tables.descents
# Of every log-in, so made once: to make a statement takes longer than to run it.
_KINDS: Final = ("token", "party", "role")
_CUTS = select(_cutoffs.c.kind, _cutoffs.c.value, _cutoffs.c.before, _cutoffs.c.reason).where(
    or_(*((_cutoffs.c.kind == kind) & _cutoffs.c.value.in_(bindparam(kind, expanding=True)) for kind in _KINDS))
)


class SqlTokens:
    """ports.TokenStore."""

    def __init__(self, database: Database, *, max_proofs: int = MAX_PROOFS, max_of_one: int = MAX_OF_ONE) -> None:
        self._database = database
        self._max_of_one = max_of_one
        self._max_proofs = max_proofs

    # Proofs

    async def spend(self, key: bytes, *, seconds: float) -> bool:
        async def work(connection: AsyncConnection, now: int) -> bool:
            old = select(_proofs.c.id).where(_proofs.c.expires <= now).limit(_SWEPT)
            await connection.execute(delete(_proofs).where(_proofs.c.id.in_(old)))
            if (await connection.execute(select(_proofs.c.id).where(_proofs.c.key == key))).first() is not None:
                return False
            low, high = (await connection.execute(select(func.min(_proofs.c.id), func.max(_proofs.c.id)))).one()
            if low is not None and high - low + 1 >= self._max_proofs:
                raise StoreError("the store of used proofs is full", next_step="Try again in a minute.")
            await connection.execute(insert(_proofs).values(key=key, expires=now + int(seconds * _SECOND)))
            return True

        return await self._database.write(work)  # writers wait for each other, those of other replicas too

    # One-time passwords

    async def grant(self, key: bytes, grant: Grant, *, seconds: float) -> None:
        async def work(connection: AsyncConnection, now: int) -> None:
            old = select(_credentials.c.key).where(_credentials.c.expires <= now).limit(_SWEPT)
            await connection.execute(delete(_credentials).where(_credentials.c.key.in_(old)))
            if (await connection.execute(select(func.count()).select_from(_credentials))).scalar_one() >= (
                MAX_CREDENTIALS
            ):
                raise StoreError("too many one-time passwords are out", next_step="Try again in a minute.")
            of_one = _credentials.c.token_key == token_key(grant.token.issuer, grant.token.token_id)
            counted = select(func.count()).select_from(_credentials).where(of_one)
            if (await connection.execute(counted)).scalar_one() >= self._max_of_one:
                raise StateError("this token has too many of them out", code="CREDENTIAL_LIMIT")
            row = {
                "key": key,
                "token": token_json(grant.token),
                "token_key": token_key(grant.token.issuer, grant.token.token_id),
                "connection": grant.connection,
                "role": grant.role,
                "address": grant.address,
                "uses": grant.uses,
                "expires": now + int(seconds * _SECOND),
            }
            await connection.execute(insert(_credentials).values(row))

        await self._database.write(work)

    async def redeem(self, key: bytes, *, connection: str, role: str, address: str) -> VerifiedToken:
        async def work(database: AsyncConnection, now: int) -> VerifiedToken | TokenError:
            row = (await database.execute(select(_credentials).where(_credentials.c.key == key))).one_or_none()
            if row is None or row.expires <= now or row.uses < 1:
                return TokenError("the one-time password is used up, or too old", code="TOKEN_USED")
            if row.address and row.address != address:
                # Somebody else has it: it is nobody's any more.
                await database.execute(delete(_credentials).where(_credentials.c.key == key))
                return TokenError("the one-time password is used from another address", code="TOKEN_USED")
            if (row.connection, row.role) != (connection, role):
                return TokenError("the one-time password is for another connection or role", code="TOKEN_USED")
            spent = update(_credentials).where(_credentials.c.key == key, _credentials.c.uses == row.uses)
            if (await database.execute(spent.values(uses=row.uses - 1))).rowcount != 1:
                return TokenError("the one-time password was used meanwhile", code="TOKEN_USED")
            return token_of(row.token)

        found = await self._database.write(work)
        if isinstance(found, TokenError):
            raise found
        return found

    async def certified(self) -> Sequence[Grant]:
        async def work(connection: AsyncConnection) -> Sequence[Grant]:
            asked = select(_credentials).where(_credentials.c.uses == 0)
            return [
                Grant(token=token_of(row.token), connection=row.connection, role=row.role, address=row.address, uses=0)
                for row in (await connection.execute(asked)).all()
            ]

        return await self._database.read(work)

    # Revocation

    async def cut(self, kind: str, values: Sequence[str], reason: str) -> Sequence[str]:
        async def work(connection: AsyncConnection, now: int) -> Sequence[str]:
            await connection.execute(delete(_cutoffs).where(_cutoffs.c.until <= now))
            every = await _with_children(connection, values) if kind == "token" else list(values)
            if (await connection.execute(select(func.count()).select_from(_cutoffs))).scalar_one() + len(every) > (
                MAX_CUTS
            ):
                raise StateError("too much is revoked already", code="REVOCATION_LIMIT")
            await connection.execute(delete(_cutoffs).where(_cutoffs.c.kind == kind, _cutoffs.c.value.in_(every)))
            until = now + KEPT // timedelta(microseconds=1)
            rows = [{"kind": kind, "value": one, "before": now, "until": until, "reason": reason} for one in every]
            await connection.execute(insert(_cutoffs), rows)
            if kind == "token":
                keys = [bytes.fromhex(one) for one in every]
                # SSH certificates stay: they are out there, and the list of those revoked is made of these rows.
                passwords = _credentials.c.token_key.in_(keys) & (_credentials.c.uses > 0)
                await connection.execute(delete(_credentials).where(passwords))
            return every

        return await self._database.write(work)

    async def cuts(self, values: Mapping[str, Collection[str]]) -> Sequence[Cut]:
        if not values.keys() <= set(_KINDS):
            raise StoreError("a kind of revocation that nobody looks for")
        asked = {kind: list(values.get(kind, ())) for kind in _KINDS}
        if not any(asked.values()):
            return ()

        async def work(connection: AsyncConnection) -> Sequence[Cut]:
            rows = (await connection.execute(_CUTS, asked)).all()
            return [Cut(row.kind, row.value, from_us(row.before), row.reason) for row in rows]

        return await self._database.read(work)

    async def descend(self, child: str, parents: Collection[str], *, seconds: float) -> None:
        async def work(connection: AsyncConnection, now: int) -> None:
            await connection.execute(delete(_descents).where(_descents.c.expires <= now))
            count = (await connection.execute(select(func.count()).select_from(_descents))).scalar_one()
            if count + len(parents) > MAX_DESCENTS:
                raise StoreError("too many exchanged tokens are out", next_step="Try again later.")
            expires = now + int(seconds * _SECOND)
            rows = [
                {"child": bytes.fromhex(child), "parent": bytes.fromhex(one), "expires": expires}
                for one in sorted(set(parents))
            ]
            await connection.execute(insert(_descents), rows)

        await self._database.write(work)


async def _with_children(connection: AsyncConnection, values: Sequence[str]) -> list[str]:
    """The tokens and everything that was exchanged for them, however often."""
    found = {bytes.fromhex(one) for one in values}
    newest = set(found)
    for _ in range(_DEPTH):
        rows = await connection.execute(select(_descents.c.child).where(_descents.c.parent.in_(newest)))
        newest = set(rows.scalars()) - found
        if not newest:
            break
        found |= newest
    return sorted(one.hex() for one in found)


def token_json(token: VerifiedToken) -> dict[str, object]:
    return {
        "identity": identity_json(token.identity),
        "actors": [identity_json(actor) for actor in token.actors],
        "roles": list(token.roles),
        "expires": to_us(token.expires),
        "token_id": token.token_id,
        "dev": token.dev,
        "issuer": token.issuer,
        "issued": None if token.issued is None else to_us(token.issued),
        "scopes": list(token.scopes),
        "scoped": token.scoped,
        "client": token.client,
        "keys": list(token.keys),
        "transactions": [list(one) for one in token.transactions],
    }


def token_of(value: Mapping[str, object]) -> VerifiedToken:
    """Strict: an unreadable row is a StoreError."""
    try:
        issued = value["issued"]
        return VerifiedToken(
            identity=_identity(value["identity"]),
            actors=tuple(_identity(actor) for actor in _list(value["actors"])),
            roles=tuple(str(role) for role in _list(value["roles"])),
            expires=from_us(_number(value["expires"])),
            token_id=str(value["token_id"]),
            dev=value["dev"] is True,
            issuer=str(value["issuer"]),
            issued=None if issued is None else from_us(_number(issued)),
            scopes=tuple(str(scope) for scope in _list(value["scopes"])),
            scoped=value["scoped"] is not False,
            client=str(value["client"]),
            keys=tuple(str(key) for key in _list(value.get("keys", []))),  # what is asked for with it is bound to them
            transactions=tuple(_transaction(one) for one in _list(value.get("transactions", []))),
        )
    except (KeyError, TypeError, ValueError):
        raise StoreError("a one-time password in the store can't be read") from None


def _identity(value: object) -> IdentityKey:
    if not isinstance(value, dict):
        raise TypeError
    return IdentityKey(str(value["iss"]), str(value["sub"]))


def _transaction(value: object) -> tuple[str, str]:
    issuer, txn = _list(value)
    return str(issuer), str(txn)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
