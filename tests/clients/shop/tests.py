"""The sample app's tests, run by Django's runner: ORM, transactions, savepoints, cursors, constraints, threads."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import Avg, Count, Exists, F, OuterRef, Prefetch, Q, Sum, Window
from django.db.models.functions import Lower, Rank, TruncMonth
from django.db.transaction import TransactionManagementError
from django.db.utils import DataError, OperationalError, ProgrammingError
from django.test import TestCase, TransactionTestCase

from tests.clients.shop.models import Customer, Order, Product

NOON = dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)


def customer(number: int, **more: object) -> Customer:
    return Customer.objects.create(id=UUID(int=number), email=f"c{number}@example.com", **more)


class Queries(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        for number in range(1, 4):
            one = customer(number, tags=["a", f"t{number}"], notes={"n": number, "deep": {"x": [1, None]}})
            for day in range(number):
                order = Order.objects.create(
                    customer=one, amount=Decimal("10.50") * (day + 1), placed=NOON + dt.timedelta(days=day),
                    took=dt.timedelta(minutes=day), paper=b"\0\xff",
                )  # fmt: skip
                order.products.set(Product.objects.filter(name__in=[f"product {day}", "product 4"]))

    def test_reading(self) -> None:
        self.assertEqual(Order.objects.aggregate(Sum("amount"), Count("id"))["id__count"], 6)
        self.assertEqual(
            list(Customer.objects.filter(tags__contains=["t2"]).values_list("email", flat=True)), ["c2@example.com"]
        )
        self.assertEqual(Customer.objects.filter(notes__deep__x__0=1, notes__n__gt=1).count(), 2)
        found = Customer.objects.annotate(total=Sum("orders__amount")).filter(total__gt=11).order_by("-total")
        self.assertEqual([each.total for each in found], [Decimal("63.00"), Decimal("31.50")])
        ranked = Order.objects.annotate(rank=Window(Rank(), partition_by="customer", order_by="-amount"))
        self.assertEqual(ranked.filter(rank=1).count(), 3)
        self.assertEqual(
            Customer.objects.filter(Exists(Order.objects.filter(customer=OuterRef("pk"), amount__gt=30))).count(), 1
        )
        months = (
            Order.objects.annotate(month=TruncMonth("placed")).values("month").annotate(n=Count("id")).order_by("month")
        )
        self.assertEqual([each["n"] for each in months], [3, 3])
        self.assertEqual(Product.objects.annotate(low=Lower("name")).filter(low="product 1").get().doubled, 6)
        self.assertEqual(Product.objects.aggregate(Avg("left"))["left__avg"], 7.8)
        with self.assertNumQueries(3):
            list(Customer.objects.prefetch_related(Prefetch("orders", Order.objects.prefetch_related("products"))))
        self.assertIn("Seq Scan", Customer.objects.filter(Q(active=True) | Q(born=None)).explain())

    def test_streaming(self) -> None:
        Product.objects.bulk_create([Product(name=f"many {number}") for number in range(500)])
        names = [each.name for each in Product.objects.filter(name__startswith="many").order_by("id").iterator(100)]
        self.assertEqual(len(names), 500)

    def test_writing(self) -> None:
        Order.objects.filter(amount__lt=11).update(amount=F("amount") + 1)
        product, made = Product.objects.update_or_create(name="new", defaults={"price": 2.5})
        self.assertTrue(made)
        product.refresh_from_db()
        self.assertEqual(product.doubled, 5)
        Product.objects.bulk_create(
            [Product(id=product.id, name="newer", price=9)],
            update_conflicts=True,
            unique_fields=["id"],
            update_fields=["name"],
        )
        self.assertEqual(Customer.objects.filter(pk=UUID(int=3)).delete()[0], 10)
        User.objects.create(username="someone", password="not hashed, so that it is the same each time")
        self.assertTrue(User.objects.get(username="someone").is_active)

    def test_refusals(self) -> None:
        for wrong in (lambda: customer(1), lambda: Order.objects.filter(customer=UUID(int=1)).update(amount=-1)):
            with self.assertRaises(IntegrityError), transaction.atomic():
                wrong()
        with self.assertRaises(DataError), transaction.atomic():
            Product.objects.create(name="x" * 100)
        with connection.cursor() as cursor:
            for sql, error in (
                ("SELEC", ProgrammingError),
                ("SELECT 1/0", DataError),
                ("SELECT * FROM nowhere", ProgrammingError),
            ):
                with self.assertRaises(error), transaction.atomic():
                    cursor.execute(sql)
        with self.assertRaises(TransactionManagementError), transaction.atomic():
            try:
                Product.objects.create(name="x" * 100)
            except DataError:
                Product.objects.count()


class Transactions(TransactionTestCase):
    reset_sequences = True

    def test_rollback_and_savepoints(self) -> None:
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            customer(1)
            raise ZeroDivisionError
        called = []
        with transaction.atomic():
            customer(2)
            transaction.on_commit(lambda: called.append(1))
            point = transaction.savepoint()
            customer(3)
            transaction.savepoint_rollback(point)
        self.assertEqual((Customer.objects.count(), called), (1, [1]))

    def test_locks_between_connections(self) -> None:
        customer(1)
        other = connections.create_connection("default")
        try:
            with transaction.atomic():
                Customer.objects.select_for_update().get(pk=UUID(int=1))
                with other.cursor() as cursor, self.assertRaises(OperationalError):
                    cursor.execute("SELECT id FROM shop_customer FOR UPDATE NOWAIT")
        finally:
            other.close()

    def test_deferred_constraint(self) -> None:
        one = customer(1)
        with self.assertRaises(IntegrityError), transaction.atomic():
            for _ in range(2):
                Order.objects.create(customer=one, amount=1, placed=NOON)
            self.assertEqual(Order.objects.count(), 2)

    def test_introspection(self) -> None:
        with connection.cursor() as cursor:
            tables = {table.name for table in connection.introspection.get_table_list(cursor)}
            self.assertIn("shop_customer", tables)
            self.assertIn("amount_not_negative", connection.introspection.get_constraints(cursor, "shop_order"))
            self.assertEqual(len(connection.introspection.get_table_description(cursor, "shop_product")), 5)
