"""Django looks around (inspectdb, its introspection), and its ORM reads."""

from __future__ import annotations

import os

import django
from django.conf import settings


def main() -> None:
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": os.environ["PGDATABASE"],
                "USER": os.environ["PGUSER"],
                "PASSWORD": os.environ["PGPASSWORD"],
                "HOST": os.environ["PGHOST"],
                "PORT": os.environ["PGPORT"],
            }
        },
        INSTALLED_APPS=[],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415 - after setup()
    from django.db import connection, models  # noqa: PLC0415

    class Ward(models.Model):
        name = models.TextField()
        beds = models.IntegerField()

        class Meta:
            app_label = "corpus"
            db_table = "wards"

    class Patient(models.Model):
        name = models.TextField()
        status = models.TextField()
        ward = models.ForeignKey(Ward, models.DO_NOTHING, db_column="ward")

        class Meta:
            app_label = "corpus"
            db_table = "patients"

    call_command("inspectdb", "wards", "scratch", stdout=open(os.devnull, "w"))  # noqa: SIM115
    with connection.cursor() as cursor:
        seen = connection.introspection
        seen.get_table_list(cursor)
        seen.get_table_description(cursor, "wards")
        for name in ("patients", "wards", "visits"):
            seen.get_constraints(cursor, name)
            seen.get_relations(cursor, name)
            seen.get_sequences(cursor, name)
    list(Patient.objects.select_related("ward").order_by("id"))
    list(Patient.objects.filter(status="open", ward__beds__gt=10).values("name", "ward__name"))
    Patient.objects.count()
    Patient.objects.aggregate(models.Max("id"), models.Count("status", distinct=True))
    list(Patient.objects.values("ward").annotate(n=models.Count("id")).order_by("ward"))
    list(Patient.objects.prefetch_related("ward"))
    Patient.objects.filter(name__icontains="name").exists()
    list(Patient.objects.order_by("-id")[1:3])
    list(Patient.objects.filter(id__in=[1, 2, 3]).values_list("status", flat=True).distinct())
    Patient.objects.get(id=1)
    connection.close()


if __name__ == "__main__":
    main()
