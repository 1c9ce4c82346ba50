"""Statements and what each must be described as.

A line is `statement ¦ verbs ¦ relations ¦ columns ¦ opaque codes`. verbs without `sql.`; relations as
`name:access+access:via`, via left out when direct; columns as `relation.column` with `=` output, `?` other, `!` write.
Everything listed must be there and nothing else may be.
"""

from __future__ import annotations

from dataclasses import dataclass

TEXT = r"""
SELECT name FROM customers ¦ select ¦ customers:read ¦ customers.name=
SELECT "name" FROM "public"."customers" -- ; DROP TABLE orders ¦ select ¦ customers:read ¦ customers.name=
SELECT /* /* nested */ ; DROP TABLE orders */ 1 ¦ select
SELECT $x$ ; DROP TABLE orders $x$ ¦ select
SELECT U&'\0041' ¦ select
SELECT U&"\0065mail" FROM customers ¦ select ¦ customers:read ¦ customers.email=
SELECT E'\'; DROP TABLE orders; --' ¦ select
SELECT 'a' 'b' FROM orders ¦ *syntax*
TABLE lines ¦ select ¦ lines:read ¦ lines.id= lines.order_id= lines.sku=
SELECT name FROM animals ¦ select ¦ animals:read cats:read:inheritance ¦ animals.name= cats.name=
SELECT name FROM ONLY animals ¦ select ¦ animals:read ¦ animals.name= cats.name=
SELECT lives FROM cats ¦ select ¦ cats:read ¦ cats.lives=
SELECT email FROM parts ¦ select ¦ parts:read parts_1:read:partition ¦ parts.email= parts_1.email=
SELECT email FROM parts_1 ¦ select ¦ parts_1:read ¦ parts.email= parts_1.email=
SELECT address FROM contact2 ¦ select ¦ contact2:read contact:read:view customers:read:view orders:read:view ¦ contact2.address= contact.email= customers.email= contact.id? customers.id? customers.name? orders.customer_id?
SELECT email FROM (SELECT * FROM customers) x ¦ select ¦ customers:read ¦ customers.email=
SELECT id FROM (SELECT * FROM customers) x ¦ select ¦ customers:read ¦ customers.id=
WITH c AS (SELECT * FROM customers) SELECT c.email AS x FROM c ¦ select ¦ customers:read ¦ customers.email=
WITH orders AS (SELECT id FROM cards) SELECT * FROM orders ¦ select ¦ cards:read ¦ cards.id=
WITH RECURSIVE r AS (SELECT id, boss FROM employees UNION ALL SELECT e.id, e.boss FROM employees e JOIN r ON r.id = e.boss) SELECT id FROM r ¦ select ¦ employees:read ¦ employees.id? employees.boss?
SELECT email FROM customers UNION ALL SELECT pan FROM cards ¦ select ¦ customers:read cards:read ¦ customers.email? cards.pan?
SELECT id FROM cards EXCEPT SELECT id FROM customers ¦ select ¦ customers:read cards:read ¦ customers.id? cards.id?
SELECT (SELECT email FROM customers LIMIT 1) ¦ select ¦ customers:read ¦ customers.email?
SELECT c FROM cards c ¦ select ¦ cards:read ¦ cards.id? cards.customer_id? cards.pan?
SELECT row_to_json(cards) FROM cards ¦ select ¦ cards:read ¦ cards.id? cards.customer_id? cards.pan?
SELECT cards::text FROM cards ¦ select ¦ cards:read ¦ cards.id? cards.customer_id? cards.pan?
SELECT (cards).pan FROM cards ¦ select ¦ cards:read ¦ cards.pan=
SELECT lower((cards).pan) FROM cards ¦ select ¦ cards:read ¦ cards.id? cards.customer_id? cards.pan? ¦ procedural-function
SELECT ROW(c.*) FROM cards c ¦ select ¦ cards:read ¦ cards.id? cards.customer_id? cards.pan?
SELECT (x).* FROM (SELECT cards AS x FROM cards) y ¦ select ¦ cards:read ¦ cards.id? cards.customer_id? cards.pan?
SELECT pan || '' FROM cards ¦ select ¦ cards:read ¦ cards.pan?
SELECT concat(pan), substr(pan, 1, 4) FROM cards ¦ select ¦ cards:read ¦ cards.pan?
SELECT id FROM cards WHERE substr(pan, 1, 1) = '4' ¦ select ¦ cards:read ¦ cards.id= cards.pan?
SELECT id FROM cards ORDER BY pan ¦ select ¦ cards:read ¦ cards.id= cards.pan?
SELECT pan AS id FROM cards ORDER BY 1 ¦ select ¦ cards:read ¦ cards.pan= cards.pan?
SELECT pan AS x FROM cards ORDER BY x ¦ select ¦ cards:read ¦ cards.pan= cards.pan?
SELECT DISTINCT pan FROM cards ¦ select ¦ cards:read ¦ cards.pan= cards.pan?
SELECT id FROM cards GROUP BY id, pan ¦ select ¦ cards:read ¦ cards.id= cards.id? cards.pan?
SELECT count(*) FILTER (WHERE pan LIKE '4%') FROM cards ¦ select ¦ cards:read ¦ cards.pan?
SELECT id, max(pan) OVER (PARTITION BY customer_id) FROM cards ¦ select ¦ cards:read ¦ cards.id= cards.customer_id? cards.pan?
SELECT pan::int FROM cards ¦ select ¦ cards:read ¦ cards.pan?
SELECT id FROM cards LIMIT (SELECT length(pan) FROM cards LIMIT 1) ¦ select ¦ cards:read ¦ cards.id= cards.pan?
SELECT generate_series(1, length(pan)) FROM cards ¦ select ¦ cards:read ¦ cards.pan?
SELECT CASE WHEN pan = '4' THEN 1 END FROM cards ¦ select ¦ cards:read ¦ cards.pan?
SELECT xmlforest(pan) FROM cards ¦ select ¦ cards:read ¦ cards.pan?
SELECT jsonb_path_query(to_jsonb(c), '$.pan') FROM cards c ¦ select ¦ cards:read ¦ cards.id? cards.customer_id? cards.pan?
SELECT x.c FROM cards AS x(a, b, c) ¦ select ¦ cards:read ¦ cards.pan=
SELECT j.pan FROM (customers a JOIN cards b ON b.customer_id = a.id) AS j ¦ select ¦ customers:read cards:read ¦ cards.pan= customers.id? cards.customer_id?
SELECT id FROM customers JOIN cards USING (id) ¦ select ¦ customers:read cards:read ¦ customers.id? cards.id?
SELECT pan FROM customers NATURAL JOIN cards ¦ select ¦ customers:read cards:read ¦ cards.pan= customers.id? cards.id?
SELECT x.pan FROM customers a, LATERAL (SELECT pan FROM cards c WHERE c.customer_id = a.id) x ¦ select ¦ customers:read cards:read ¦ cards.pan= customers.id? cards.customer_id?
SELECT EXISTS (SELECT * FROM cards) ¦ select ¦ cards:read
SELECT id FROM orders WHERE customer_id IN (SELECT customer_id FROM cards WHERE pan = '4') ¦ select ¦ cards:read orders:read ¦ orders.id= orders.customer_id? cards.customer_id? cards.pan?
SELECT sku FROM lines TABLESAMPLE bernoulli(10) ¦ select ¦ lines:read ¦ lines.sku=
SELECT s FROM totals ¦ select ¦ totals:read ¦ totals.s=
SELECT * FROM guarded ¦ select ¦ guarded:read employees:read:policy ¦ guarded.id= guarded.owner= employees.name?
UPDATE lines SET sku = '' ¦ update ¦ lines:update orders:read:foreign-key ¦ lines.sku!
UPDATE lines SET sku = sku || 'x' WHERE id = 1 ¦ update ¦ lines:update orders:read:foreign-key ¦ lines.sku! lines.sku? lines.id?
UPDATE customers SET id = 5 WHERE id = 4 ¦ update ¦ customers:update customers:read:foreign-key orders:update:cascade cards:read:foreign-key ¦ customers.id! customers.id? orders.customer_id!
UPDATE customers SET name = 'x' RETURNING email ¦ update ¦ customers:update ¦ customers.name! customers.email=
DELETE FROM customers ¦ delete update ¦ customers:delete orders:delete:cascade orders:read:foreign-key lines:update:cascade cards:read:foreign-key ¦ lines.order_id!
DELETE FROM employees WHERE id = 1 ¦ delete ¦ employees:delete employees:delete:cascade ¦ employees.id?
WITH d AS (DELETE FROM lines RETURNING *) SELECT count(*) FROM d ¦ delete select ¦ lines:delete
WITH d AS (DELETE FROM lines RETURNING sku) SELECT sku FROM d ¦ delete select ¦ lines:delete ¦ lines.sku=
INSERT INTO shop.items (id, price) VALUES (1, 2) ¦ insert ¦ items:insert ¦ items.id! items.price!
SELECT doubled FROM shop.items ¦ select ¦ items:read ¦ items.doubled= items.price?
INSERT INTO watched VALUES (1, 'x') ¦ insert ¦ watched:insert ¦ watched.id! watched.x! ¦ procedural-trigger
DELETE FROM watched ¦ delete ¦ watched:delete
INSERT INTO ruled VALUES (1) ¦ insert delete ¦ ruled:insert cards:delete:rule ¦ ruled.id! ruled.id? cards.id?
INSERT INTO bad_default (x) VALUES (1) ¦ insert ¦ bad_default:insert ¦ bad_default.x! ¦ procedural-default
INSERT INTO bad_check VALUES (1) ¦ insert ¦ bad_check:insert ¦ bad_check.id! ¦ procedural-default
INSERT INTO indexed VALUES (1, 2) ¦ insert ¦ indexed:insert ¦ indexed.id! indexed.x! ¦ procedural-default
INSERT INTO parts VALUES (1) ¦ insert ¦ parts:insert parts_1:insert:partition ¦ parts.id! parts.email! parts_1.id! parts_1.email!
UPDATE simple_orders SET note = 'x' ¦ select update ¦ simple_orders:update orders:read+update:view customers:read:foreign-key ¦ simple_orders.note! orders.note!
MERGE INTO lines l USING cards c ON l.id = c.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (c.id) ¦ merge select delete insert ¦ lines:delete+insert cards:read orders:read:foreign-key ¦ lines.id? lines.id! cards.id?
SELECT purge(1) ¦ select delete update ¦ orders:delete:function orders:read:foreign-key lines:update:cascade ¦ orders.id? lines.order_id!
SELECT purge_all() ¦ select delete update ¦ orders:delete:function orders:read:foreign-key lines:update:cascade ¦ lines.order_id!
SELECT * FROM peek() ¦ select ¦ secrets:read:function ¦ secrets.value?
SELECT proc(1) ¦ select ¦ ¦ ¦ procedural-function
SELECT l.sku FROM lines l WHERE proc(l.id) = 1 ¦ select ¦ lines:read ¦ lines.sku= lines.id? ¦ procedural-function
SELECT o.shout FROM ONLY orders o ¦ select ¦ orders:read ¦ orders.id? orders.customer_id? orders.total? orders.note? ¦ procedural-function
CALL clean() ¦ call ¦ ¦ ¦ call procedural-function
DO $$ BEGIN DELETE FROM orders; END $$ ¦ do ¦ ¦ ¦ do-block
SELECT 1 === 'x' ¦ select ¦ ¦ ¦ procedural-function
SELECT 1 OPERATOR(public.===) 'x' ¦ select ¦ ¦ ¦ procedural-function
SELECT 1 = ANY (SELECT 1) ¦ select
SELECT 1::positive ¦ select ¦ ¦ ¦ procedural-default
SELECT NULL::mood, NULL::money2 ¦ select ¦ ¦ ¦ procedural-function
SELECT evil_sum(id) FROM cards ¦ select ¦ cards:read ¦ cards.id? ¦ procedural-function
SELECT lower(1) ¦ select ¦ ¦ ¦ procedural-function
SELECT pg_read_file('/etc/passwd') ¦ system select ¦ ¦ ¦ server-file
SELECT pg_ls_dir('/') ¦ system select ¦ ¦ ¦ server-file
SELECT lo_import('/etc/passwd') ¦ large-object select ¦ ¦ ¦ server-file
SELECT lo_unlink(1) ¦ large-object select
SELECT query_to_xml('DELETE FROM orders', true, true, '') ¦ select ¦ ¦ ¦ dynamic-sql
SELECT ts_stat('SELECT pan FROM cards') ¦ select ¦ ¦ ¦ dynamic-sql
SELECT pg_terminate_backend(1) ¦ system select
SELECT pg_reload_conf() ¦ system select
SELECT pg_advisory_lock(1) ¦ lock select
SELECT pg_notify('a', 'b') ¦ notify select
SELECT nextval('counter') ¦ sequence select ¦ counter:update
SELECT nextval($1) ¦ sequence select ¦ ¦ ¦ dynamic-name
SELECT nextval('coun' || 'ter') ¦ sequence select ¦ ¦ ¦ dynamic-name
SELECT set_config('role', 'x', false) ¦ set select
SELECT set_config('ro' || 'le', 'x', false) ¦ set select ¦ ¦ ¦ dynamic-setting
SELECT most_common_vals FROM pg_stats ¦ select ¦ pg_stats:read ¦ pg_stats.most_common_vals= ¦ unresolved
COPY cards TO STDOUT ¦ copy-to select ¦ cards:read ¦ cards.id? cards.customer_id? cards.pan?
COPY cards (id) TO STDOUT ¦ copy-to select ¦ cards:read ¦ cards.id?
COPY (SELECT pan FROM cards) TO STDOUT ¦ copy-to select ¦ cards:read ¦ cards.pan?
COPY (DELETE FROM lines RETURNING sku) TO STDOUT ¦ copy-to delete ¦ lines:delete ¦ lines.sku?
COPY lines FROM STDIN ¦ copy-from insert ¦ lines:insert orders:read:foreign-key ¦ lines.id! lines.order_id! lines.sku!
COPY lines TO PROGRAM 'cat' ¦ copy-server select ¦ lines:read ¦ lines.id? lines.order_id? lines.sku? ¦ server-program
COPY lines FROM '/tmp/x' ¦ copy-server insert ¦ lines:insert orders:read:foreign-key ¦ lines.id! lines.order_id! lines.sku! ¦ server-file
EXPLAIN DELETE FROM lines ¦ explain ¦ lines:delete
EXPLAIN ANALYZE DELETE FROM lines ¦ explain delete ¦ lines:delete
EXPLAIN (ANALYZE OFF, VERBOSE) DELETE FROM lines ¦ explain ¦ lines:delete
EXPLAIN (ANALYZE OFF, ANALYZE) DELETE FROM lines ¦ explain delete ¦ lines:delete
EXPLAIN SELECT pan FROM cards ¦ explain ¦ cards:read ¦ cards.pan?
SELECT pan INTO n FROM cards ¦ select create ¦ cards:read ¦ cards.pan?
CREATE TABLE n AS SELECT pan FROM cards ¦ select create ¦ cards:read ¦ cards.pan?
CREATE TEMP TABLE n AS SELECT pan FROM cards ¦ select temporary ¦ cards:read ¦ cards.pan?
CREATE TEMP TABLE n (id int) ¦ temporary
CREATE TABLE n (id int DEFAULT proc(1)) ¦ create ¦ ¦ ¦ procedural-default
CREATE VIEW n AS SELECT pan FROM cards ¦ create select ¦ cards:read ¦ cards.pan?
CREATE INDEX ON orders (proc(id)) ¦ create ¦ orders:ddl ¦ ¦ procedural-default
DROP TABLE orders, lines CASCADE ¦ drop ¦ orders:ddl lines:ddl
DROP TABLE IF EXISTS nowhere ¦ drop
ALTER TABLE orders DROP COLUMN note ¦ alter ¦ orders:ddl
TRUNCATE lines ¦ truncate ¦ lines:truncate
TRUNCATE customers CASCADE ¦ truncate ¦ customers:truncate orders:truncate:cascade lines:truncate:cascade cards:truncate:cascade
REFRESH MATERIALIZED VIEW totals ¦ refresh select ¦ totals:ddl orders:read:view ¦ totals.customer_id? totals.s? orders.customer_id? orders.total?
LOCK TABLE lines IN ACCESS SHARE MODE ¦ lock ¦ lines:lock
SELECT sku FROM lines FOR UPDATE ¦ select lock ¦ lines:lock+read ¦ lines.sku=
VACUUM FULL lines ¦ cluster ¦ lines:ddl
GRANT SELECT ON lines TO PUBLIC ¦ grant ¦ lines:ddl
CREATE ROLE x ¦ role
ALTER SYSTEM SET work_mem = 1 ¦ system
CREATE EXTENSION dblink ¦ system ¦ ¦ ¦ server-file
LOAD 'x' ¦ system ¦ ¦ ¦ server-file
LISTEN x ¦ listen
NOTIFY x, 'y' ¦ notify
PREPARE p AS DELETE FROM lines WHERE id = $1 ¦ prepare delete ¦ lines:delete ¦ lines.id?
EXECUTE p(1) ¦ execute ¦ ¦ ¦ prepared-unknown
DECLARE c CURSOR FOR SELECT pan FROM cards ¦ declare select ¦ cards:read ¦ cards.pan=
FETCH ALL IN c ¦ fetch ¦ ¦ ¦ cursor-unknown
DISCARD ALL ¦ discard
SET LOCAL ROLE x ¦ set
BEGIN READ ONLY ¦ transaction
PREPARE TRANSACTION 'x' ¦ two-phase
-- nothing at all ¦ empty
SELECT nowhere FROM lines ¦ select ¦ lines:read ¦ ¦ unresolved
SELECT nowhere(1) ¦ select ¦ ¦ ¦ unresolved
SELECT 1 FROM nowhere ¦ select ¦ ¦ ¦ unresolved
SELECT 1 FROM other_db.public.lines ¦ select ¦ ¦ ¦ unresolved
SELECT 1::nowhere ¦ select ¦ ¦ ¦ unresolved
SELECT 1 @@@@ 2 ¦ select ¦ ¦ ¦ unresolved
DELETE FROM pg_class ¦ delete system ¦ pg_class:delete
"""


@dataclass(frozen=True)
class Case:
    sql: str
    verbs: frozenset[str]
    relations: frozenset[str]
    columns: frozenset[str]
    opaque: frozenset[str]


def _case(line: str) -> Case:
    parts = [part.strip() for part in line.split("¦")]
    words = [frozenset(part.split()) for part in (*parts[1:], "", "", "", "")]
    return Case(parts[0], words[0], words[1], words[2], words[3])


CASES = [_case(line) for line in TEXT.strip().split("\n")]
