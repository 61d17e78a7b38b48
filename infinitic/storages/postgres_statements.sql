-- The statements that are too long for postgres.py. A line "-- statement" with a name begins each.

-- statement append
-- One batch of appends in one statement: nothing in it fails because somebody else was first.
-- What is given lies in JSON, with a place and a size in "blob" for what is bytes.
WITH given AS MATERIALIZED (
    SELECT *, substr(%(blob)b::bytea, at, size) AS record FROM json_to_recordset(%(heads)s::json) AS given(
        id text, workflow text, old_run text, old_turns bigint, old_inbox bigint, run text, turns bigint, inbox bigint,
        mark_run text, mark_turns bigint, token text, changes boolean, runs text[], status text, started bigint,
        ended bigint, labels text[], fingerprint text, adds boolean, removes boolean, expires bigint, at integer, size integer)
),

-- Of those that go on: where the expected version holds, in one order everywhere, so that no two batches wait for each
-- other. What changes nothing is not locked, so that the server need not write at all. Looked up by an array, here and
-- below: plans are kept, and one that was made for an empty table must not read all of a full one.
locked AS MATERIALIZED (
    SELECT given.*, heads.runs AS old_runs, heads.labels AS old_labels, heads.started AS old_started,
        heads.status AS old_status, heads.behind AS was_behind
    FROM given JOIN infinitic.heads ON heads.workflow_id = given.id
    WHERE heads.workflow_id = ANY (ARRAY(SELECT id FROM given))
        AND (heads.run, heads.turns, heads.inbox_version) = (given.old_run, given.old_turns, given.old_inbox)
        AND (given.changes OR (heads.mark_run, heads.mark_turns) <> (given.mark_run, given.mark_turns))
    ORDER BY heads.workflow_id FOR UPDATE OF heads
),

-- A new run drops the runs that are older than the one before it, and sent. A mark that is behind and does not move
-- keeps its instant.
moved AS (
    UPDATE infinitic.heads SET
        run = locked.run, turns = locked.turns, inbox_version = locked.inbox,
        mark_run = locked.mark_run, mark_turns = locked.mark_turns,
        token = CASE WHEN changes THEN locked.token ELSE heads.token END,
        expires = CASE WHEN changes THEN locked.expires ELSE heads.expires END,
        status = coalesce(locked.status, heads.status), started = coalesce(locked.started, heads.started),
        ended = coalesce(locked.ended, heads.ended), labels = coalesce(locked.labels, heads.labels), fingerprint = coalesce(locked.fingerprint, heads.fingerprint),
        record = coalesce(locked.record, heads.record),
        runs = CASE WHEN locked.runs = '{}' THEN heads.runs ELSE (
            SELECT every[greatest(1, least(cardinality(old_runs) + 1, cardinality(every) - 1,
                coalesce(array_position(every, locked.mark_run), 1))):]
            FROM (SELECT old_runs || locked.runs) AS its(every)) END,
        waits = adds OR heads.waits AND (NOT removes OR EXISTS (
            SELECT FROM infinitic.inbox WHERE inbox.workflow_id = heads.workflow_id AND (inbox.workflow_id, key) NOT IN (
                SELECT id, key FROM json_to_recordset(%(removed)s::json) AS removed(id text, key text)))),
        behind = CASE WHEN (locked.mark_run, locked.mark_turns) = (locked.run, locked.turns) THEN NULL
            WHEN (locked.mark_run, locked.mark_turns) = (heads.mark_run, heads.mark_turns)
            THEN coalesce(heads.behind, infinitic.clock()) ELSE infinitic.clock() END
    FROM locked WHERE heads.workflow_id = locked.id
    RETURNING id, heads.behind, was_behind, old_runs, heads.runs, old_labels, heads.labels, old_started, heads.started,
        old_status, heads.status
),

-- Those that start. After the locks, for the order of all that is waited for is one.
begun AS (
    INSERT INTO infinitic.heads (workflow_id, workflow, run, turns, inbox_version, mark_run, mark_turns, token, runs,
        status, started, ended, labels, fingerprint, waits, expires, behind, record)
    SELECT id, workflow, run, turns, inbox, mark_run, mark_turns, token, runs,
        status, started, ended, labels, fingerprint, adds, expires,
        CASE WHEN (mark_run, mark_turns) <> (run, turns) THEN infinitic.clock() END, record
    FROM given WHERE old_run IS NULL AND (SELECT count(*) FROM locked) >= 0 ORDER BY id COLLATE "C"
    ON CONFLICT DO NOTHING
    RETURNING workflow_id AS id, behind, labels, started, status
),

won AS MATERIALIZED (
    SELECT id, behind, was_behind, old_runs, runs, old_labels, labels, old_started, started, old_status, status,
        (old_started, old_status) <> (started, status) AS elsewhere
    FROM moved
    UNION ALL SELECT id, behind, NULL, NULL, NULL, '{}', labels, NULL, started, NULL, status, true FROM begun
),

turns_added AS (
    INSERT INTO infinitic.turns (workflow_id, run, number, body)
    SELECT id, run, number, substr(%(blob)b::bytea, at, size)
    FROM json_to_recordset(%(turns)s::json) AS turns(id text, run text, number bigint, at integer, size integer)
    WHERE id IN (SELECT id FROM won)
),

turns_dropped AS (
    DELETE FROM infinitic.turns USING won
    WHERE won.old_runs <> won.runs AND turns.workflow_id = won.id
        AND turns.run = ANY (won.old_runs) AND turns.run <> ALL (won.runs)
),

-- What is deleted here must be so before the like of it is added below: hence each count.
timers_cleared AS (
    DELETE FROM infinitic.timers USING won JOIN json_to_recordset(%(cleared)s::json)
        AS cleared(id text, run text, first text, last text) USING (id)
    WHERE timers.workflow_id = cleared.id AND timers.run = cleared.run
        AND timers.position >= first AND timers.position <= last
    RETURNING 1
),

timers_set AS (
    INSERT INTO infinitic.timers (workflow_id, run, position, workflow, due, attempt, claimed_until)
    SELECT workflow_id, run, position, workflow, due, attempt, claimed_until
    FROM json_populate_recordset(NULL::infinitic.timers, %(timers)s::json)
    WHERE workflow_id IN (SELECT id FROM won) AND (SELECT count(*) FROM timers_cleared) >= 0
    ON CONFLICT (workflow_id, run, position) DO UPDATE SET
        workflow = excluded.workflow, due = excluded.due, attempt = excluded.attempt,
        claimed_until = excluded.claimed_until
),

inbox_removed AS (
    DELETE FROM infinitic.inbox USING won JOIN json_to_recordset(%(removed)s::json) AS removed(id text, key text)
        USING (id)
    WHERE inbox.workflow_id = removed.id AND inbox.key = removed.key
    RETURNING 1
),

inbox_added AS (
    INSERT INTO infinitic.inbox (workflow_id, key, body)
    SELECT id, key, substr(%(blob)b::bytea, at, size)
    FROM ROWS FROM (json_to_recordset(%(added)s::json) AS (id text, key text, at integer, size integer))
        WITH ORDINALITY
    WHERE id IN (SELECT id FROM won) AND (SELECT count(*) FROM inbox_removed) >= 0 ORDER BY ordinality
    ON CONFLICT (workflow_id, key) DO NOTHING
),

labels_removed AS (
    DELETE FROM infinitic.labels USING (
        SELECT won.*, label AS gone FROM won, unnest(old_labels) AS label WHERE elsewhere OR label <> ALL (won.labels)
    ) AS its
    WHERE labels.label = gone AND labels.status = old_status AND labels.started = old_started
        AND labels.workflow_id = its.id
    RETURNING 1
),

labels_added AS (
    INSERT INTO infinitic.labels (label, status, started, workflow_id)
    SELECT label, status, started, id FROM won, unnest(won.labels) AS label
    WHERE (elsewhere OR label <> ALL (old_labels)) AND (SELECT count(*) FROM labels_removed) >= 0
    ON CONFLICT DO NOTHING
),

fell_behind AS (
    INSERT INTO infinitic.behind (workflow_id, since)
    SELECT id, behind FROM won WHERE behind IS NOT NULL AND was_behind IS NULL
    ON CONFLICT DO NOTHING
),

caught_up AS (
    DELETE FROM infinitic.behind USING won
    WHERE won.behind IS NULL AND won.was_behind IS NOT NULL AND behind.workflow_id = won.id
)

SELECT id FROM won
UNION ALL
SELECT id FROM given JOIN infinitic.heads ON heads.workflow_id = given.id
WHERE heads.workflow_id = ANY (ARRAY(SELECT id FROM given WHERE NOT changes))
    AND NOT changes AND (heads.run, heads.turns, heads.inbox_version) = (old_run, old_turns, old_inbox)
    AND (heads.mark_run, heads.mark_turns) = (given.mark_run, given.mark_turns)

-- statement load
SELECT workflow, heads.run, turns, inbox_version, mark_run, mark_turns, token, record,
    first, bodies, unsent.*, items.*, rows.*
FROM infinitic.heads,
LATERAL (SELECT CASE WHEN %(run)s::text IN ('', heads.run) THEN %(from)s::bigint ELSE 0 END) AS asked(first),
LATERAL (SELECT ARRAY(SELECT body FROM infinitic.turns
    WHERE turns.workflow_id = heads.workflow_id AND turns.run = heads.run AND number >= first
    ORDER BY number)) AS current(bodies),
LATERAL (SELECT array_agg(run), array_agg(number), array_agg(body) FROM (
    SELECT kept.run, turns.number, body
    FROM unnest(heads.runs) WITH ORDINALITY AS kept(run, place) JOIN infinitic.turns
        ON turns.workflow_id = heads.workflow_id AND turns.run = kept.run
    WHERE kept.run <> heads.run AND place >= coalesce(array_position(heads.runs, mark_run), 1)
        AND (kept.run <> mark_run OR turns.number >= mark_turns)
    ORDER BY place, turns.number) AS its) AS unsent,
LATERAL (SELECT array_agg(key), array_agg(body) FROM (
    SELECT key, body FROM infinitic.inbox WHERE waits AND inbox.workflow_id = heads.workflow_id
    ORDER BY number) AS its) AS items,
LATERAL (SELECT array_agg(its.workflow), array_agg(position), array_agg(due), array_agg(attempt),
    array_agg(claimed_until) FROM (
    SELECT timers.workflow, position, due, attempt, claimed_until FROM infinitic.timers
    WHERE timers.workflow_id = heads.workflow_id AND timers.run = heads.run
    ORDER BY due, position) AS its) AS rows
WHERE workflow_id = %(id)s

-- statement claim
-- By workflow, for each has its piece of the index in order: what is read does not grow with what is overdue.
WITH free AS MATERIALIZED (
    SELECT its.* FROM unnest(%(workflows)s::text[]) AS asked(name), LATERAL (
        SELECT workflow_id, run, position, due FROM infinitic.timers
        WHERE workflow = name AND due <= infinitic.clock() + %(ahead)s AND claimed_until <= infinitic.clock()
        ORDER BY due, workflow_id, run, position LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS its
    ORDER BY due, workflow_id, run, position LIMIT %(limit)s
), claimed AS (
    UPDATE infinitic.timers SET claimed_until = greatest(infinitic.clock(), timers.due) + %(lease)s FROM free
    WHERE timers.workflow_id = ANY (ARRAY(SELECT workflow_id FROM free))
        AND (timers.workflow_id, timers.run, timers.position) = (free.workflow_id, free.run, free.position)
    RETURNING workflow, timers.workflow_id, timers.run, timers.position, timers.due, attempt, claimed_until
)
SELECT now, claimed.* FROM infinitic.clock() AS now LEFT JOIN claimed ON true
ORDER BY due, workflow_id, run, position

-- statement offered
-- Smaller and larger are two pieces of the index, and what waits for this very code lies between them unread. What
-- somebody suspended ('~') lies behind both.
WITH wanted AS (SELECT * FROM unnest(%(names)s::text[], %(current)s::text[]) AS wanted(name, current))
SELECT its.* FROM wanted, LATERAL (SELECT workflow, workflow_id FROM infinitic.heads
    WHERE waits AND workflow = name AND fingerprint < current LIMIT %(limit)s) AS its
UNION SELECT its.* FROM wanted, LATERAL (SELECT workflow, workflow_id FROM infinitic.heads
    WHERE waits AND workflow = name AND fingerprint > current AND fingerprint < '~' LIMIT %(limit)s) AS its
UNION (SELECT its.* FROM infinitic.behind, LATERAL (SELECT workflow, workflow_id FROM infinitic.heads
    WHERE heads.workflow_id = behind.workflow_id AND heads.behind < %(since)s
        AND workflow IN (SELECT name FROM wanted) LIMIT 1) AS its
    WHERE since < %(since)s LIMIT %(limit)s)
LIMIT %(limit)s

-- statement remove
WITH past AS MATERIALIZED (
    SELECT heads.workflow_id FROM infinitic.heads
    JOIN json_to_recordset(%(past)s::json) AS past(id text, run text, turns bigint, inbox bigint) ON workflow_id = id
    WHERE (heads.run, heads.turns, inbox_version) = (past.run, past.turns, past.inbox)
        AND expires IS NOT NULL AND behind IS NULL
    ORDER BY workflow_id FOR UPDATE OF heads
), gone AS (
    DELETE FROM infinitic.heads USING past WHERE heads.workflow_id = past.workflow_id
    RETURNING heads.workflow_id, heads.status, heads.started, labels
), turns AS (DELETE FROM infinitic.turns USING gone WHERE turns.workflow_id = gone.workflow_id),
timers AS (DELETE FROM infinitic.timers USING gone WHERE timers.workflow_id = gone.workflow_id),
inbox AS (DELETE FROM infinitic.inbox USING gone WHERE inbox.workflow_id = gone.workflow_id),
labels AS (DELETE FROM infinitic.labels USING gone
    WHERE label = ANY (gone.labels) AND labels.status = gone.status AND labels.started = gone.started
        AND labels.workflow_id = gone.workflow_id)
SELECT workflow_id FROM gone
