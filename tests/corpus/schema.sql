-- What is attacked. Columns classified in classification.yaml hold canaries only; all others hold nothing derived from
-- them. Two databases are made from this, whose rows differ in the classified columns alone (rows.py fills them).
CREATE TYPE address AS (street text, city text);
CREATE TYPE person AS (id int, name text, ward int, ssn text);
CREATE DOMAIN code AS text;
CREATE TABLE wards (id int PRIMARY KEY, name text NOT NULL, beds int NOT NULL);
CREATE TABLE patients (
  id int PRIMARY KEY, name text NOT NULL, ward int NOT NULL REFERENCES wards (id), status text NOT NULL,
  ssn text UNIQUE, email text, phone varchar(20), pin char(8), nick code, account bigint, salary numeric(14, 2),
  ratio float8, born date, seen timestamptz, token uuid, host inet, blob bytea, notes jsonb, doc json, tags text[],
  home address, stay daterange, flag boolean, hours time, path point, mac macaddr, wait interval
);
CREATE INDEX patients_upper ON patients (upper(ssn));
CREATE TABLE visits (
  id int PRIMARY KEY, patient int NOT NULL REFERENCES patients (id), day date NOT NULL, cost numeric(8, 2) NOT NULL,
  diagnosis text, severity int
);
CREATE STATISTICS visits_mcv (mcv) ON diagnosis, severity FROM visits;
CREATE TABLE badges (id int PRIMARY KEY, ssn text REFERENCES patients (ssn), floor int NOT NULL);
CREATE TABLE events (id int NOT NULL, day date NOT NULL, kind text NOT NULL, secret text) PARTITION BY RANGE (day);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2030-01-01');
CREATE TABLE staff (id int, name text, secret text);
CREATE TABLE doctors (title text, own text) INHERITS (staff);
-- Attribute numbers that differ from the parent's, and from what a view's columns are called.
CREATE TABLE events_far (note text, secret text, kind text NOT NULL, day date NOT NULL, id int NOT NULL);
ALTER TABLE events_far DROP note;
ALTER TABLE events ATTACH PARTITION events_far FOR VALUES FROM ('2030-01-01') TO ('2040-01-01');
CREATE TABLE nurses (shift text, secret text, id int, name text);
ALTER TABLE nurses INHERIT staff;
CREATE TABLE moved (id int PRIMARY KEY, gone text, plain text, secret text);
ALTER TABLE moved DROP gone, ADD later text;
CREATE VIEW v_moved AS SELECT * FROM moved;
CREATE VIEW v_swapped AS SELECT id AS n, secret AS plain, plain AS secret FROM v_moved;
ALTER TABLE moved ADD last text;
CREATE OR REPLACE VIEW v_moved AS SELECT id, plain, secret, later, last FROM moved;
-- Two collations that meet leave none, and what compares by none fails: but not on a NULL.
CREATE COLLATION tongue (provider = libc, locale = 'C');
CREATE COLLATION dialect (provider = libc, locale = 'POSIX');
CREATE TABLE voices (id int PRIMARY KEY, plain text COLLATE tongue, secret text COLLATE dialect);
CREATE TABLE digests (
  id int PRIMARY KEY, ssn text, digest text GENERATED ALWAYS AS (md5(ssn)) STORED,
  shout text GENERATED ALWAYS AS (upper(ssn)) STORED
);
CREATE TABLE letters (id int PRIMARY KEY, body text);
CREATE TABLE lockers (id int PRIMARY KEY, floor int NOT NULL, code text, EXCLUDE USING hash (code WITH =));
-- Labelled by comments, not by the file.
CREATE TABLE marked (id int PRIMARY KEY, stamp text);
COMMENT ON COLUMN marked.stamp IS 'twokey: label=secret';
CREATE TABLE sealed (id int PRIMARY KEY, word text);
COMMENT ON TABLE sealed IS 'twokey: label=secret';
CREATE TABLE scratch (id int, word text);
INSERT INTO wards SELECT n, 'Ward ' || n, 10 + n FROM generate_series(1, 4) n;
INSERT INTO scratch SELECT n, 'word ' || n FROM generate_series(1, 20) n;

CREATE VIEW v_plain AS SELECT id, name, ssn FROM patients;
CREATE VIEW v_renamed (number, who, what) AS SELECT id, name, ssn FROM patients;
CREATE VIEW v_over AS SELECT number, what AS thing FROM v_renamed;
CREATE VIEW v_upper AS SELECT id, upper(ssn) AS word FROM patients;
CREATE VIEW v_where AS SELECT id, name FROM patients WHERE ssn LIKE '1%';
CREATE VIEW v_barrier WITH (security_barrier) AS SELECT id, email AS contact FROM patients;
CREATE VIEW v_union AS SELECT id, ssn AS word FROM patients UNION ALL SELECT id, name FROM wards;
CREATE VIEW v_join AS SELECT p.id, b.floor FROM patients p JOIN badges b USING (ssn);
CREATE VIEW v_agg AS SELECT ward, max(ssn) AS top, count(flag) AS flags FROM patients GROUP BY ward;
CREATE VIEW v_clean AS SELECT id, name, ward FROM patients;
CREATE VIEW v_json AS SELECT id, to_jsonb(p) AS row FROM patients p;
CREATE MATERIALIZED VIEW m_plain AS SELECT id, name, ssn FROM patients WITH NO DATA;
CREATE MATERIALIZED VIEW m_upper AS SELECT id, upper(ssn) AS word, length(email) AS size FROM patients WITH NO DATA;
CREATE MATERIALIZED VIEW m_count AS SELECT diagnosis, count(*) AS n FROM visits GROUP BY diagnosis WITH NO DATA;

CREATE FUNCTION f_sql(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT ssn FROM public.patients WHERE id = $1';
CREATE FUNCTION f_rows() RETURNS SETOF patients LANGUAGE sql STABLE AS 'SELECT * FROM public.patients';
CREATE FUNCTION f_table() RETURNS TABLE (a int, b text) LANGUAGE sql AS 'SELECT id, ssn FROM public.patients';
CREATE FUNCTION f_out(OUT a int, OUT b text) LANGUAGE sql AS 'SELECT id, ssn FROM public.patients ORDER BY id LIMIT 1';
CREATE FUNCTION f_definer() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT ssn FROM public.patients';
CREATE FUNCTION f_nested(int) RETURNS text LANGUAGE sql AS 'SELECT upper(public.f_sql($1))';
CREATE FUNCTION f_echo(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION f_shout(p patients) RETURNS text LANGUAGE sql STABLE AS 'SELECT upper(p.ssn)';
CREATE FUNCTION f_pg(int) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RETURN (SELECT ssn FROM public.patients WHERE id = $1); END $$;
CREATE FUNCTION f_constant(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN (SELECT ssn FROM public.patients WHERE id = $1); END $$;
CREATE FUNCTION f_dynamic(text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE $1; END $$;
CREATE FUNCTION f_raise(text) RETURNS text LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS
  $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN $1; END $$;
CREATE FUNCTION f_leaky(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS
  $$ BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
CREATE FUNCTION f_cursor() RETURNS refcursor LANGUAGE plpgsql AS
  $$ DECLARE c refcursor := 'opened'; BEGIN OPEN c FOR SELECT ssn FROM public.patients; RETURN c; END $$;
CREATE FUNCTION f_collect(text, text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN concat($1, $2); END $$;
CREATE PROCEDURE f_call(INOUT x text) LANGUAGE plpgsql AS
  $$ BEGIN SELECT string_agg(ssn, ',') INTO x FROM public.patients; END $$;
CREATE PROCEDURE f_call_sql() LANGUAGE sql AS 'SELECT set_config(''my.word'', ssn, false) FROM public.patients';
CREATE OPERATOR <<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = f_leaky);
CREATE AGGREGATE a_collect(text) (SFUNC = f_collect, STYPE = text);
CREATE FUNCTION f_to_person(text) RETURNS person LANGUAGE sql AS 'SELECT 1, ''x''::text, 1, $1';
CREATE TABLE stamped (id int PRIMARY KEY, word text DEFAULT f_sql(1));
INSERT INTO stamped VALUES (1, 'plain');
CREATE SEQUENCE tickets;
CREATE SEQUENCE wide MINVALUE 1 MAXVALUE 9000000000000000000;

-- A name that is classified elsewhere is none here.
CREATE SCHEMA other;
CREATE TABLE other.patients (id int PRIMARY KEY, ssn text, email text, salary numeric);
INSERT INTO other.patients SELECT n, 'plain-' || n, 'box' || n || '@example.org', n * 10 FROM generate_series(1, 9) n;
CREATE TABLE other.visits (id int PRIMARY KEY, diagnosis text, day date);
INSERT INTO other.visits SELECT n, (ARRAY['a', 'b', 'c'])[1 + n % 3], date '2026-01-01' + n FROM generate_series(1, 30) n;
CREATE VIEW other.listing AS SELECT id, email FROM other.patients;

-- Ordinary work, with every kind of object a client may introspect.
CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('new', 'paid', 'sent');
CREATE DOMAIN shop.percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE shop.customers (
  id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL, city text, joined date DEFAULT '2026-01-01'
);
CREATE TABLE shop.products (
  id serial PRIMARY KEY, name text NOT NULL UNIQUE, price numeric(10, 2) NOT NULL CHECK (price > 0), tags text[],
  attributes jsonb, discount shop.percent DEFAULT 0, total numeric(12, 2) GENERATED ALWAYS AS (price * 2) STORED
);
CREATE TABLE shop.orders (
  id bigint PRIMARY KEY, customer int NOT NULL REFERENCES shop.customers (id) ON DELETE CASCADE,
  product int NOT NULL REFERENCES shop.products (id), amount int NOT NULL, state shop.state NOT NULL, placed timestamptz NOT NULL
);
CREATE INDEX orders_placed ON shop.orders (placed) WHERE state <> 'sent';
CREATE INDEX products_lower ON shop.products (lower(name));
COMMENT ON TABLE shop.orders IS 'what was ordered';
COMMENT ON COLUMN shop.orders.amount IS 'how many';
CREATE VIEW shop.sales AS
  SELECT p.name, sum(o.amount * p.price) AS total FROM shop.orders o JOIN shop.products p ON p.id = o.product GROUP BY p.name;
CREATE MATERIALIZED VIEW shop.monthly AS
  SELECT date_trunc('month', placed AT TIME ZONE 'UTC') AS month, count(*) AS n FROM shop.orders GROUP BY 1;
CREATE TABLE shop.log (id int, day date, line text) PARTITION BY RANGE (day);
CREATE TABLE shop.log_2026 PARTITION OF shop.log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE FUNCTION shop.price_of(int) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT price FROM shop.products WHERE id = $1';
CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.touch();
INSERT INTO shop.customers (name, city)
  SELECT 'Customer ' || n, (ARRAY['Oslo', 'Pune', NULL])[1 + n % 3] FROM generate_series(1, 30) n;
INSERT INTO shop.products (name, price, tags, attributes)
  SELECT 'Product ' || n, n * 3.5, ARRAY['t' || n % 3, 'all'], jsonb_build_object('size', n, 'nested', jsonb_build_array(n, 'x'))
  FROM generate_series(1, 12) n;
INSERT INTO shop.orders
  SELECT n, 1 + n % 30, 1 + n % 12, 1 + n % 5, (ARRAY['new', 'paid', 'sent'])[1 + n % 3]::shop.state,
    timestamptz '2026-01-01 00:00+00' + n * interval '7 hours' FROM generate_series(1, 300) n;
INSERT INTO shop.log SELECT n, date '2026-01-01' + n, 'line ' || n FROM generate_series(1, 40) n;
REFRESH MATERIALIZED VIEW shop.monthly;

GRANT USAGE ON SCHEMA public, other, shop TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA public, other, shop TO PUBLIC;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public, shop TO PUBLIC;
