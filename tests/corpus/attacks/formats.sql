-- defaults | verdict=masked modes=simple,extended,binary,blind,portal,pipeline,mixed,cursor,prepared

-- text
SELECT id, ssn FROM patients ORDER BY id

-- varchar
SELECT id, phone FROM patients ORDER BY id

-- char
SELECT id, pin FROM patients ORDER BY id

-- a domain
SELECT id, nick FROM patients ORDER BY id

-- bigint
SELECT id, account FROM patients ORDER BY id

-- numeric
SELECT id, salary FROM patients ORDER BY id

-- float8
SELECT id, ratio FROM patients ORDER BY id

-- date
SELECT id, born FROM patients ORDER BY id

-- timestamptz
SELECT id, seen FROM patients ORDER BY id

-- uuid
SELECT id, token FROM patients ORDER BY id

-- inet
SELECT id, host FROM patients ORDER BY id

-- bytea
SELECT id, blob FROM patients ORDER BY id

-- jsonb
SELECT id, notes FROM patients ORDER BY id

-- json
SELECT id, doc FROM patients ORDER BY id

-- array
SELECT id, tags FROM patients ORDER BY id

-- composite
SELECT id, home FROM patients ORDER BY id

-- range
SELECT id, stay FROM patients ORDER BY id

-- boolean
SELECT id, flag FROM patients ORDER BY id

-- time
SELECT id, hours FROM patients ORDER BY id

-- point
SELECT id, path FROM patients ORDER BY id

-- macaddr
SELECT id, mac FROM patients ORDER BY id

-- interval
SELECT id, wait FROM patients ORDER BY id

-- a long text
SELECT id, body FROM letters ORDER BY id

-- everything
SELECT * FROM patients ORDER BY id

-- COPY of a table | verdict=any modes=simple
COPY patients TO STDOUT

-- COPY of columns | verdict=any modes=simple
COPY patients (id, ssn) TO STDOUT (FORMAT csv, HEADER)

-- COPY in binary | verdict=any modes=simple
COPY patients (ssn, account) TO STDOUT (FORMAT binary)

-- COPY of a query | verdict=any modes=simple,extended
COPY (SELECT ssn FROM patients) TO STDOUT

-- COPY with another delimiter | verdict=any modes=simple
COPY (SELECT id, ssn FROM patients) TO STDOUT (DELIMITER '|', NULL 'none')

-- COPY FORCE QUOTE | verdict=any modes=simple
COPY (SELECT id, ssn FROM patients) TO STDOUT (FORMAT csv, FORCE_QUOTE *)

-- COPY of an update's rows | verdict=denied modes=simple
COPY (UPDATE patients SET ward = ward WHERE id = 1 RETURNING ssn) TO STDOUT

-- COPY in the old syntax | verdict=any modes=simple
COPY patients TO STDOUT WITH CSV
