-- What leads to each version of the schema, from an empty database on. Statements end with a semicolon at the end
-- of a line. Texts that are compared are VARBINARY: to the byte, trailing spaces too, whatever the server's defaults.

-- version 1

-- One row an instance: what the compare-and-set compares, what is filtered on, and the state record as JSON.
CREATE TABLE heads (
    workflow_id VARBINARY(255) NOT NULL,
    workflow VARBINARY(255) NOT NULL,
    run VARBINARY(255) NOT NULL,
    turns BIGINT NOT NULL,
    inbox_version BIGINT NOT NULL,
    mark_run VARBINARY(255) NOT NULL,
    mark_turns BIGINT NOT NULL,
    token VARBINARY(255) NOT NULL,
    status VARBINARY(32) NOT NULL,
    started BIGINT NOT NULL,
    tags MEDIUMBLOB NOT NULL,      -- JSON; the same in table tags, one row each
    fingerprint VARBINARY(255) NOT NULL,
    expires BIGINT,                -- when a finished instance may be purged
    behind BIGINT,                 -- since when the mark stands where it stands, while it is behind
    waiting BIGINT NOT NULL DEFAULT 0,  -- how many items the inbox has
    record LONGBLOB,               -- never NULL once it is committed
    PRIMARY KEY (workflow_id),
    KEY heads_by_start (started DESC, workflow_id),
    KEY heads_by_workflow (workflow, started DESC, workflow_id),
    KEY heads_by_status (status, started DESC, workflow_id),
    KEY heads_by_both (workflow, status, started DESC, workflow_id),
    KEY heads_with_inbox (waiting, workflow),
    KEY heads_behind (behind, workflow),
    KEY heads_to_purge (expires, workflow_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

CREATE TABLE turns (
    workflow_id VARBINARY(255) NOT NULL,
    run VARBINARY(255) NOT NULL,
    number BIGINT NOT NULL,
    body LONGBLOB NOT NULL,
    PRIMARY KEY (workflow_id, run, number)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- The order of an instance's runs.
CREATE TABLE runs (
    workflow_id VARBINARY(255) NOT NULL,
    number BIGINT NOT NULL,
    run VARBINARY(255) NOT NULL,
    PRIMARY KEY (workflow_id, number)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

CREATE TABLE timers (
    workflow_id VARBINARY(255) NOT NULL,
    run VARBINARY(255) NOT NULL,
    position VARBINARY(1024) NOT NULL,
    workflow VARBINARY(255) NOT NULL,
    due BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL,
    PRIMARY KEY (workflow_id, run, position),
    KEY timers_by_due (workflow, due, workflow_id, run, position)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

CREATE TABLE inbox (
    workflow_id VARBINARY(255) NOT NULL,
    item VARBINARY(1024) NOT NULL,
    id BIGINT NOT NULL AUTO_INCREMENT,
    body LONGBLOB NOT NULL,
    PRIMARY KEY (workflow_id, item),
    UNIQUE KEY inbox_in_order (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- With the start, so that a page of one tag is read in order.
CREATE TABLE tags (
    tag VARBINARY(1024) NOT NULL,
    begun BIGINT NOT NULL,
    workflow_id VARBINARY(255) NOT NULL,
    PRIMARY KEY (tag, begun DESC, workflow_id),
    KEY tags_by_instance (workflow_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- version 2
-- What the records say is written into `ended` and `labels` at the end (mysql_schema.py).

ALTER TABLE heads
    ADD COLUMN ended BIGINT NOT NULL AFTER started,         -- 0 while it has not
    ADD COLUMN labels MEDIUMBLOB NOT NULL AFTER ended,      -- JSON; the same in table labels, one row each
    DROP COLUMN tags,
    DROP KEY heads_by_start,
    DROP KEY heads_by_workflow,
    DROP KEY heads_by_status,
    DROP KEY heads_by_both,
    ADD KEY heads_by_status (status, started DESC, workflow_id, ended),
    ADD KEY heads_by_workflow (workflow, status, started DESC, workflow_id, ended),
    ADD KEY heads_by_end (ended);

DROP TABLE IF EXISTS tags;

-- What instances are found by beside what their heads say; with status and start, so that a page is a piece of it.
CREATE TABLE labels (
    label VARBINARY(1024) NOT NULL,
    status VARBINARY(32) NOT NULL,
    started BIGINT NOT NULL,
    workflow_id VARBINARY(255) NOT NULL,
    PRIMARY KEY (label, status, started DESC, workflow_id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
