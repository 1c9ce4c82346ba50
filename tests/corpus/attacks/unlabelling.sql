-- a partition detached, in one message
BEGIN; ALTER TABLE events DETACH PARTITION events_new; SELECT secret FROM events_new; ROLLBACK

-- a partition detached while others read
ALTER TABLE events DETACH PARTITION events_old CONCURRENTLY
SELECT secret FROM events_old
ALTER TABLE events ATTACH PARTITION events_old FOR VALUES FROM ('2020-01-01') TO ('2025-01-01')

-- a partition with columns in another order detached
BEGIN
ALTER TABLE events DETACH PARTITION events_far
SELECT secret FROM events_far
SELECT upper(secret) FROM events_far
ROLLBACK

-- a partition detached and renamed
BEGIN
ALTER TABLE events DETACH PARTITION events_new
ALTER TABLE events_new RENAME TO open_events
ALTER TABLE open_events RENAME secret TO plain
SELECT plain FROM open_events
ROLLBACK

-- a partition of another table
BEGIN
CREATE TABLE mine (LIKE events) PARTITION BY RANGE (day)
ALTER TABLE events DETACH PARTITION events_new
ALTER TABLE mine ATTACH PARTITION events_new FOR VALUES FROM ('2025-01-01') TO ('2030-01-01')
SELECT secret FROM mine
ROLLBACK

-- the parent dropped from above a child
BEGIN
ALTER TABLE nurses NO INHERIT staff
SELECT secret FROM nurses
ROLLBACK

-- a child of two parents leaves the classified one
BEGIN
CREATE TABLE other_parent (secret text)
ALTER TABLE nurses INHERIT other_parent
ALTER TABLE nurses NO INHERIT staff
SELECT secret FROM other_parent
ROLLBACK

-- columns that swap their names
BEGIN
ALTER TABLE moved RENAME plain TO swap
ALTER TABLE moved RENAME secret TO plain
ALTER TABLE moved RENAME swap TO secret
SELECT plain FROM moved
ROLLBACK

-- tables that swap their names
BEGIN
CREATE TABLE decoy (LIKE letters)
ALTER TABLE letters RENAME TO swap
ALTER TABLE decoy RENAME TO letters
SELECT body FROM swap
ROLLBACK

-- a table renamed as an index
BEGIN
ALTER INDEX letters RENAME TO plain
SELECT body FROM plain
ROLLBACK

-- a column renamed and a decoy under its name
BEGIN
ALTER TABLE letters RENAME body TO plain
ALTER TABLE letters ADD body text
SELECT plain FROM letters
ROLLBACK

-- a table moved to another schema, with a decoy
BEGIN
CREATE SCHEMA aside
ALTER TABLE letters SET SCHEMA aside
CREATE TABLE letters (id int PRIMARY KEY, body text)
SELECT body FROM aside.letters
ROLLBACK

-- the schema renamed, with a decoy
BEGIN
ALTER SCHEMA public RENAME TO aside
CREATE SCHEMA public
CREATE TABLE public.letters (id int PRIMARY KEY, body text)
SELECT body FROM aside.letters
ROLLBACK

-- an inherited column renamed from above
BEGIN
ALTER TABLE staff RENAME secret TO plain
SELECT plain FROM doctors
ROLLBACK

-- a column rewritten from another
BEGIN
ALTER TABLE letters ADD copy text
ALTER TABLE letters ALTER copy TYPE text USING body
SELECT copy FROM letters
ROLLBACK

-- a column rewritten from another by a function
BEGIN
ALTER TABLE letters ADD copy text
ALTER TABLE letters ALTER copy TYPE text USING upper(body)
SELECT copy FROM letters
ROLLBACK

-- a generated column that keeps its values
BEGIN
ALTER TABLE digests ALTER shout DROP EXPRESSION
SELECT shout FROM digests
ROLLBACK

-- a generated column made and let go
BEGIN
ALTER TABLE letters ADD copy text GENERATED ALWAYS AS (lower(body)) STORED
ALTER TABLE letters ALTER copy DROP EXPRESSION
SELECT copy FROM letters
ROLLBACK

-- a label by comment taken away
SELECT stamp FROM marked
BEGIN
COMMENT ON COLUMN marked.stamp IS NULL
SELECT stamp FROM marked
ROLLBACK

-- a label by comment written over
BEGIN
COMMENT ON COLUMN marked.stamp IS 'twokey: label=harmless'
SELECT stamp FROM marked
ROLLBACK

-- a tables label by comment taken away
BEGIN
COMMENT ON TABLE sealed IS NULL
SELECT word FROM sealed
ROLLBACK

-- a commented column under another name
BEGIN
ALTER TABLE marked RENAME stamp TO plain
ALTER TABLE marked RENAME TO open
SELECT plain FROM open
ROLLBACK

-- a commented column in a copy
BEGIN
CREATE TABLE mine (LIKE marked INCLUDING ALL)
COMMENT ON COLUMN mine.stamp IS NULL
INSERT INTO mine SELECT * FROM marked
SELECT stamp FROM mine
ROLLBACK
