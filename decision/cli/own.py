"""Whose process this is: light, because every command starts by it."""

from __future__ import annotations


class OwnProcess:
    """What a command's context holds when `twokey` is the program of this process, and may so execute itself anew."""
