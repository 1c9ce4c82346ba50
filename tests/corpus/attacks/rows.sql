-- the whole row
SELECT p FROM patients p

-- the whole row as text
SELECT p::text FROM patients p

-- the whole row in parentheses
SELECT (p) FROM patients p

-- the row's star
SELECT (p).* FROM patients p

-- a field of the row
SELECT (p).ssn FROM patients p

-- functional notation
SELECT ssn(p) FROM patients p

-- functional notation of the table's name
SELECT ssn(patients) FROM patients

-- ROW constructor
SELECT ROW(id, ssn) FROM patients

-- ROW of a star
SELECT ROW(p.*) FROM patients p

-- a row's field cast to another type
SELECT (ROW(id, name, ward, ssn)::person).ssn FROM patients

-- row of a subquery
SELECT q FROM (SELECT id, ssn FROM patients) q

-- field of a row of a subquery
SELECT (q.r).ssn FROM (SELECT p AS r FROM patients p) q

-- row to a function
SELECT f_shout(p) FROM patients p

-- attribute notation of a function
SELECT p.f_shout FROM patients p

-- composite column
SELECT home FROM patients

-- a composite column's field
SELECT (home).street FROM patients

-- a composite column's star
SELECT (home).* FROM patients

-- array column
SELECT tags FROM patients

-- subscript
SELECT tags[1] FROM patients

-- slice
SELECT tags[1:1] FROM patients

-- array constructor
SELECT ARRAY[ssn, email] FROM patients

-- subscript of a constructor
SELECT (ARRAY[ssn])[1] FROM patients

-- nested arrays
SELECT ARRAY[ARRAY[ssn], ARRAY[email]] FROM patients

-- array of rows
SELECT ARRAY[p] FROM patients p

-- array_agg of rows
SELECT array_agg(p) FROM patients p

-- range column
SELECT stay FROM patients

-- bounds of a range
SELECT lower(stay), upper(stay) FROM patients

-- a range made of it
SELECT int8range(account, NULL) FROM patients

-- jsonb column
SELECT notes FROM patients

-- jsonb subscript
SELECT notes['cause'] FROM patients

-- jsonb arrow
SELECT notes ->> 'cause' FROM patients

-- jsonb path
SELECT jsonb_path_query(notes, '$.list[*]') FROM patients

-- jsonb each
SELECT e.* FROM patients, jsonb_each_text(notes) e

-- json column
SELECT doc #>> '{inner,word}' FROM patients

-- domain
SELECT nick FROM patients

-- domain cast
SELECT name::code, ssn::code FROM patients

-- comparison of rows
SELECT id FROM patients p WHERE (p.id, p.ssn) < (1, '5')

-- record functions
SELECT * FROM patients p, jsonb_to_record(to_jsonb(p)) AS r(ssn text)

-- populate
SELECT (jsonb_populate_record(NULL::person, to_jsonb(p))).ssn FROM patients p

-- a cast of text to a row
SELECT (('(1,x,1,' || ssn || ')')::person).ssn FROM patients

-- hstore of a row | ext=hstore
SELECT tools.hstore(p) OPERATOR(tools.->) 'ssn' FROM patients p

-- num_nulls of columns
SELECT num_nulls(ssn, email) FROM patients

-- IS DISTINCT FROM of rows
SELECT id FROM patients p WHERE p IS NOT NULL

-- row IS NULL tells
SELECT id, ROW(ssn) IS NULL FROM patients
