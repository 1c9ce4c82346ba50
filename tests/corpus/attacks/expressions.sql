-- cast to text
SELECT ssn::text FROM patients

-- cast to varchar
SELECT ssn::varchar(40) FROM patients

-- cast to a shorter type
SELECT ssn::char(6) FROM patients

-- cast to name
SELECT ssn::name FROM patients

-- cast to bytea
SELECT ssn::bytea FROM patients

-- CAST spelt out
SELECT CAST(account AS text) FROM patients

-- type before a column
SELECT text(phone) FROM patients

-- concatenation
SELECT 'x' || ssn FROM patients

-- concat
SELECT concat(id, ssn) FROM patients

-- concat_ws
SELECT concat_ws(',', ssn, email) FROM patients

-- format
SELECT format('%s', ssn) FROM patients

-- upper
SELECT upper(ssn) FROM patients

-- lower
SELECT lower(ssn) FROM patients

-- initcap
SELECT initcap(ssn) FROM patients

-- reverse
SELECT reverse(ssn) FROM patients

-- substr
SELECT substr(ssn, 1, 6) FROM patients

-- substring from for
SELECT substring(ssn FROM 2 FOR 7) FROM patients

-- substring similar
SELECT substring(ssn FROM '.(.*)') FROM patients

-- left and right
SELECT left(ssn, 6), right(ssn, 6) FROM patients

-- split into rows of characters
SELECT substr(ssn, n, 1) FROM patients, generate_series(1, 12) n WHERE id = 1 ORDER BY n

-- split into cells of characters
SELECT substr(ssn, 1, 1), substr(ssn, 2, 1), substr(ssn, 3, 1), substr(ssn, 4, 1), substr(ssn, 5, 1), substr(ssn, 6, 1),
 substr(ssn, 7, 1) FROM patients WHERE id = 1

-- codes of characters
SELECT ascii(substr(ssn, n, 1)) FROM patients, generate_series(1, 12) n WHERE id = 1 ORDER BY n

-- md5
SELECT md5(ssn) FROM patients

-- sha256
SELECT sha256(ssn::bytea) FROM patients

-- sha512 as hex
SELECT encode(sha512(ssn::bytea), 'hex') FROM patients

-- pgcrypto digest | ext=pgcrypto
SELECT encode(tools.digest(ssn, 'sha1'), 'base64') FROM patients

-- pgcrypto cipher | ext=pgcrypto
SELECT tools.encrypt(ssn::bytea, 'key', 'aes') FROM patients

-- hashtext
SELECT hashtext(ssn) FROM patients

-- hash of the record
SELECT hash_record_extended(ROW(p.ssn, p.email), 0) FROM patients p

-- base64
SELECT encode(ssn::bytea, 'base64') FROM patients

-- hex
SELECT encode(ssn::bytea, 'hex') FROM patients

-- escape
SELECT encode(ssn::bytea, 'escape') FROM patients

-- to_hex of a number
SELECT to_hex(account) FROM patients

-- convert_to
SELECT convert_to(ssn, 'LATIN1') FROM patients

-- translate
SELECT translate(ssn, '0123456789', 'abcdefghij') FROM patients

-- replace
SELECT replace(ssn, '1', 'one') FROM patients

-- regexp_replace
SELECT regexp_replace(ssn, '(.)', '\1-', 'g') FROM patients

-- regexp_match
SELECT regexp_match(ssn, '.*') FROM patients

-- regexp_matches
SELECT regexp_matches(ssn, '..', 'g') FROM patients

-- overlay
SELECT overlay(ssn PLACING 'x' FROM 1 FOR 1) FROM patients

-- trim
SELECT trim(ssn) FROM patients

-- lpad
SELECT lpad(ssn, 20, '*') FROM patients

-- rpad
SELECT rpad(ssn, 20) FROM patients

-- repeat
SELECT repeat(ssn, 2) FROM patients

-- quote_literal
SELECT quote_literal(ssn) FROM patients

-- quote_ident
SELECT quote_ident(ssn) FROM patients

-- string_to_array
SELECT string_to_array(ssn, NULL) FROM patients

-- array_to_string
SELECT array_to_string(tags, ',') FROM patients

-- unnest
SELECT unnest(tags) FROM patients

-- CASE result
SELECT CASE WHEN id > 0 THEN ssn END FROM patients

-- CASE condition
SELECT CASE WHEN ssn LIKE '1%' THEN 'yes' ELSE 'no' END FROM patients

-- simple CASE
SELECT CASE left(ssn, 1) WHEN '1' THEN 1 ELSE 0 END FROM patients

-- COALESCE
SELECT coalesce(ssn, 'none') FROM patients

-- NULLIF
SELECT nullif(ssn, 'none') FROM patients

-- GREATEST
SELECT greatest(ssn, '0') FROM patients

-- comparison
SELECT id, ssn > '5' FROM patients

-- IS NULL
SELECT id, ssn IS NULL FROM patients

-- IS DISTINCT FROM
SELECT id, ssn IS DISTINCT FROM NULL FROM patients

-- boolean itself
SELECT id, flag FROM patients

-- boolean test
SELECT id, flag IS TRUE FROM patients

-- boolean not
SELECT id, NOT flag FROM patients

-- arithmetic
SELECT account + 0 FROM patients

-- numeric rounding
SELECT round(salary), trunc(salary, -3) FROM patients

-- sign
SELECT salary - 5000000000 > 0 FROM patients

-- bits of a number
SELECT account & 255, account >> 8 FROM patients

-- float
SELECT ratio * 2 FROM patients

-- date parts
SELECT extract(year FROM born), extract(doy FROM born) FROM patients

-- date arithmetic
SELECT born - date '1800-01-01' FROM patients

-- age
SELECT age(date '2000-01-01', born) FROM patients

-- to_char of a date
SELECT to_char(born, 'DD.MM.YYYY') FROM patients

-- to_char of a number
SELECT to_char(account, '999,999,999,999,999') FROM patients

-- epoch
SELECT extract(epoch FROM seen) FROM patients

-- at time zone
SELECT seen AT TIME ZONE 'Asia/Tokyo' FROM patients

-- overlaps
SELECT (born, born + 1) OVERLAPS (date '1801-01-01', date '1850-01-01') FROM patients

-- inet parts
SELECT host(host), masklen(host) FROM patients

-- inet mask
SELECT set_masklen(host, 16)::cidr FROM patients

-- length
SELECT length(ssn) FROM patients

-- octet_length
SELECT octet_length(email) FROM patients

-- pg_column_size
SELECT pg_column_size(phone || ''), pg_column_size(ssn) FROM patients

-- position
SELECT position('5' IN ssn) FROM patients

-- strpos
SELECT strpos(email, '@') FROM patients

-- starts_with
SELECT starts_with(ssn, '1') FROM patients

-- LIKE
SELECT ssn LIKE '1%' FROM patients

-- SIMILAR
SELECT ssn SIMILAR TO '1%' FROM patients

-- regular expression
SELECT ssn ~ '^1' FROM patients

-- BETWEEN
SELECT ssn BETWEEN '1' AND '4' FROM patients

-- IN
SELECT flag IN (true) FROM patients

-- ANY
SELECT '1' = ANY (string_to_array(ssn, NULL)) FROM patients

-- collation
SELECT ssn COLLATE "C" FROM patients

-- get_bit
SELECT get_byte(blob, 0), get_bit(blob, 3) FROM patients

-- to_json
SELECT to_json(ssn) FROM patients

-- tsvector
SELECT to_tsvector('simple', ssn) FROM patients

-- similarity | ext=pg_trgm
SELECT tools.similarity(ssn, '1'), tools.show_trgm(ssn) FROM patients

-- levenshtein | ext=fuzzystrmatch
SELECT tools.levenshtein(ssn, '1') FROM patients

-- soundex | ext=fuzzystrmatch
SELECT tools.dmetaphone(ssn) FROM patients

-- unaccent | ext=unaccent
SELECT tools.unaccent(ssn) FROM patients

-- citext | ext=citext
SELECT ssn::tools.citext FROM patients

-- xml text | min=17
SELECT xmltext(ssn) FROM patients

-- bit string
SELECT get_byte(blob, 1)::bit(8) FROM patients

-- width_bucket
SELECT width_bucket(salary, 0, 10000000000, 10) FROM patients

-- min_scale
SELECT scale(salary), salary % 7 FROM patients

-- point distance
SELECT path <-> point '(0,0)' FROM patients

-- mac trunc
SELECT trunc(mac) FROM patients

-- interval
SELECT justify_interval(wait) FROM patients

-- time
SELECT hours + interval '1 hour' FROM patients
