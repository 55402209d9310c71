-- The catalog: which collections there are, under which names, with which settings.

CREATE TABLE collections (
    collection_id INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    folder        TEXT NOT NULL UNIQUE,              -- below collections/, never derived from a path that a client sent
    config        TEXT NOT NULL CHECK (json_valid(config)),
    created_at    TEXT NOT NULL                      -- UTC, 2026-01-31T12:00:00.000Z
) STRICT;

CREATE TABLE aliases (
    alias         TEXT PRIMARY KEY,
    collection_id INTEGER NOT NULL REFERENCES collections (collection_id) ON DELETE CASCADE
) STRICT;

CREATE INDEX aliases_by_collection ON aliases (collection_id);

CREATE VIEW v_collections AS
SELECT name, folder, created_at,
       json_extract(config, '$.params.vectors') AS vectors,
       (SELECT group_concat(alias, ', ') FROM aliases WHERE aliases.collection_id = collections.collection_id) AS aliases,
       config
FROM collections ORDER BY name;

CREATE VIEW v_aliases AS
SELECT alias, name AS collection FROM aliases JOIN collections USING (collection_id) ORDER BY alias;
