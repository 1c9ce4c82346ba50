"""SQLAlchemy looks around (dialect start-up, reflection), and its ORM reads."""

from __future__ import annotations

import os

from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, create_engine, func, inspect, select, text
from sqlalchemy.orm import DeclarativeBase, Session, joinedload, relationship, selectinload


class Base(DeclarativeBase):
    pass


class Ward(Base):
    __tablename__ = "wards"
    id = Column(Integer, primary_key=True)
    name = Column(String)
    beds = Column(Integer)


class Patient(Base):
    """Mapped to what is no secret."""

    __tablename__ = "patients"
    id = Column(Integer, primary_key=True)
    name = Column(String)
    status = Column(String)
    ward_id = Column("ward", Integer, ForeignKey("wards.id"))
    ward = relationship(Ward, backref="patients")


def look(url: str) -> None:
    engine = create_engine(url)
    seen = inspect(engine)
    for schema in ("public", "shop", "other"):
        for name in seen.get_table_names(schema=schema):
            seen.get_columns(name, schema=schema)
            seen.get_pk_constraint(name, schema=schema)
            seen.get_foreign_keys(name, schema=schema)
            seen.get_indexes(name, schema=schema)
            seen.get_check_constraints(name, schema=schema)
            seen.get_table_comment(name, schema=schema)
        seen.get_view_names(schema=schema)
    seen.get_schema_names()
    seen.get_enums(schema="shop")  # type: ignore[attr-defined]  # of PostgreSQL's inspector
    MetaData().reflect(engine, schema="shop", views=True)
    with Session(engine) as session:
        session.scalars(select(Patient).order_by(Patient.id)).all()
        session.scalars(select(Patient).options(joinedload(Patient.ward)).where(Patient.status == "open")).all()
        session.scalars(select(Ward).options(selectinload(Ward.patients))).all()  # type: ignore[attr-defined]
        session.execute(select(Patient.ward_id, func.count()).group_by(Patient.ward_id)).all()
        session.get(Patient, 1)
        session.scalar(select(func.count()).select_from(Patient).join(Ward).where(Ward.beds > 11))
        session.execute(text("SELECT name FROM shop.customers WHERE id = :id"), {"id": 3}).all()
        session.scalars(select(Patient).where(Patient.name.ilike("name%")).limit(3).offset(1)).all()
        session.scalar(select(select(Patient).where(Patient.id == 2).exists()))
    engine.dispose()


if __name__ == "__main__":
    where = "{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(**os.environ)
    look(f"postgresql+psycopg://{where}")
    look(f"postgresql+psycopg2://{where}")
