-- a partition whose columns stand in another order
SELECT id, day, kind FROM events_far ORDER BY id

-- the parent's columns over both orders
SELECT id, kind FROM events ORDER BY id

-- a child with another order
SELECT shift, id, name FROM nurses ORDER BY id

-- columns behind a dropped one
SELECT id, plain, last FROM moved ORDER BY id

-- a view over them
SELECT id, plain, last FROM v_moved ORDER BY id

-- a view that swaps two names
SELECT n, secret FROM v_swapped ORDER BY n

-- a condition on the swapped name
SELECT n FROM v_swapped WHERE secret > 'plain 2' ORDER BY n

-- a field of a row that is made
SELECT (ROW(1, 'a', 1, name)::person).ssn FROM wards ORDER BY id

-- a field by functional notation
SELECT ward(ROW(id, name, beds, 'x')::person) FROM wards ORDER BY id

-- a column by functional notation
SELECT beds(w) FROM wards w ORDER BY id

-- a whole row
SELECT w, w.* FROM wards w ORDER BY id

-- JSON_TABLE | min=17
SELECT t.* FROM shop.products, JSON_TABLE(attributes, '$' COLUMNS (size int PATH '$.size', NESTED PATH '$.nested[*]' COLUMNS (n text PATH '$'))) t ORDER BY 1, 2

-- JSON functions with a passed value | min=17
SELECT JSON_VALUE(attributes, '$.size' PASSING id AS i RETURNING int), JSON_EXISTS(attributes, '$.size ? (@ == $i)' PASSING id AS i) FROM shop.products ORDER BY id

-- XMLTABLE
SELECT t.* FROM wards, XMLTABLE('/w' PASSING xmlelement(name w, name) COLUMNS word text PATH '.') t ORDER BY 1

-- EXECUTE of a prepared statement
PREPARE placed(int) AS SELECT id, plain FROM v_moved WHERE id > $1 ORDER BY id
EXECUTE placed(2)
DEALLOCATE placed

-- FETCH from an earlier cursor
BEGIN
DECLARE placed CURSOR FOR SELECT n, secret FROM v_swapped ORDER BY n
FETCH 2 FROM placed
MOVE 1 IN placed
FETCH ALL FROM placed
COMMIT

-- ordered by a name with an operator
SELECT name AS called FROM wards ORDER BY called USING >

-- a column with a collation of its own
SELECT plain, upper(plain), plain > 'plain 2' FROM voices ORDER BY plain

-- an expression beside it
SELECT id, upper(plain) FROM voices WHERE plain LIKE 'plain%' ORDER BY id
