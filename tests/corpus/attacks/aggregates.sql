-- max
SELECT max(ssn) FROM patients

-- min of a group
SELECT ward, min(ssn) FROM patients GROUP BY ward

-- sum
SELECT sum(account) FROM patients

-- avg
SELECT avg(salary) FROM patients

-- count of the column
SELECT count(ssn) FROM patients

-- count distinct
SELECT count(DISTINCT diagnosis) FROM visits

-- string_agg
SELECT string_agg(ssn, ',') FROM patients

-- string_agg of one character each
SELECT string_agg(left(ssn, 1), '') FROM patients

-- array_agg
SELECT array_agg(ssn ORDER BY id) FROM patients

-- json_agg
SELECT json_agg(ssn) FROM patients

-- jsonb_object_agg
SELECT jsonb_object_agg(id, ssn) FROM patients

-- json_agg of rows
SELECT json_agg(p) FROM patients p

-- xmlagg
SELECT xmlagg(xmlelement(name s, ssn)) FROM patients

-- bool_and
SELECT bool_or(flag), every(flag) FROM patients WHERE id < 2

-- FILTER
SELECT count(*) FILTER (WHERE ssn LIKE '1%') FROM patients

-- FILTER on a star
SELECT name, count(*) FILTER (WHERE flag) FROM patients GROUP BY name ORDER BY name

-- ORDER BY in an aggregate
SELECT string_agg(name, ',' ORDER BY ssn) FROM patients

-- DISTINCT in an aggregate
SELECT array_agg(DISTINCT diagnosis) FROM visits

-- WITHIN GROUP
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ssn) FROM patients

-- mode
SELECT mode() WITHIN GROUP (ORDER BY diagnosis) FROM visits

-- percentile_cont
SELECT percentile_cont(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY ratio) FROM patients

-- hypothetical rank
SELECT rank('5'::text) WITHIN GROUP (ORDER BY ssn) FROM patients

-- stddev
SELECT stddev(ratio), variance(salary) FROM patients

-- corr
SELECT corr(ratio, id) FROM patients

-- bit_and
SELECT bit_and(account), bit_or(account) FROM patients

-- range_agg
SELECT range_agg(stay) FROM patients

-- a user's aggregate
SELECT a_collect(ssn) FROM patients

-- any_value | min=16
SELECT any_value(ssn) FROM patients WHERE id = 1

-- GROUP BY the column
SELECT diagnosis, count(*) FROM visits GROUP BY diagnosis ORDER BY 2, 1

-- GROUP BY without showing it
SELECT count(*) FROM visits GROUP BY diagnosis ORDER BY 1

-- GROUP BY an expression
SELECT count(*) FROM patients GROUP BY left(ssn, 1) = '1' ORDER BY 1

-- GROUP BY a position
SELECT diagnosis, min(id) FROM visits GROUP BY 1 ORDER BY 2

-- GROUPING SETS
SELECT diagnosis, count(*) FROM visits GROUP BY GROUPING SETS ((diagnosis), ()) ORDER BY 2, 1

-- CUBE
SELECT diagnosis, severity, count(*) FROM visits GROUP BY CUBE (1, 2) ORDER BY 3, 1, 2

-- GROUPING
SELECT GROUPING(diagnosis), count(*) FROM visits GROUP BY ROLLUP (diagnosis) ORDER BY 1, 2

-- HAVING
SELECT ward FROM patients GROUP BY ward HAVING max(ssn) > '5' ORDER BY 1

-- DISTINCT
SELECT DISTINCT diagnosis FROM visits

-- DISTINCT tells by rows
SELECT count(*) FROM (SELECT DISTINCT severity FROM visits) x

-- DISTINCT ON
SELECT DISTINCT ON (flag) id FROM patients ORDER BY flag, id

-- rank over
SELECT id, rank() OVER (ORDER BY ssn) FROM patients ORDER BY id

-- lag
SELECT lag(ssn) OVER (ORDER BY id) FROM patients

-- first_value
SELECT first_value(ssn) OVER (ORDER BY id) FROM patients

-- nth_value over a named window
SELECT nth_value(ssn, 2) OVER w FROM patients WINDOW w AS (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)

-- partition by
SELECT id, row_number() OVER (PARTITION BY flag ORDER BY id) FROM patients ORDER BY id

-- ntile
SELECT id, ntile(3) OVER (ORDER BY account) FROM patients ORDER BY id

-- range frame
SELECT id, count(*) OVER (ORDER BY severity RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM visits WHERE id < 9 ORDER BY id

-- frame offset from it
SELECT id, count(*) OVER (ORDER BY id ROWS BETWEEN (SELECT max(severity) FROM visits) PRECEDING AND CURRENT ROW) FROM visits
 ORDER BY id

-- count over
SELECT id, count(ssn) OVER () FROM patients

-- FILTER over
SELECT id, count(*) FILTER (WHERE flag) OVER (ORDER BY id) FROM patients
