"""The gateways: `core` and one package a protocol."""

from enforcers.compiled import prefer

prefer()
