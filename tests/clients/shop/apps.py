"""The app's label, by which its migrations and tables go."""

from __future__ import annotations

from django.apps import AppConfig


class Shop(AppConfig):
    name = "tests.clients.shop"
    label = "shop"
