"""Changes to tables that hold rows, in SQL and in Python."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


def fill(apps, editor):
    """Rows made and changed by a migration."""
    product = apps.get_model("shop", "Product")
    product.objects.bulk_create([product(name=f"product {number}") for number in range(5)])
    product.objects.filter(name="product 1").update(price=3)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop, atomic=True),
        migrations.AddField("product", "stock", models.IntegerField(default=7)),
        migrations.AlterField("product", "name", models.CharField(max_length=80, db_index=True)),
        migrations.RunSQL("UPDATE shop_product SET stock = stock + 1 WHERE id > 1", migrations.RunSQL.noop),
        AddIndexConcurrently("product", models.Index(fields=["stock"], name="stock")),
        migrations.RenameField("product", "stock", "left"),
    ]
