-- INSERT RETURNING
BEGIN
INSERT INTO scratch VALUES (101, 'new'), (102, NULL) RETURNING id, word
ROLLBACK

-- INSERT RETURNING a star
BEGIN
INSERT INTO wards VALUES (101, 'Ward 101', 5) RETURNING *
ROLLBACK

-- INSERT RETURNING expressions
BEGIN
INSERT INTO wards VALUES (101, 'Ward 101', 5) RETURNING upper(name) AS loud, beds + 1, 1 / beds, tableoid::regclass
ROLLBACK

-- INSERT SELECT RETURNING
BEGIN
INSERT INTO scratch SELECT id + 100, name FROM wards RETURNING *
SELECT * FROM scratch WHERE id > 100 ORDER BY id
ROLLBACK

-- INSERT DEFAULT VALUES
BEGIN
INSERT INTO scratch DEFAULT VALUES RETURNING *
ROLLBACK

-- INSERT beside classified columns
BEGIN
INSERT INTO visits (id, patient, day, cost) VALUES (9001, 1, '2026-01-01', 12.5) RETURNING id, day, cost
ROLLBACK

-- ON CONFLICT DO NOTHING
BEGIN
INSERT INTO wards VALUES (1, 'again', 1), (101, 'new', 1) ON CONFLICT (id) DO NOTHING RETURNING id, name
ROLLBACK

-- ON CONFLICT DO UPDATE
BEGIN
INSERT INTO wards VALUES (1, 'again', 1) ON CONFLICT (id) DO UPDATE SET beds = wards.beds + excluded.beds, name = excluded.name WHERE wards.beds > 0 RETURNING *
ROLLBACK

-- UPDATE RETURNING
BEGIN
UPDATE wards SET beds = beds + 1 WHERE id < 3 RETURNING id, beds
ROLLBACK

-- UPDATE RETURNING a star
BEGIN
UPDATE scratch SET word = upper(word) WHERE id IN (1, 2, 3) RETURNING *
ROLLBACK

-- UPDATE of several columns by a row
BEGIN
UPDATE wards SET (name, beds) = (SELECT w.name || '!', w.beds FROM wards w WHERE w.id = 1) WHERE id = 2 RETURNING *
ROLLBACK

-- UPDATE FROM
BEGIN
UPDATE scratch s SET word = w.name FROM wards w WHERE w.id = s.id RETURNING s.id, s.word, w.beds
ROLLBACK

-- UPDATE beside classified columns
BEGIN
UPDATE patients SET status = 'gone' WHERE id = 3 RETURNING id, name, status
ROLLBACK

-- UPDATE of every row of a partitioned table beside classified columns
BEGIN
UPDATE events SET kind = upper(kind) WHERE id < 5 RETURNING id, kind
ROLLBACK

-- DELETE RETURNING
BEGIN
DELETE FROM scratch WHERE id > 15 RETURNING id, word
ROLLBACK

-- DELETE USING
BEGIN
DELETE FROM scratch USING wards w WHERE w.id = scratch.id AND w.beds > 11 RETURNING scratch.*, w.name
ROLLBACK

-- DELETE beside classified columns
BEGIN
DELETE FROM visits WHERE id = 2 RETURNING id, cost
ROLLBACK

-- writes in a CTE
BEGIN
WITH gone AS (DELETE FROM scratch WHERE id < 4 RETURNING id, word), kept AS (INSERT INTO scratch SELECT id + 200, word FROM gone RETURNING id) SELECT count(*), max(id) FROM kept
SELECT count(*) FROM scratch
ROLLBACK

-- RETURNING of OLD and NEW | min=18
BEGIN
UPDATE wards SET beds = beds * 2 WHERE id = 1 RETURNING old.beds, new.beds, old.*, new.name
ROLLBACK

-- RETURNING WITH names | min=18
BEGIN
INSERT INTO wards VALUES (1, 'again', 1) ON CONFLICT (id) DO UPDATE SET beds = 3 RETURNING WITH (OLD AS was, NEW AS now) was.beds, now.beds
DELETE FROM scratch WHERE id = 1 RETURNING old.word, new.word
ROLLBACK

-- MERGE | min=15
BEGIN
MERGE INTO scratch s USING wards w ON s.id = w.id WHEN MATCHED AND w.beds > 12 THEN DELETE WHEN MATCHED THEN UPDATE SET word = w.name WHEN NOT MATCHED THEN INSERT VALUES (w.id, w.name)
SELECT * FROM scratch WHERE id < 6 ORDER BY id
ROLLBACK

-- MERGE of values | min=15
BEGIN
MERGE INTO wards t USING (VALUES (1, 'one', 9), (101, 'new', 8)) s (id, name, beds) ON t.id = s.id WHEN MATCHED THEN UPDATE SET beds = s.beds WHEN NOT MATCHED THEN INSERT (id, name, beds) VALUES (s.id, s.name, s.beds)
SELECT * FROM wards ORDER BY id
ROLLBACK

-- MERGE DO NOTHING | min=15
BEGIN
MERGE INTO wards t USING scratch s ON t.id = s.id WHEN MATCHED THEN DO NOTHING
ROLLBACK

-- MERGE beside classified columns | min=15
BEGIN
MERGE INTO visits t USING wards w ON t.id = w.id WHEN MATCHED THEN UPDATE SET cost = w.beds
SELECT id, cost FROM visits WHERE id < 5 ORDER BY id
ROLLBACK

-- MERGE RETURNING | min=17
BEGIN
MERGE INTO scratch s USING wards w ON s.id = w.id WHEN MATCHED AND w.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET word = w.name RETURNING merge_action(), s.id, s.word, w.beds
ROLLBACK

-- MERGE RETURNING a star, not matched by source | min=17
BEGIN
MERGE INTO wards t USING (VALUES (1, 3)) v (id, beds) ON t.id = v.id WHEN MATCHED THEN UPDATE SET beds = v.beds WHEN NOT MATCHED BY SOURCE AND t.id = 4 THEN UPDATE SET beds = 0 RETURNING *
ROLLBACK

-- MERGE RETURNING OLD and NEW | min=18
BEGIN
MERGE INTO wards t USING (VALUES (1, 3), (101, 4)) v (id, beds) ON t.id = v.id WHEN MATCHED THEN UPDATE SET beds = v.beds WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'w', v.beds) RETURNING merge_action(), old.beds, new.beds, t.*
ROLLBACK

-- a view that is written through
BEGIN
UPDATE v_clean SET name = 'n' WHERE id = 2 RETURNING id, name, ward
ROLLBACK

-- errors of writes
INSERT INTO wards VALUES (1, 'again', 1)
INSERT INTO wards VALUES (101, NULL, 1)
INSERT INTO wards VALUES ('x', 'n', 1)
UPDATE wards SET nosuch = 1
DELETE FROM wards WHERE id = 1 RETURNING nosuch
MERGE INTO nosuch USING wards ON true WHEN MATCHED THEN DELETE

-- a prepared write
BEGIN
PREPARE raise (int, int) AS UPDATE wards SET beds = $2 WHERE id = $1 RETURNING *
EXECUTE raise(1, 50)
EXECUTE raise(2, 60)
DEALLOCATE raise
ROLLBACK
