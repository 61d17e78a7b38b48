-- What leads to each version of the schema, from an empty file on.

-- version 1
-- One row an instance: what the compare-and-set compares, what is filtered on, and the state record as JSON.
CREATE TABLE heads (
    workflow_id TEXT NOT NULL PRIMARY KEY,
    workflow TEXT NOT NULL,
    run TEXT NOT NULL,
    turns INTEGER NOT NULL,
    inbox_version INTEGER NOT NULL,
    mark_run TEXT NOT NULL,
    mark_turns INTEGER NOT NULL,
    token TEXT NOT NULL,
    status TEXT NOT NULL,
    started INTEGER NOT NULL,
    tags TEXT NOT NULL,      -- JSON; the same in table tags, one row each
    fingerprint TEXT NOT NULL,
    expires INTEGER,         -- when a finished instance may be purged
    behind INTEGER,          -- since when the mark stands where it stands, while it is behind
    waiting INTEGER NOT NULL DEFAULT 0,  -- how many items the inbox has
    record BLOB NOT NULL
);
CREATE INDEX heads_by_start ON heads (started DESC, workflow_id);
CREATE INDEX heads_by_workflow ON heads (workflow, started DESC, workflow_id);
CREATE INDEX heads_by_status ON heads (status, started DESC, workflow_id);
CREATE INDEX heads_with_inbox ON heads (workflow) WHERE waiting > 0;
CREATE INDEX heads_behind ON heads (behind) WHERE behind IS NOT NULL;
CREATE INDEX heads_to_purge ON heads (expires) WHERE expires IS NOT NULL;

CREATE TABLE turns (
    workflow_id TEXT NOT NULL,
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (workflow_id, run, number)
) WITHOUT ROWID;

-- The order of an instance's runs.
CREATE TABLE runs (
    workflow_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (workflow_id, number)
) WITHOUT ROWID;

CREATE TABLE timers (
    workflow_id TEXT NOT NULL,
    run TEXT NOT NULL,
    position TEXT NOT NULL,
    workflow TEXT NOT NULL,
    due INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, run, position)
) WITHOUT ROWID;
CREATE INDEX timers_by_due ON timers (workflow, due);

CREATE TABLE inbox (
    id INTEGER PRIMARY KEY,
    workflow_id TEXT NOT NULL,
    key TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (workflow_id, key)
);

CREATE TABLE tags (
    tag TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    PRIMARY KEY (tag, workflow_id)
) WITHOUT ROWID;
CREATE INDEX tags_by_instance ON tags (workflow_id);

-- version 2
-- JSON in a blob is cast: newer libraries would take it for what they store themselves.
CREATE TABLE heads_2 (
    workflow_id TEXT NOT NULL PRIMARY KEY,
    workflow TEXT NOT NULL,
    run TEXT NOT NULL,
    turns INTEGER NOT NULL,
    inbox_version INTEGER NOT NULL,
    mark_run TEXT NOT NULL,
    mark_turns INTEGER NOT NULL,
    token TEXT NOT NULL,
    status TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,  -- 0 while it has not
    labels TEXT NOT NULL,    -- JSON; the same in table labels, one row each
    fingerprint TEXT NOT NULL,
    expires INTEGER,         -- when a finished instance may be purged
    behind INTEGER,          -- since when the mark stands where it stands, while it is behind
    waiting INTEGER NOT NULL DEFAULT 0,  -- how many items the inbox has
    record BLOB NOT NULL
);
INSERT INTO heads_2
    SELECT workflow_id, workflow, run, turns, inbox_version, mark_run, mark_turns, token, status, started,
        coalesce(json_extract(its, '$.ended'), 0),
        (SELECT json_group_array(label) FROM (
            SELECT 'tag:' || value AS label FROM json_each(tags)
            UNION SELECT 'parent:' || json_extract(its, '$.caller.workflow_id') WHERE json_type(its, '$.caller') <> 'null'
            UNION SELECT 'wait:' || json_extract(value, '$.name') FROM json_each(its, '$.waits')
            UNION SELECT 'wait:' || json_extract(value, '$.kind') FROM json_each(its, '$.waits') ORDER BY label)),
        fingerprint, expires, behind, waiting, record
    FROM (SELECT *, CAST(record AS TEXT) AS its FROM heads);
DROP TABLE heads;
ALTER TABLE heads_2 RENAME TO heads;
CREATE INDEX heads_by_status ON heads (status, started DESC, workflow_id, ended);
CREATE INDEX heads_by_workflow ON heads (workflow, status, started DESC, workflow_id, ended);
CREATE INDEX heads_by_end ON heads (ended) WHERE ended > 0;
CREATE INDEX heads_with_inbox ON heads (workflow) WHERE waiting > 0;
CREATE INDEX heads_behind ON heads (behind) WHERE behind IS NOT NULL;
CREATE INDEX heads_to_purge ON heads (expires) WHERE expires IS NOT NULL;

-- What instances are found by beside what their heads say; with status and start, so that a page is a piece of it.
CREATE TABLE labels (
    label TEXT NOT NULL,
    status TEXT NOT NULL,
    started INTEGER NOT NULL,
    workflow_id TEXT NOT NULL,
    PRIMARY KEY (label, status, started DESC, workflow_id)
) WITHOUT ROWID;
INSERT INTO labels SELECT value, status, started, workflow_id FROM heads, json_each(heads.labels);
DROP TABLE tags;
