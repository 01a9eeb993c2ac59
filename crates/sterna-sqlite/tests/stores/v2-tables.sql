-- The tables of version 2, as a new store had them.
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    head INTEGER NOT NULL,
    hash BLOB NOT NULL,
    fence INTEGER NOT NULL,
    owner TEXT NOT NULL,
    expires INTEGER NOT NULL,
    released INTEGER NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    parent TEXT,
    parent_seq INTEGER NOT NULL,
    status INTEGER NOT NULL,
    inputs INTEGER NOT NULL DEFAULT 0,
    asks INTEGER NOT NULL DEFAULT 0,
    in_turn INTEGER NOT NULL DEFAULT 0,
    title TEXT,
    cwd TEXT NOT NULL,
    route TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    turns INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cost INTEGER
) STRICT;
CREATE INDEX sessions_by_cwd ON sessions(cwd, id) WHERE deleted = 0;
CREATE INDEX sessions_by_parent ON sessions(parent) WHERE parent IS NOT NULL;
CREATE TABLE records (
    session INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    append_id TEXT,
    hash BLOB NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (
    session INTEGER NOT NULL,
    version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (session, version)
) STRICT;
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    data BLOB NOT NULL
) STRICT;
PRAGMA application_id = 1398035022;
PRAGMA user_version = 2;
DROP TABLE IF EXISTS keys;
CREATE TABLE keys (
    session INTEGER NOT NULL,
    id TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (session, id)
) STRICT, WITHOUT ROWID;
DROP TABLE IF EXISTS search;
CREATE VIRTUAL TABLE search USING fts5(text, role UNINDEXED, tokenize = 'unicode61');
COMMIT;
