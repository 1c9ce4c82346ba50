-- defaults | verdict=masked

-- the column itself
SELECT ssn FROM patients

-- another name
SELECT ssn AS x FROM patients

-- the name of another column
SELECT ssn AS name, name AS ssn FROM patients

-- a star
SELECT * FROM patients

-- a star of an alias
SELECT p.* FROM patients AS p

-- aliases of columns
SELECT c FROM patients AS p(a, b, d, e, c)

-- qualified by schema
SELECT public.patients.ssn FROM public.patients

-- quoted
SELECT "ssn" FROM "patients"

-- unicode escapes
SELECT U&"\0073sn" FROM U&"p\0061tients"

-- upper case folds
SELECT SSN FROM PATIENTS

-- TABLE
TABLE patients

-- only
SELECT ssn FROM ONLY patients

-- parentheses
SELECT ((ssn)) FROM patients

-- the same twice
SELECT ssn, ssn AS again FROM patients

-- behind a comment that looks like an end
SELECT /* ; -- */ ssn -- '
 FROM patients

-- ordered by a key
SELECT ssn FROM patients ORDER BY id

-- limited
SELECT ssn FROM patients ORDER BY id LIMIT 2 OFFSET 1

-- fetch first
SELECT ssn FROM patients ORDER BY id FETCH FIRST 2 ROWS WITH TIES

-- dollar quoted neighbour
SELECT $x$ ssn $x$, ssn FROM patients

-- no space
SELECT"ssn"FROM"patients"

-- by inner join on the key
SELECT p.ssn FROM visits v JOIN patients p ON p.id = v.patient WHERE v.id < 8

-- by left join
SELECT p.ssn FROM wards w LEFT JOIN patients p ON p.ward = w.id

-- by full join
SELECT p.ssn FROM wards w FULL JOIN patients p ON p.ward = w.id

-- by cross join
SELECT w.id, p.ssn FROM wards w CROSS JOIN patients p

-- by join using
SELECT ssn FROM patients JOIN (SELECT id FROM wards) w USING (id)

-- join with an alias of its own
SELECT j.ssn FROM (wards w JOIN patients p ON p.ward = w.id) AS j(wid, wname, beds, id, name, ward, status, ssn)

-- a join merged under an alias
SELECT u.id, ssn FROM patients JOIN wards USING (id) AS u

-- self join
SELECT b.ssn FROM patients a, patients b WHERE a.id = b.id
