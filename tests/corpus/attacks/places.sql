-- defaults | verdict=masked

-- a partition whose columns stand in another order
SELECT secret FROM events_far ORDER BY day

-- its star
SELECT * FROM events_far ORDER BY day

-- the parent's star, over both orders
SELECT * FROM events ORDER BY day

-- its row | verdict=any
SELECT e FROM events_far e ORDER BY day

-- its row made the parent's | verdict=denied
SELECT e::events FROM events_far e ORDER BY day

-- its column by place | verdict=masked
SELECT a FROM events_far AS x(a) ORDER BY day

-- copied from it | modes=simple min=18
COPY events_far TO STDOUT

-- columns copied from it in an order of one's own | modes=simple
COPY events_far (day, secret, id) TO STDOUT

-- the parent's column of a child with another order
SELECT secret FROM nurses ORDER BY id

-- a child's star in another order
SELECT * FROM nurses ORDER BY id

-- the parent's, over children in several orders
SELECT name, secret FROM staff ORDER BY id

-- a condition on such a column | verdict=denied
SELECT id FROM nurses WHERE secret > '5' ORDER BY id

-- a column behind a dropped one
SELECT secret, plain FROM moved ORDER BY id

-- one that was added later
SELECT later FROM moved ORDER BY id

-- all of them
SELECT * FROM moved ORDER BY id

-- a view over them
SELECT * FROM v_moved ORDER BY id

-- a view that swaps two names
SELECT plain FROM v_swapped ORDER BY n

-- all of it
SELECT * FROM v_swapped ORDER BY n

-- a row of it | verdict=any
SELECT s FROM v_swapped s ORDER BY n

-- a condition on the swapped name | verdict=denied
SELECT n FROM v_swapped WHERE plain > '5' ORDER BY n

-- a field named like another column
SELECT (x).street FROM (SELECT home AS x, id AS street FROM patients) x

-- a field of a row that is cast | verdict=denied
SELECT (x).ssn FROM (SELECT ROW(1, 'a', 1, ssn)::person AS x, id AS ssn FROM patients) x

-- a field by functional notation | verdict=any
SELECT ssn(ROW(1, 'a', 1, ssn)::person) FROM patients

-- a column by functional notation | verdict=any
SELECT ssn(p) FROM patients p

-- a field of a composite column
SELECT (home).city, (p.home).street FROM patients p

-- all fields of a composite column | verdict=denied
SELECT (home).* FROM patients

-- a generated column of a view's column
SELECT d.shout FROM (SELECT * FROM digests) d ORDER BY id

-- compared by two collations, which fails but on a NULL | verdict=denied
SELECT id, secret = plain FROM voices WHERE id = 0

-- turned to upper case by two collations | verdict=denied
SELECT upper(secret || plain) FROM voices WHERE id = 0

-- the greater by two collations | verdict=denied
SELECT greatest(secret, plain) FROM voices WHERE id = 1

-- a column with a collation of its own
SELECT secret FROM voices ORDER BY id

-- how many rows a page holds | verdict=any void=rows-of-both-sides-are-about-as-long
SELECT max(ctid::text) FROM letters
