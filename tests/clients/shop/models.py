"""A small shop: what Django's ORM makes of PostgreSQL's types, keys and constraints."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField, DateRangeField
from django.contrib.postgres.indexes import GinIndex
from django.db import models


class Customer(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    born = models.DateField(null=True)
    tags = ArrayField(models.CharField(max_length=20), default=list)
    notes = models.JSONField(default=dict)
    active = models.BooleanField(default=True)

    class Meta:
        app_label = "shop"
        indexes = [
            GinIndex(fields=["tags"]),
            models.Index(fields=["born"], condition=models.Q(active=True), name="born"),
        ]


class Order(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="orders")
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    placed = models.DateTimeField()
    took = models.DurationField(null=True)
    during = DateRangeField(null=True)
    paper = models.BinaryField(default=b"")

    class Meta:
        app_label = "shop"
        constraints = [
            models.CheckConstraint(condition=models.Q(amount__gte=0), name="amount_not_negative"),
            models.UniqueConstraint(fields=["customer", "placed"], name="once", deferrable=models.Deferrable.DEFERRED),
        ]


class Product(models.Model):
    name = models.CharField(max_length=80, db_index=True)
    orders = models.ManyToManyField(Order, related_name="products")
    price = models.FloatField(default=1)
    left = models.IntegerField(default=7)
    doubled = models.GeneratedField(expression=models.F("price") * 2, output_field=models.FloatField(), db_persist=True)

    class Meta:
        app_label = "shop"
        indexes = [models.Index(fields=["left"], name="stock")]
