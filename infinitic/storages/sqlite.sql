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
