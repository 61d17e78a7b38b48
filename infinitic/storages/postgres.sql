-- Instances in the schema "infinitic" of a PostgreSQL database. A line "-- version N" begins what that version adds.
-- Ids and names are compared byte for byte, whatever the database's collation. Instants are microseconds since 1970.

-- version 1
CREATE TABLE infinitic.meta (
    version integer NOT NULL,
    namespace text COLLATE "C" NOT NULL
);

-- The storage's clock. One instant a statement.
CREATE FUNCTION infinitic.clock() RETURNS bigint LANGUAGE sql STABLE
    AS $$ SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint $$;

-- One row an instance: what the compare-and-set compares, what is filtered on, and the state record as JSON.
-- One more turn changes nothing that is in an index: the row stays in its page, and no index is touched.
CREATE TABLE infinitic.heads (
    workflow_id text COLLATE "C" PRIMARY KEY,
    workflow text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL,
    turns bigint NOT NULL,
    inbox_version bigint NOT NULL,
    mark_run text COLLATE "C" NOT NULL,
    mark_turns bigint NOT NULL,
    token text COLLATE "C" NOT NULL,
    runs text[] COLLATE "C" NOT NULL,       -- those that are kept, in the order in which they began
    status text COLLATE "C" NOT NULL,
    started bigint NOT NULL,
    tags text[] COLLATE "C" NOT NULL,       -- the same in table tags, one row each
    fingerprint text COLLATE "C" NOT NULL,
    waits boolean NOT NULL,                 -- whether there is anything in the inbox
    expires bigint,                         -- when a finished instance may be purged
    behind bigint,                          -- since when the mark stands where it stands, while it is behind
    record bytea NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX heads_by_start ON infinitic.heads (started DESC, workflow_id);
CREATE INDEX heads_by_workflow ON infinitic.heads (workflow, started DESC, workflow_id);
CREATE INDEX heads_by_status ON infinitic.heads (status, started DESC, workflow_id);
CREATE INDEX heads_by_both ON infinitic.heads (workflow, status, started DESC, workflow_id);
CREATE INDEX heads_with_inbox ON infinitic.heads (workflow, fingerprint) WHERE waits;
CREATE INDEX heads_to_purge ON infinitic.heads (expires, workflow_id) WHERE expires IS NOT NULL;

-- The instances whose mark is behind; it has been so since then at the earliest. Few, and they come and go with
-- each turn: in an index of heads they would have all its indexes written each time.
CREATE TABLE infinitic.behind (
    workflow_id text COLLATE "C" PRIMARY KEY,
    since bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE TABLE infinitic.turns (
    workflow_id text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (workflow_id, run, number)
);

CREATE TABLE infinitic.timers (
    workflow_id text COLLATE "C" NOT NULL,
    run text COLLATE "C" NOT NULL,
    position text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    due bigint NOT NULL,
    attempt bigint NOT NULL,
    claimed_until bigint NOT NULL,
    PRIMARY KEY (workflow_id, run, position)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX timers_by_due ON infinitic.timers (workflow, due);

CREATE TABLE infinitic.inbox (
    workflow_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    body bytea NOT NULL,
    PRIMARY KEY (workflow_id, key)
);

CREATE TABLE infinitic.tags (
    tag text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,        -- the instance's status, and when it started, as in its head:
    begun bigint NOT NULL,                  -- a page of a tag, or of both, is a piece of an index
    workflow_id text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX tags_by_start ON infinitic.tags (tag, begun DESC, workflow_id);
CREATE INDEX tags_by_state ON infinitic.tags (tag, state, begun DESC, workflow_id);

-- version 2
SET LOCAL statement_timeout = 0;
ALTER TABLE infinitic.heads
    ADD COLUMN ended bigint NOT NULL DEFAULT 0,                   -- 0 while it has not
    ADD COLUMN labels text[] COLLATE "C" NOT NULL DEFAULT '{}';   -- the same in table labels, one row each
UPDATE infinitic.heads SET ended = coalesce((its ->> 'ended')::bigint, 0), labels = ARRAY(
    SELECT 'tag:' || tag FROM unnest(tags) AS tag
    UNION SELECT 'parent:' || (its -> 'caller' ->> 'workflow_id') WHERE its -> 'caller' IS NOT NULL
    UNION SELECT 'wait:' || unnest(ARRAY[wait ->> 'name', wait ->> 'kind'])
        FROM json_array_elements(its -> 'waits') AS wait)
FROM (SELECT workflow_id AS id, convert_from(record, 'UTF8')::json AS its FROM infinitic.heads) AS every
WHERE workflow_id = id;
DROP INDEX infinitic.heads_by_start, infinitic.heads_by_workflow, infinitic.heads_by_status, infinitic.heads_by_both;
ALTER TABLE infinitic.heads DROP COLUMN tags;
CREATE INDEX heads_by_status ON infinitic.heads (status, started DESC, workflow_id, ended);
CREATE INDEX heads_by_workflow ON infinitic.heads (workflow, status, started DESC, workflow_id, ended);
CREATE INDEX heads_by_end ON infinitic.heads (ended) WHERE ended > 0;

-- What instances are found by beside what their heads say; with status and start, so that a page is a piece of an index.
-- What they wait for comes and goes with their turns.
CREATE TABLE infinitic.labels (
    label text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    started bigint NOT NULL,
    workflow_id text COLLATE "C" NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
INSERT INTO infinitic.labels (label, status, started, workflow_id)
    SELECT unnest(labels), status, started, workflow_id FROM infinitic.heads;
CREATE UNIQUE INDEX labels_by_start ON infinitic.labels (label, status, started DESC, workflow_id);
DROP TABLE infinitic.tags;
