-- The objects of a client's conversation, made anew by each of them. Run as the application's account.
DROP SCHEMA IF EXISTS talk CASCADE;
CREATE SCHEMA talk;
SET search_path = talk, public;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE point3 AS (x integer, y integer, note text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE everything (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    small smallint, big bigint, exact numeric(20, 6), single real, double double precision, yes boolean,
    words text, limited varchar(20), padded char(5), bytes bytea, day date, clock time, zoned timestamptz,
    plain timestamp, span interval, ident uuid, doc json, docb jsonb, numbers integer[], texts text[],
    grid integer[][], span4 int4range, spann numrange, many int4multirange, feeling mood, place point3,
    address inet, net cidr, mac macaddr, bits bit varying(16), spot point, amount money, counted positive, tags tsvector
);
CREATE TABLE parent (id integer PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE child (
    id serial PRIMARY KEY, parent_id integer NOT NULL REFERENCES parent ON DELETE CASCADE,
    quantity integer CHECK (quantity > 0), EXCLUDE USING btree (parent_id WITH =)
);
CREATE INDEX child_quantity ON child (quantity) WHERE quantity > 10;
CREATE VIEW overview AS SELECT p.id, p.name, count(c.id) AS children FROM parent p LEFT JOIN child c ON c.parent_id = p.id GROUP BY p.id;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM parent;
CREATE FUNCTION twice(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION loud(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'this is %', what USING HINT = 'be quiet', DETAIL = 'it was loud';
    IF what = 'error' THEN RAISE EXCEPTION 'custom %', what USING ERRCODE = 'TK001', COLUMN = 'a', TABLE = 't'; END IF;
    RETURN upper(what);
END $$;
CREATE PROCEDURE raise_all(by_how_much integer) LANGUAGE sql AS 'UPDATE talk.child SET quantity = quantity + by_how_much';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := trim(NEW.name); RETURN NEW; END';
CREATE TRIGGER parent_stamp BEFORE INSERT OR UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO parent VALUES (1, 'one'), (2, ' two '), (3, 'thrée');
INSERT INTO child (parent_id, quantity) VALUES (1, 5), (2, 50);
INSERT INTO everything (small, big, exact, single, double, yes, words, limited, padded, bytes, day, clock, zoned, plain,
    span, ident, doc, docb, numbers, texts, grid, span4, spann, many, feeling, place, address, net, mac, bits, spot,
    amount, counted, tags)
VALUES (1, 9007199254740993, 12345.678900, 1.5, 2.25, true, 'wörds ''quoted'' \back', 'limited', 'pad', '\x00ff10',
    '2024-02-29', '12:34:56.789', '2024-02-29 12:34:56.789+02', '2024-02-29 12:34:56', '1 year 2 mons 3 days 04:05:06',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, 2]}', '{"b": null}', '{1,NULL,3}', '{a,"b c",NULL}',
    '{{1,2},{3,4}}', '[1,10)', '(,5.5]', '{[1,3),[7,9)}', 'happy', '(1,2,"a, b")', '10.0.0.1/24', '10.0.0.0/8',
    '08:00:2b:01:02:03', B'1010', '(1,2)', '12.34', 7, 'a:1 b:2'),
    (NULL, NULL, 'NaN', 'Infinity', '-Infinity', NULL, NULL, NULL, NULL, NULL, 'infinity', NULL, '-infinity', NULL,
    NULL, NULL, NULL, NULL, '{}', '{}', NULL, 'empty', NULL, '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL);
