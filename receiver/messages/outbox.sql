-- The SQL that every message passes on its way to Bandwidth, as it runs: its turn, its insertion, its submission by a
-- worker, and the acceptance. What is rare is in the modules: a claim, which has five forms, is in queue.py; refusals
-- and unknowns are in outbox.py; pauses are in pace.py and credentials.py.
--
-- A statement begins with "-- name:". The database that it is for follows the name; without one it is for both. What
-- is the same for both databases is explained above the first of the two. Comments are cut off when the file is read.
--
-- Rows travel in one parameter, :rows, a JSON array of objects that the database takes apart as the table "given", so
-- a statement is one text for one row and for a thousand, and is prepared once. Instants are texts in UTC
-- ("2026-11-21 21:53:14.123456+00:00"). SQLite keeps them without their zone, so there the first 26 characters are
-- taken.
--
-- Locks are taken in this order, and inside each statement in the order of its key, so that transactions that meet
-- wait for each other and never deadlock:
--     1. lanes by sender, the account's ("") first    "lock lanes"
--     2. credential_pauses by credentials             credentials.py
--     3. idempotency_keys by api_key, key             "insert keys"
--     4. message_ids by message_id                    ../events/store.sql, "lock message ids"
--     5. messages by pk                               "submit claimed message", "accept message"
--     6. recipients by message_pk, recipient          ../events/store.sql, "raise standings"
-- Nobody waits for a row that is inserted under a new tag, so new messages and their recipients come before their keys.
-- A claim passes over locked messages, and so never waits. SQLite has one writer at a time and needs no locks.


-- name: submit new message, postgresql
-- Does for one message what "read holds", "lock lanes", "move lanes", "insert messages", "insert recipients", "insert
-- keys" and "delete expired keys" do one after the other. It stores nothing and returns null unless the message may go
-- out now: nothing is paused, each lane that has a rate exists and is free, and the idempotency key, if there is
-- one, stands for no message. $1 is an object. Its "account_seconds" and "sender_seconds" are how long the message
-- occupies either lane, null without a rate; "burst" is how many seconds of idle time a lane may make up for.
-- Locks: the lanes, the account's first, if there is a rate; then the key. Nobody waits for what is new.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_record(CAST($1 AS jsonb)) AS given (
        tag varchar(40), reference varchar(255), application_id varchar(255), sender varchar(64) COLLATE "C",
        recipients jsonb, text text, media text, priority varchar(16), expiration timestamptz, units integer,
        attempt integer, submitted_at timestamptz, deadline timestamptz, overdue_at timestamptz, asked_by varchar(255),
        api_key varchar(255) COLLATE "C", key varchar(255) COLLATE "C", sha256 varchar(64), expires_at timestamptz,
        credentials varchar(64), account_seconds double precision, sender_seconds double precision,
        burst double precision)),
limits AS MATERIALIZED (
    SELECT CAST('' AS varchar(64)) COLLATE "C" AS lane, account_seconds AS seconds FROM given
    WHERE account_seconds IS NOT NULL
    UNION ALL SELECT sender, sender_seconds FROM given WHERE sender_seconds IS NOT NULL),
locked AS MATERIALIZED (
    SELECT lanes.sender, lanes.next_at, lanes.paused_until FROM lanes
    WHERE lanes.sender = '' AND EXISTS (SELECT FROM limits) OR lanes.sender IN (SELECT lane FROM limits)
    ORDER BY lanes.sender
    FOR UPDATE OF lanes),
-- Read once the lanes are locked, which may take time.
clock AS MATERIALIZED (SELECT clock_timestamp() AS now, count(*) FROM locked),
turn AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('messages', 'pk')) AS pk FROM clock
    WHERE NOT EXISTS (SELECT FROM lanes WHERE lanes.sender = '' AND lanes.paused_until > clock.now)
        AND NOT EXISTS (SELECT FROM locked WHERE locked.paused_until > clock.now)
        AND NOT EXISTS (
            SELECT FROM limits LEFT JOIN locked ON locked.sender = limits.lane
            WHERE locked.next_at IS NULL OR locked.next_at > clock.now)
        AND NOT EXISTS (
            SELECT FROM idempotency_keys JOIN given USING (api_key, key)
            WHERE idempotency_keys.expires_at IS NULL OR idempotency_keys.expires_at >= given.submitted_at)),
-- Another transaction may store the key at this moment, and is waited for.
kept AS (
    INSERT INTO idempotency_keys (api_key, key, sha256, message_pk, expires_at, repeats)
    SELECT given.api_key, given.key, given.sha256, turn.pk, given.expires_at, 0 FROM given, turn
    WHERE given.key IS NOT NULL
    ON CONFLICT (api_key, key) DO UPDATE SET
        sha256 = excluded.sha256, message_pk = excluded.message_pk, expires_at = excluded.expires_at,
        repeats = excluded.repeats
    WHERE idempotency_keys.expires_at < CAST(CAST($1 AS jsonb) ->> 'submitted_at' AS timestamptz)
    RETURNING message_pk),
stored AS (
    INSERT INTO messages (
        pk, tag, reference, application_id, sender, text, media, priority, urgency, expiration, units, receipts,
        send_status, attempt, failures, deadline, created_at, submitted_at, overdue_at, updated_at, asked_by)
    SELECT
        turn.pk, tag, reference, application_id, sender, text, media, priority,
        CASE WHEN priority = 'high' THEN 0 ELSE 1 END, expiration, units, false, 'submitting', attempt, 0, deadline,
        submitted_at, submitted_at, overdue_at, submitted_at, asked_by
    FROM given, turn
    WHERE given.key IS NULL OR EXISTS (SELECT FROM kept)
    RETURNING pk),
placed AS (
    INSERT INTO recipients (
        message_pk, recipient, position, status, standing, invalid_recipient, created_at, updated_at)
    SELECT
        stored.pk, number.value, number.place - 1, 'pending', CAST('' AS bytea), false, given.submitted_at,
        given.submitted_at
    FROM stored, given, jsonb_array_elements_text(given.recipients) WITH ORDINALITY AS number (value, place)),
moved AS (
    UPDATE lanes SET
        next_at = greatest(locked.next_at, clock.now - make_interval(secs => given.burst))
            + make_interval(secs => limits.seconds)
    FROM locked JOIN limits ON limits.lane = locked.sender, clock, given, stored
    WHERE lanes.sender = locked.sender),
deleted AS (
    DELETE FROM idempotency_keys USING given, stored
    WHERE given.key IS NOT NULL AND (idempotency_keys.api_key, idempotency_keys.key) IN (
        SELECT expired.api_key, expired.key FROM idempotency_keys expired, given
        WHERE expired.expires_at < given.submitted_at AND (expired.api_key, expired.key) <> (given.api_key, given.key)
        ORDER BY expired.expires_at LIMIT 2 FOR UPDATE OF expired SKIP LOCKED))
SELECT (
    SELECT json_build_object(
        'pk', stored.pk,
        'is_suspect', EXISTS (
            SELECT FROM credential_pauses WHERE credential_pauses.credentials = given.credentials))
    FROM stored, given);


-- name: store acceptance, postgresql
-- Does for one message what "lock message ids" and "accept message" do, if nothing else is known about it: it is still
-- submitting by that attempt, and its message id is new. No event that was stored can wait for an id that is new,
-- because an event without a message brings its id, too. Otherwise it returns null. What it may have stored then, the
-- message id, is true all the same. $1 is an object. Locks: the message id, then the message.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_record(CAST($1 AS jsonb)) AS given (
        pk bigint, attempt integer, message_id varchar(128) COLLATE "C", segment_count integer,
        updated_at timestamptz)),
bound AS (
    INSERT INTO message_ids (message_id, message_pk, answered, linked_at)
    SELECT given.message_id, given.pk, true, given.updated_at
    FROM given JOIN messages ON messages.pk = given.pk
    WHERE messages.attempt = given.attempt AND messages.send_status = 'submitting'
    ON CONFLICT (message_id) DO NOTHING
    RETURNING message_pk),
accepted AS (
    UPDATE messages SET
        send_status = 'accepted', segment_count = given.segment_count, updated_at = given.updated_at
    FROM given, bound
    WHERE messages.pk = bound.message_pk AND messages.attempt = given.attempt AND messages.send_status = 'submitting'
    RETURNING messages.pk)
SELECT (SELECT pk FROM accepted);


-- name: read holds
-- What may hold a message up: the pause after a 429, and a refusal of these credentials. Locks nothing.
SELECT
    (SELECT paused_until FROM lanes WHERE sender = '') AS paused_until,
    (SELECT CASE WHEN paused_at IS NULL THEN 'suspect' ELSE 'refused' END
        FROM credential_pauses WHERE credentials = :credentials) AS suspicion;


-- name: lock lanes, postgresql
-- The account's lane and, unless :sender is empty, that of the sender. Locks: the lanes, the account's first.
SELECT sender, next_at, paused_until FROM lanes WHERE sender IN ('', :sender) ORDER BY sender FOR UPDATE;

-- name: lock lanes, sqlite
SELECT sender, next_at, paused_until FROM lanes WHERE sender IN ('', :sender) ORDER BY sender;


-- name: move lanes, postgresql
-- When each lane is free for the next message. The caller holds the locks.
UPDATE lanes SET next_at = given.next_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (sender varchar(64) COLLATE "C", next_at timestamptz)
WHERE lanes.sender = given.sender;

-- name: move lanes, sqlite
UPDATE lanes SET next_at = given.next_at
FROM (
    SELECT json_extract(value, '$.sender') AS sender, substr(json_extract(value, '$.next_at'), 1, 26) AS next_at
    FROM json_each(:rows)
    ) AS given
WHERE lanes.sender = given.sender;


-- name: insert messages, postgresql
-- New messages, submitting or queued, in the order of :rows. A tag that exists violates its unique constraint.
INSERT INTO messages (
    tag, reference, application_id, sender, text, media, priority, urgency, expiration, units, receipts, send_status,
    attempt, failures, claimable_at, deadline, created_at, submitted_at, overdue_at, updated_at, asked_by)
SELECT
    tag, reference, application_id, sender, text, media, priority, CASE WHEN priority = 'high' THEN 0 ELSE 1 END,
    expiration, units, false, send_status, attempt, 0, claimable_at, deadline, created_at, submitted_at, overdue_at,
    created_at, asked_by
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    tag varchar(40), reference varchar(255), application_id varchar(255), sender varchar(64), text text, media text,
    priority varchar(16), expiration timestamptz, units integer, send_status varchar(16), attempt integer,
    claimable_at timestamptz, deadline timestamptz, created_at timestamptz, submitted_at timestamptz,
    overdue_at timestamptz, asked_by varchar(255))
RETURNING pk, tag;

-- name: insert messages, sqlite
INSERT INTO messages (
    tag, reference, application_id, sender, text, media, priority, urgency, expiration, units, receipts, send_status,
    attempt, failures, claimable_at, deadline, created_at, submitted_at, overdue_at, updated_at, asked_by)
SELECT
    json_extract(value, '$.tag'), json_extract(value, '$.reference'), json_extract(value, '$.application_id'),
    json_extract(value, '$.sender'), json_extract(value, '$.text'), json_extract(value, '$.media'),
    json_extract(value, '$.priority'), CASE WHEN json_extract(value, '$.priority') = 'high' THEN 0 ELSE 1 END,
    substr(json_extract(value, '$.expiration'), 1, 26), json_extract(value, '$.units'), false,
    json_extract(value, '$.send_status'), json_extract(value, '$.attempt'), 0,
    substr(json_extract(value, '$.claimable_at'), 1, 26), substr(json_extract(value, '$.deadline'), 1, 26),
    substr(json_extract(value, '$.created_at'), 1, 26), substr(json_extract(value, '$.submitted_at'), 1, 26),
    substr(json_extract(value, '$.overdue_at'), 1, 26), substr(json_extract(value, '$.created_at'), 1, 26),
    json_extract(value, '$.asked_by')
FROM json_each(:rows)
RETURNING pk, tag;


-- name: insert recipients, postgresql
-- The recipients of new messages. No event names them yet, so they are pending and their standing is empty.
INSERT INTO recipients (
    message_pk, recipient, position, status, standing, invalid_recipient, created_at, updated_at)
SELECT
    given.message_pk, given.recipient, given.position, 'pending', CAST('' AS bytea), false, given.created_at,
    given.created_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    message_pk bigint, recipient varchar(64), position smallint, created_at timestamptz);

-- name: insert recipients, sqlite
INSERT INTO recipients (
    message_pk, recipient, position, status, standing, invalid_recipient, created_at, updated_at)
SELECT
    json_extract(value, '$.message_pk'), json_extract(value, '$.recipient'), json_extract(value, '$.position'),
    'pending', x'', false, substr(json_extract(value, '$.created_at'), 1, 26),
    substr(json_extract(value, '$.created_at'), 1, 26)
FROM json_each(:rows);


-- name: insert keys, postgresql
-- Idempotency keys of messages that were inserted just now. A key that exists is replaced only once it has expired; of
-- any other no row is returned, and the caller undoes its transaction. Locks: the keys in the order of :rows.
INSERT INTO idempotency_keys (api_key, key, sha256, message_pk, expires_at, repeats)
SELECT api_key, key, sha256, message_pk, expires_at, 0
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    api_key varchar(255) COLLATE "C", key varchar(255) COLLATE "C", sha256 varchar(64), message_pk bigint,
    expires_at timestamptz)
ON CONFLICT (api_key, key) DO UPDATE SET
    sha256 = excluded.sha256, message_pk = excluded.message_pk, expires_at = excluded.expires_at,
    repeats = excluded.repeats
WHERE idempotency_keys.expires_at < CAST(:now AS timestamptz)
RETURNING key;

-- name: insert keys, sqlite
-- Without WHERE, SQLite would take the ON of ON CONFLICT for that of a join.
INSERT INTO idempotency_keys (api_key, key, sha256, message_pk, expires_at, repeats)
SELECT
    json_extract(value, '$.api_key'), json_extract(value, '$.key'), json_extract(value, '$.sha256'),
    json_extract(value, '$.message_pk'), substr(json_extract(value, '$.expires_at'), 1, 26), 0
FROM json_each(:rows)
WHERE true
ON CONFLICT (api_key, key) DO UPDATE SET
    sha256 = excluded.sha256, message_pk = excluded.message_pk, expires_at = excluded.expires_at,
    repeats = excluded.repeats
WHERE idempotency_keys.expires_at < substr(:now, 1, 26)
RETURNING key;


-- name: delete expired keys, postgresql
-- Two expired keys, which is more than one insertion adds, so they become fewer. It passes over locked keys, and so
-- never waits. LIMIT is written out, because the plan is made once for all values.
DELETE FROM idempotency_keys WHERE (api_key, key) IN (
    SELECT api_key, key FROM idempotency_keys
    WHERE expires_at < CAST(:now AS timestamptz)
    ORDER BY expires_at LIMIT 2 FOR UPDATE SKIP LOCKED);

-- name: delete expired keys, sqlite
DELETE FROM idempotency_keys WHERE (api_key, key) IN (
    SELECT api_key, key FROM idempotency_keys
    WHERE expires_at < substr(:now, 1, 26)
    ORDER BY expires_at LIMIT 2);


-- name: submit claimed message by pipeline, postgresql
-- Does what "read holds" and "submit claimed message" do, if nothing holds the message up: no pause after a 429, and no
-- refusal of these credentials. Otherwise, and if the claim no longer stands, it stores nothing and returns null. $1 is
-- an object. Locks: the message.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_record(CAST($1 AS jsonb)) AS given (
        pk bigint, until timestamptz, attempt integer, submitted_at timestamptz, deadline timestamptz,
        overdue_at timestamptz, credentials varchar(64))),
suspicion AS MATERIALIZED (
    SELECT credential_pauses.paused_at FROM credential_pauses, given
    WHERE credential_pauses.credentials = given.credentials),
submitted AS (
    UPDATE messages SET
        send_status = 'submitting', attempt = given.attempt, submitted_at = given.submitted_at,
        deadline = given.deadline, overdue_at = given.overdue_at, updated_at = given.submitted_at, claimable_at = NULL,
        refused_because = NULL, error_status = NULL, error_type = NULL, error_description = NULL, error_fields = NULL
    FROM given
    WHERE messages.pk = given.pk AND messages.send_status = 'queued' AND messages.claimable_at = given.until
        AND NOT EXISTS (SELECT FROM lanes WHERE lanes.sender = '' AND lanes.paused_until > clock_timestamp())
        AND NOT EXISTS (SELECT FROM suspicion WHERE paused_at IS NOT NULL)
    RETURNING messages.pk)
SELECT (SELECT json_build_object('pk', pk, 'is_suspect', EXISTS (SELECT FROM suspicion)) FROM submitted);


-- name: submit claimed message, postgresql
-- A claimed message becomes submitting, if its claim still stands: the end of the lease is the fence. Past this commit
-- it is sent once or, if nobody stores the result, unknown. Locks: the message.
UPDATE messages SET
    send_status = 'submitting', attempt = given.attempt, submitted_at = given.submitted_at, deadline = given.deadline,
    overdue_at = given.overdue_at, updated_at = given.submitted_at, claimable_at = NULL, refused_because = NULL,
    error_status = NULL, error_type = NULL, error_description = NULL, error_fields = NULL
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    pk bigint, until timestamptz, attempt integer, submitted_at timestamptz, deadline timestamptz,
    overdue_at timestamptz)
WHERE messages.pk = given.pk AND messages.send_status = 'queued' AND messages.claimable_at = given.until
RETURNING messages.pk;

-- name: submit claimed message, sqlite
UPDATE messages SET
    send_status = 'submitting', attempt = given.attempt, submitted_at = given.submitted_at, deadline = given.deadline,
    overdue_at = given.overdue_at, updated_at = given.submitted_at, claimable_at = NULL, refused_because = NULL,
    error_status = NULL, error_type = NULL, error_description = NULL, error_fields = NULL
FROM (
    SELECT
        json_extract(value, '$.pk') AS pk, substr(json_extract(value, '$.until'), 1, 26) AS until,
        json_extract(value, '$.attempt') AS attempt,
        substr(json_extract(value, '$.submitted_at'), 1, 26) AS submitted_at,
        substr(json_extract(value, '$.deadline'), 1, 26) AS deadline,
        substr(json_extract(value, '$.overdue_at'), 1, 26) AS overdue_at
    FROM json_each(:rows)
    ) AS given
WHERE messages.pk = given.pk AND messages.send_status = 'queued' AND messages.claimable_at = given.until
RETURNING pk;


-- name: accept message, postgresql
-- A message that is still submitting by that attempt becomes accepted. The caller has locked its message id. Locks: the
-- message.
UPDATE messages SET
    send_status = 'accepted', segment_count = given.segment_count, updated_at = given.updated_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    pk bigint, attempt integer, segment_count integer, updated_at timestamptz)
WHERE messages.pk = given.pk AND messages.attempt = given.attempt AND messages.send_status = 'submitting'
RETURNING messages.pk;

-- name: accept message, sqlite
UPDATE messages SET
    send_status = 'accepted', segment_count = given.segment_count, updated_at = given.updated_at
FROM (
    SELECT
        json_extract(value, '$.pk') AS pk, json_extract(value, '$.attempt') AS attempt,
        json_extract(value, '$.segment_count') AS segment_count,
        substr(json_extract(value, '$.updated_at'), 1, 26) AS updated_at
    FROM json_each(:rows)
    ) AS given
WHERE messages.pk = given.pk AND messages.attempt = given.attempt AND messages.send_status = 'submitting'
RETURNING pk;
