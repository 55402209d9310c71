-- One collection: the log of operations, and the state that applying it has led to. This database is the truth;
-- the folders below segments/ are derived from it and can be deleted while the server is stopped.

-- Every applied operation, by its number. Old rows are trimmed; the newest always stays.
CREATE TABLE log (
    seq     INTEGER PRIMARY KEY,
    at      TEXT NOT NULL,                           -- UTC, when it was appended
    kind    TEXT NOT NULL,                           -- upsert, delete_points, set_payload, …
    points  INTEGER NOT NULL,                        -- how many ids it names
    body    TEXT NOT NULL CHECK (json_valid(body)),
    vectors BLOB                                     -- little-endian float32, laid out as body says
) STRICT;

-- num is the collection's own number of a point: small, dense, and what vectors, bitmaps and segments refer to.
CREATE TABLE points (
    num      INTEGER PRIMARY KEY,
    id_order INTEGER NOT NULL CHECK (id_order BETWEEN 0 AND 3),
    id       ANY NOT NULL,                           -- INTEGER, or TEXT for 2^63 and above and for UUIDs
    version  INTEGER NOT NULL                        -- seq of the operation that last changed the point
) STRICT;

CREATE UNIQUE INDEX points_by_id ON points (id_order, id);

CREATE TABLE payloads (
    num  INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- A number is never given out twice: files of sealed segments may still hold vectors of a name that is gone.
CREATE TABLE vector_names (
    vector_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name      TEXT NOT NULL UNIQUE,                  -- empty for the unnamed vector
    dim       INTEGER,                               -- null for sparse vectors
    datatype  TEXT NOT NULL
) STRICT;

-- key = vector_id * 2^32 + num
CREATE TABLE vectors (
    key     INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,                        -- seq of the operation that wrote this vector
    data    BLOB NOT NULL                            -- row-major, little-endian, in the vector's datatype
) STRICT;

-- Keys of vectors that no sealed segment holds in their newest version: what is loaded into memory at start.
CREATE TABLE unsealed (key INTEGER PRIMARY KEY) STRICT;

-- The manifest of sealed segments. A folder that it does not name is swept at start.
CREATE TABLE segments (
    segment_id     INTEGER PRIMARY KEY,
    folder         TEXT NOT NULL UNIQUE,
    built_from_seq INTEGER NOT NULL,
    created_at     TEXT NOT NULL,
    manifest       TEXT NOT NULL CHECK (json_valid(manifest))
) STRICT;

-- Rows of sealed segments whose point was deleted or whose vector was written again.
CREATE TABLE tombstones (
    segment_id INTEGER NOT NULL REFERENCES segments (segment_id) ON DELETE CASCADE,
    vector_id  INTEGER NOT NULL,
    row        INTEGER NOT NULL,
    PRIMARY KEY (segment_id, vector_id, row)
) STRICT, WITHOUT ROWID;

CREATE TABLE field_indexes (
    field      TEXT PRIMARY KEY,                     -- JSON path into the payload
    schema     TEXT NOT NULL CHECK (json_valid(schema)),
    created_at TEXT NOT NULL
) STRICT;

CREATE VIEW v_points AS
SELECT id, version, num, body AS payload
FROM points LEFT JOIN payloads USING (num) ORDER BY id_order, id;

-- A row for each point and top-level key of its payload; type is json_type(): text, integer, real, true, array, …
CREATE VIEW v_fields AS
SELECT points.id, points.num, entry.key AS field, entry.type, entry.value,
       EXISTS (SELECT 1 FROM field_indexes WHERE field_indexes.field = entry.key) AS indexed
FROM points JOIN payloads USING (num) JOIN json_each(payloads.body) AS entry;

CREATE VIEW v_indexes AS
SELECT field, CASE json_type(schema) WHEN 'object' THEN schema ->> '$.type' ELSE schema ->> '$' END AS type,
       CASE json_type(schema) WHEN 'object' THEN schema END AS params, created_at
FROM field_indexes ORDER BY created_at, field;

-- A row for each point and indexed path, with what the payload holds there; null where there is nothing. A path through
-- all elements of an array (a[].b) is none of SQLite's: unfold those with json_each().
CREATE VIEW v_indexed_fields AS
SELECT points.id, points.num, field_indexes.field,
       CASE WHEN field NOT LIKE '%[]%' THEN json_type(body, '$.' || field) END AS type,
       CASE WHEN field NOT LIKE '%[]%' THEN json_extract(body, '$.' || field) END AS value
FROM field_indexes CROSS JOIN points LEFT JOIN payloads USING (num);

CREATE VIEW v_vectors AS
SELECT points.id, vector_names.name, vector_names.dim, vector_names.datatype,
       vectors.version, length(vectors.data) AS bytes,
       EXISTS (SELECT 1 FROM unsealed WHERE unsealed.key = vectors.key) AS in_memory
FROM vectors
JOIN vector_names ON vector_names.vector_id = vectors.key >> 32
JOIN points ON points.num = vectors.key & 4294967295;

CREATE VIEW v_operations AS
SELECT seq, at, kind, points, length(body) AS body_bytes, coalesce(length(vectors), 0) AS vector_bytes, body
FROM log ORDER BY seq;

CREATE VIEW v_segments AS
SELECT folder, created_at, built_from_seq,
       (SELECT count(*) FROM tombstones WHERE tombstones.segment_id = segments.segment_id) AS deleted_rows,
       manifest
FROM segments ORDER BY segment_id;
