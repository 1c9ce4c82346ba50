"""Maskers are checked against the columns' real types when a policy is loaded, not when a statement meets them.

Only an enforcer knows the types. A policy that is loaded while enforcers are there is refused when one of its maskers
doesn't fit, and the one before it stays. The first policy is loaded before any enforcer: it is checked when the first
one attaches, and a connection with a misfit opens no session until it is mended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from google.protobuf import json_format
from twokey.enforcer.v1 import describe_pb2
from twokey.type.v1 import operation_pb2

from decision.columns import ColumnName
from decision.errors import BadRequestError, PolicyLoadError, PolicyUnavailableError
from decision.policy.bundle import LoadedPolicy
from decision.policy.masks import PlannedMask
from decision.rpc.describe_hub import DescribeHub

_MOST_TOLD = 5
_NEXT = "give the label another masker in masking.yaml, or the column another label"

_log = structlog.get_logger("decision.policy")


class MaskerCheck:
    """`unfit` says of a connection why it is closed. One event loop."""

    def __init__(self, hub: DescribeHub) -> None:
        self._hub = hub
        self.unfit: dict[str, str] = {}

    async def vet(self, policy: LoadedPolicy) -> None:
        """Raises PolicyLoadError, which names label, column, type and masker, and where label and masker are given."""
        for connection in sorted(self._hub.connections & policy.masks.keys()):
            wrong = await self._wrong(connection, policy.masks)
            if wrong:
                raise PolicyLoadError(wrong, next_step=_NEXT)
        self.unfit.clear()

    async def attached(self, connections: frozenset[str], policy: LoadedPolicy) -> None:
        """An enforcer of these connections is there, under the policy in force."""
        for connection in sorted(connections & policy.masks.keys()):
            wrong = await self._wrong(connection, policy.masks)
            if wrong:
                self.unfit[connection] = wrong
                _log.error("policy-masker-misfit", connection=connection, reason=wrong, next=_NEXT)
            else:
                self.unfit.pop(connection, None)

    async def _wrong(self, connection: str, masks: Mapping[str, Sequence[PlannedMask]]) -> str:
        """What doesn't fit; empty where all does, or where the target can't be asked now: an act is refused then, as
        ever, when its column's type is seen."""
        wanted = [_message(mask) for mask in masks[connection]]
        if not wanted:
            return ""
        try:
            found = await self._hub.misfits(connection, wanted)
        except (BadRequestError, PolicyUnavailableError) as error:
            _log.warning("policy-maskers-not-checked", connection=connection, reason=str(error))
            return ""
        told = [f"{_where(item, masks[connection])}{_sentence(item)}" for item in found[:_MOST_TOLD]]
        if len(found) > _MOST_TOLD:
            told.append(f"and {len(found) - _MOST_TOLD} more")
        return f"connection {connection}: {'; '.join(told)}" if told else ""


def _message(mask: PlannedMask) -> describe_pb2.PlannedMask:
    schema, relation, column = mask.column
    message = describe_pb2.PlannedMask(
        column=operation_pb2.ColumnName(schema=schema, relation=relation, column=column), label=mask.label
    )
    json_format.ParseDict(dict(mask.masker), message.masker)
    return message


def _where(item: describe_pb2.MaskerMisfit, masks: Sequence[PlannedMask]) -> str:
    """`masking.yaml:7, crm.classification.yaml:2: `"""
    column = ColumnName(item.column.schema, item.column.relation, item.column.column)
    for mask in masks:
        if (mask.column, mask.label, mask.masker.get("type")) == (column, item.label, item.masker):
            return f"{mask.where}: " if mask.where else ""
    return ""


def _sentence(item: describe_pb2.MaskerMisfit) -> str:
    name = ColumnName(item.column.schema, item.column.relation, item.column.column)
    return f"label {item.label} on {name} ({item.type}): masker {item.masker} doesn't fit: {item.why}"
