-- The SQL that stores events, as it runs: for callbacks, and for events from replay, reconcile and responses.
--
-- A statement begins with "-- name:". The database that it is for follows the name; without one it is for both. What
-- is the same for both databases is explained above the first of the two. Comments are cut off when the file is read.
--
-- Rows travel in one parameter, :rows, a JSON array of objects that the database takes apart as the table "given":
-- so a statement is one text for one row and for a thousand, and prepared once. To try one in psql, quote the array:
--     \set rows '''[{"tag": "01M80000000000000000000000"}]'''
-- Instants are texts in UTC ("2026-11-21 21:53:14.123456+00:00"), bytes "\x" and hexadecimal digits. SQLite keeps
-- instants without their zone, so there the first 26 characters are taken; unhex() is made by the program.
--
-- Locks are taken in this order, and inside each statement in the order of its key, so that transactions that meet
-- wait for each other and never deadlock:
--     1. unreadable_callbacks by sha256      "store unreadable elements"
--     2. message_ids by message_id           "lock message ids"
--     3. events by identity                  "store events"; "link event" needs the lock on its message id
--     4. messages by pk                      "lock messages to accept", "turn on receipts"
--     5. recipients by message_pk, recipient "raise standings"
-- "store plain events" takes 3 to 5 in one statement.
-- PostgreSQL inserts in the order in which a query's ORDER BY, or the array, gives the rows. An UPDATE has no order, so
-- a SELECT ... FOR UPDATE goes before it. SQLite has one writer at a time and needs none of this.


-- name: store unreadable elements, postgresql
-- Locks: the rows in the order of :rows, which is that of sha256. A repeat only counts.
INSERT INTO unreadable_callbacks (sha256, reason, payload, whole_body, first_received_at, last_received_at, deliveries)
SELECT sha256, reason, payload, whole_body, first_received_at, last_received_at, deliveries
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    sha256 varchar(64), reason text, payload text, whole_body boolean,
    first_received_at timestamptz, last_received_at timestamptz, deliveries integer)
ON CONFLICT (sha256) DO UPDATE SET
    deliveries = unreadable_callbacks.deliveries + excluded.deliveries,
    last_received_at = excluded.last_received_at;

-- name: store unreadable elements, sqlite
-- Without WHERE, SQLite would take the ON of ON CONFLICT for that of a join.
INSERT INTO unreadable_callbacks (sha256, reason, payload, whole_body, first_received_at, last_received_at, deliveries)
SELECT
    json_extract(value, '$.sha256'), json_extract(value, '$.reason'), json_extract(value, '$.payload'),
    json_extract(value, '$.whole_body'), substr(json_extract(value, '$.first_received_at'), 1, 26),
    substr(json_extract(value, '$.last_received_at'), 1, 26), json_extract(value, '$.deliveries')
FROM json_each(:rows)
WHERE true
ON CONFLICT (sha256) DO UPDATE SET
    deliveries = unreadable_callbacks.deliveries + excluded.deliveries,
    last_received_at = excluded.last_received_at;


-- name: find tagged messages, postgresql
-- Which of these tags are ours. Locks nothing: a tag never changes.
SELECT messages.tag, messages.pk
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (tag varchar(40) COLLATE "C")
    JOIN messages ON messages.tag = given.tag;

-- name: find tagged messages, sqlite
SELECT messages.tag, messages.pk
FROM json_each(:rows) JOIN messages ON messages.tag = json_extract(value, '$.tag');


-- name: find message ids, postgresql
-- Which message each of these ids stands for, if any. Locks nothing: once set, that never changes.
SELECT message_ids.message_id, message_ids.message_pk
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (message_id varchar(128) COLLATE "C")
    JOIN message_ids ON message_ids.message_id = given.message_id
WHERE message_ids.message_pk IS NOT NULL;

-- name: find message ids, sqlite
SELECT message_ids.message_id, message_ids.message_pk
FROM json_each(:rows) JOIN message_ids ON message_ids.message_id = json_extract(value, '$.message_id')
WHERE message_ids.message_pk IS NOT NULL;


-- name: lock message ids, postgresql
-- Locks: the rows in the order of :rows, which is that of message_id. A transaction that brings an id which stands for
-- no message inserts or locks its row, so an event that waits for its message and the response that names the id cannot
-- miss each other. An id stays with its first message; "answered" is set only by a response that names that message.
INSERT INTO message_ids (message_id, message_pk, answered, linked_at)
SELECT message_id, message_pk, answered, linked_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
    message_id varchar(128) COLLATE "C", message_pk bigint, answered boolean, linked_at timestamptz)
ON CONFLICT (message_id) DO UPDATE SET
    message_pk = coalesce(message_ids.message_pk, excluded.message_pk),
    linked_at = coalesce(message_ids.linked_at, excluded.linked_at),
    answered = message_ids.answered OR excluded.answered
        AND (message_ids.message_pk IS NULL OR message_ids.message_pk = excluded.message_pk)
RETURNING message_id, message_pk;

-- name: lock message ids, sqlite
INSERT INTO message_ids (message_id, message_pk, answered, linked_at)
SELECT
    json_extract(value, '$.message_id'), json_extract(value, '$.message_pk'), json_extract(value, '$.answered'),
    substr(json_extract(value, '$.linked_at'), 1, 26)
FROM json_each(:rows)
WHERE true
ON CONFLICT (message_id) DO UPDATE SET
    message_pk = coalesce(message_ids.message_pk, excluded.message_pk),
    linked_at = coalesce(message_ids.linked_at, excluded.linked_at),
    answered = message_ids.answered OR excluded.answered
        AND (message_ids.message_pk IS NULL OR message_ids.message_pk = excluded.message_pk)
RETURNING message_id, message_pk;


-- name: find waiting events, postgresql
-- The unlinked events with these message ids, except inbound ones. Locks nothing: only the holder of the lock on their
-- message id may change them.
SELECT
    events.pk, events.message_id, events.recipient, events.type, events.error_code, events.tag, events.description,
    events.occurred_at, events.payload
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (message_id varchar(128) COLLATE "C")
    JOIN events ON events.message_id = given.message_id
WHERE events.message_pk IS NULL
    AND events.type NOT IN ('message-received', 'requested-location-response', 'suggestion-response')
ORDER BY events.pk;

-- name: find waiting events, sqlite
SELECT
    events.pk, events.message_id, events.recipient, events.type, events.error_code, events.tag, events.description,
    events.occurred_at, events.payload
FROM json_each(:rows) JOIN events ON events.message_id = json_extract(value, '$.message_id')
WHERE events.message_pk IS NULL
    AND events.type NOT IN ('message-received', 'requested-location-response', 'suggestion-response')
ORDER BY events.pk;


-- name: link event
-- Links one of the waiting events. Runs once for each, in the order of pk.
UPDATE events SET message_pk = :message_pk, linked_by = 'messageId' WHERE pk = :pk;


-- name: store events, postgresql
-- Stores each event once and links it: to the message that has the tag "claim", else to that of its message id; inbound
-- events to none. A repeat counts, may say an earlier time, and links if the stored event is unlinked; everything else
-- stays that of the first. A repeat may have come before the first, if it was unreadable then and is read again.
-- Unless :anyway, nothing is stored if any message id stands for no message: its row must be locked before.
-- Locks: the events in the order of their identity.
-- Returned with each: whether receipts are on (null unless its message is accepted), the tag of the message that its
-- message id stands for, when its message was last sent; and what the recipient showed until now, null if the message
-- has no such recipient.
INSERT INTO events (
    message_id, recipient, type, error_code, tag, description, occurred_at, first_received_at, last_received_at,
    deliveries, source, payload, sender, text, media, members, keyword, message_pk, linked_by)
SELECT
    message_id, recipient, type, error_code, tag, description, occurred_at, first_received_at, last_received_at,
    deliveries, source, payload, sender, text, media, members, keyword, message_pk, linked_by
FROM (
    SELECT given.*,
        coalesce(messages.pk, message_ids.message_pk) AS message_pk,
        CASE WHEN messages.pk IS NOT NULL THEN 'tag' WHEN message_ids.message_pk IS NOT NULL THEN 'messageId' END
            AS linked_by,
        bool_and(given.type IN ('message-received', 'requested-location-response', 'suggestion-response')
            OR message_ids.message_pk IS NOT NULL) OVER () AS all_known
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
            message_id varchar(128) COLLATE "C", recipient varchar(64) COLLATE "C", type varchar(64) COLLATE "C",
            error_code integer, claim varchar, tag varchar(1024), description text, occurred_at timestamptz,
            first_received_at timestamptz, last_received_at timestamptz, deliveries integer, source varchar(16),
            payload text, sender varchar(64) COLLATE "C", text text, media text, members text,
            keyword varchar(16) COLLATE "C")
        LEFT JOIN messages ON messages.tag = given.claim
            AND given.type NOT IN ('message-received', 'requested-location-response', 'suggestion-response')
        LEFT JOIN message_ids ON message_ids.message_id = given.message_id
            AND given.type NOT IN ('message-received', 'requested-location-response', 'suggestion-response')
    ) AS linked
WHERE all_known OR :anyway
ORDER BY message_id, recipient, type, error_code
ON CONFLICT (message_id, recipient, type, error_code) DO UPDATE SET
    deliveries = events.deliveries + excluded.deliveries,
    first_received_at = least(events.first_received_at, excluded.first_received_at),
    last_received_at = greatest(events.last_received_at, excluded.last_received_at),
    occurred_at = least(events.occurred_at, excluded.occurred_at),
    message_pk = coalesce(events.message_pk, excluded.message_pk),
    linked_by = coalesce(events.linked_by, excluded.linked_by)
RETURNING
    pk, message_id, recipient, type, error_code, message_pk, occurred_at, description, deliveries, first_received_at,
    (SELECT m.receipts FROM messages m WHERE m.pk = events.message_pk AND m.send_status = 'accepted') AS receipts,
    (SELECT m.tag FROM message_ids i JOIN messages m ON m.pk = i.message_pk
        WHERE i.message_id = events.message_id) AS bound_tag,
    (SELECT m.submitted_at FROM messages m WHERE m.pk = events.message_pk) AS submitted_at,
    (SELECT r.standing FROM recipients r
        WHERE r.message_pk = events.message_pk AND r.recipient = events.recipient) AS standing,
    (SELECT r.invalid_recipient FROM recipients r
        WHERE r.message_pk = events.message_pk AND r.recipient = events.recipient) AS invalid_recipient,
    (SELECT r.updated_at FROM recipients r
        WHERE r.message_pk = events.message_pk AND r.recipient = events.recipient) AS updated_at;

-- name: store events, sqlite
-- As text, because of the CASTs in RETURNING: without them SQLite would not use an index there.
INSERT INTO events (
    message_id, recipient, type, error_code, tag, description, occurred_at, first_received_at, last_received_at,
    deliveries, source, payload, sender, text, media, members, keyword, message_pk, linked_by)
SELECT
    message_id, recipient, type, error_code, tag, description, occurred_at, first_received_at, last_received_at,
    deliveries, source, payload, sender, text, media, members, keyword, message_pk, linked_by
FROM (
    SELECT given.*,
        coalesce(messages.pk, message_ids.message_pk) AS message_pk,
        CASE WHEN messages.pk IS NOT NULL THEN 'tag' WHEN message_ids.message_pk IS NOT NULL THEN 'messageId' END
            AS linked_by,
        min(given.type IN ('message-received', 'requested-location-response', 'suggestion-response')
            OR message_ids.message_pk IS NOT NULL) OVER () AS all_known
    FROM (
        SELECT
            json_extract(value, '$.message_id') AS message_id,
            json_extract(value, '$.recipient') AS recipient,
            json_extract(value, '$.type') AS type,
            json_extract(value, '$.error_code') AS error_code,
            json_extract(value, '$.claim') AS claim,
            json_extract(value, '$.tag') AS tag,
            json_extract(value, '$.description') AS description,
            substr(json_extract(value, '$.occurred_at'), 1, 26) AS occurred_at,
            substr(json_extract(value, '$.first_received_at'), 1, 26) AS first_received_at,
            substr(json_extract(value, '$.last_received_at'), 1, 26) AS last_received_at,
            json_extract(value, '$.deliveries') AS deliveries,
            json_extract(value, '$.source') AS source,
            json_extract(value, '$.payload') AS payload,
            json_extract(value, '$.sender') AS sender,
            json_extract(value, '$.text') AS text,
            json_extract(value, '$.media') AS media,
            json_extract(value, '$.members') AS members,
            json_extract(value, '$.keyword') AS keyword
        FROM json_each(:rows)
        ) AS given
        LEFT JOIN messages ON messages.tag = given.claim
            AND given.type NOT IN ('message-received', 'requested-location-response', 'suggestion-response')
        LEFT JOIN message_ids ON message_ids.message_id = given.message_id
            AND given.type NOT IN ('message-received', 'requested-location-response', 'suggestion-response')
    ) AS linked
WHERE all_known OR :anyway
ORDER BY message_id, recipient, type, error_code
ON CONFLICT (message_id, recipient, type, error_code) DO UPDATE SET
    deliveries = events.deliveries + excluded.deliveries,
    first_received_at = min(events.first_received_at, excluded.first_received_at),
    last_received_at = max(events.last_received_at, excluded.last_received_at),
    occurred_at = coalesce(min(events.occurred_at, excluded.occurred_at), events.occurred_at, excluded.occurred_at),
    message_pk = coalesce(events.message_pk, excluded.message_pk),
    linked_by = coalesce(events.linked_by, excluded.linked_by)
RETURNING
    pk, message_id, recipient, type, error_code, message_pk, occurred_at, description, deliveries, first_received_at,
    (SELECT m.receipts FROM messages m WHERE m.pk = events.message_pk AND m.send_status = 'accepted') AS receipts,
    (SELECT m.tag FROM message_ids i JOIN messages m ON m.pk = i.message_pk
        WHERE i.message_id = CAST(events.message_id AS text)) AS bound_tag,
    (SELECT m.submitted_at FROM messages m WHERE m.pk = events.message_pk) AS submitted_at,
    (SELECT r.standing FROM recipients r
        WHERE r.message_pk = events.message_pk AND r.recipient = CAST(events.recipient AS text)) AS standing,
    (SELECT r.invalid_recipient FROM recipients r
        WHERE r.message_pk = events.message_pk AND r.recipient = CAST(events.recipient AS text)) AS invalid_recipient,
    (SELECT r.updated_at FROM recipients r
        WHERE r.message_pk = events.message_pk AND r.recipient = CAST(events.recipient AS text)) AS updated_at;


-- name: store plain events, postgresql
-- All that most callbacks need, in one statement: stores events, or counts them as repeats, and raises their recipients.
-- An event is plain if it needs nothing else: it is inbound, or its message id stands for an accepted message and its
-- tag is not that of another. A repeat is plain if neither its time nor its message differs from what is stored. Events
-- that are not plain are neither stored nor returned; the other statements store them.
-- The table "events" is only inserted into: a plan that reads it, made while it was empty, would scan it for ever.
-- Locks: the events in the order of their identity; then their messages in the order of pk, first against being
-- removed, which a foreign key would do too late, and those whose receipts turn out to be on against changes; then the
-- recipients that change, in the order of their key. Each CTE that locks is preceded by one that ends with a sort: that
-- needs all of its rows, so what comes before it is locked before.
-- $1 is a JSON array of the events, $2 the present instant. Returned is one JSON array, with an array for each event, in the order of place: the columns of the last SELECT. Of
-- the recipient they hold what it showed until now, null if the message has no such recipient.
WITH plain AS MATERIALIZED (
    SELECT given.*, messages.pk AS message_pk, messages.tag AS bound_tag, messages.submitted_at, messages.receipts
    FROM jsonb_to_recordset(CAST($1 AS jsonb)) AS given (
            place integer, message_id varchar(128) COLLATE "C", recipient varchar(64) COLLATE "C",
            type varchar(64) COLLATE "C", error_code integer, claim varchar, tag varchar(1024), description text,
            occurred_at timestamptz, first_received_at timestamptz, last_received_at timestamptz, deliveries integer,
            source varchar(16), payload text, sender varchar(64) COLLATE "C", text text, media text, members text,
            keyword varchar(16) COLLATE "C", is_inbound boolean, is_receipt boolean, status varchar(16),
            standing bytea, invalid_recipient boolean)
        LEFT JOIN message_ids ON message_ids.message_id = given.message_id AND NOT given.is_inbound
        LEFT JOIN messages ON messages.pk = message_ids.message_pk AND messages.send_status = 'accepted'
    WHERE given.is_inbound OR messages.pk IS NOT NULL AND (
        given.claim IS NULL OR given.claim = messages.tag
        OR (SELECT another.pk FROM messages another WHERE another.tag = given.claim) IS NULL)),
stored AS (
    INSERT INTO events (
        message_id, recipient, type, error_code, tag, description, occurred_at, first_received_at, last_received_at,
        deliveries, source, payload, sender, text, media, members, keyword, message_pk, linked_by)
    SELECT
        message_id, recipient, type, error_code, tag, description, occurred_at, first_received_at, last_received_at,
        deliveries, source, payload, sender, text, media, members, keyword, message_pk,
        CASE WHEN claim = bound_tag THEN 'tag' WHEN message_pk IS NOT NULL THEN 'messageId' END
    FROM plain
    ORDER BY message_id, recipient, type, error_code
    ON CONFLICT (message_id, recipient, type, error_code) DO UPDATE SET
        deliveries = events.deliveries + excluded.deliveries,
        first_received_at = least(events.first_received_at, excluded.first_received_at),
        last_received_at = greatest(events.last_received_at, excluded.last_received_at)
    WHERE events.occurred_at IS NOT DISTINCT FROM excluded.occurred_at
        AND events.message_pk IS NOT DISTINCT FROM excluded.message_pk
    RETURNING pk, message_id, recipient, type, error_code, description, deliveries, first_received_at),
arrived AS MATERIALIZED (
    SELECT
        plain.place, plain.message_pk, plain.recipient, plain.bound_tag, plain.submitted_at, plain.is_receipt,
        plain.receipts, plain.status, plain.standing, plain.invalid_recipient, plain.error_code, plain.occurred_at,
        stored.pk AS event_pk, stored.description, stored.deliveries, stored.first_received_at
    FROM stored JOIN plain USING (message_id, recipient, type, error_code)
    ORDER BY plain.message_pk),
kept AS MATERIALIZED (
    SELECT messages.pk
    FROM messages JOIN (SELECT DISTINCT message_pk FROM arrived) AS needed ON needed.message_pk = messages.pk
    ORDER BY messages.pk
    FOR KEY SHARE OF messages),
receiving AS MATERIALIZED (
    SELECT messages.pk
    FROM messages JOIN (SELECT DISTINCT message_pk FROM arrived WHERE is_receipt AND NOT receipts) AS proved
        ON proved.message_pk = messages.pk
    WHERE NOT messages.receipts AND (SELECT count(*) FROM kept) >= 0
    ORDER BY messages.pk
    FOR NO KEY UPDATE OF messages),
turned AS (
    UPDATE messages SET receipts = true, updated_at = CAST($2 AS timestamptz)
    FROM receiving
    WHERE messages.pk = receiving.pk AND NOT messages.receipts
    RETURNING messages.pk),
best AS MATERIALIZED (
    SELECT DISTINCT ON (message_pk, recipient)
        message_pk, recipient, status, standing, event_pk, nullif(error_code, 0) AS error_code, description, occurred_at,
        bool_or(invalid_recipient) OVER (PARTITION BY message_pk, recipient) AS invalid_recipient
    FROM arrived
    WHERE message_pk IS NOT NULL AND status IS NOT NULL
    ORDER BY message_pk, recipient, standing DESC),
locked AS MATERIALIZED (
    SELECT best.*
    FROM best JOIN recipients r ON r.message_pk = best.message_pk AND r.recipient = best.recipient
    WHERE (r.standing < best.standing OR best.invalid_recipient AND NOT r.invalid_recipient)
        AND (SELECT count(*) FROM turned) >= 0
    ORDER BY r.message_pk, r.recipient
    FOR NO KEY UPDATE OF r),
raised AS (
    UPDATE recipients AS r SET
        status = CASE WHEN r.standing < locked.standing THEN locked.status ELSE r.status END,
        standing = CASE WHEN r.standing < locked.standing THEN locked.standing ELSE r.standing END,
        event_pk = CASE WHEN r.standing < locked.standing THEN locked.event_pk ELSE r.event_pk END,
        error_code = CASE WHEN r.standing < locked.standing THEN locked.error_code ELSE r.error_code END,
        description = CASE WHEN r.standing < locked.standing THEN locked.description ELSE r.description END,
        occurred_at = CASE WHEN r.standing < locked.standing THEN locked.occurred_at ELSE r.occurred_at END,
        invalid_recipient = r.invalid_recipient OR locked.invalid_recipient,
        updated_at = CAST($2 AS timestamptz)
    FROM locked
    WHERE r.message_pk = locked.message_pk AND r.recipient = locked.recipient
        AND (r.standing < locked.standing OR locked.invalid_recipient AND NOT r.invalid_recipient))
SELECT coalesce(json_agg(json_build_array(
    arrived.place, arrived.message_pk, arrived.bound_tag, arrived.submitted_at, arrived.deliveries,
    arrived.first_received_at, replace(encode(r.standing, 'base64'), chr(10), ''), r.invalid_recipient, r.updated_at)
    ORDER BY arrived.place), '[]')
FROM arrived LEFT JOIN recipients r ON r.message_pk = arrived.message_pk AND r.recipient = arrived.recipient;


-- name: lock messages to accept, postgresql
-- The given messages that are not accepted yet, or whose receipts are newly known to be on.
-- Locks: the messages in the order of pk. Not a full FOR UPDATE: a new event of another transaction may refer to the
-- message meanwhile.
SELECT messages.pk, messages.send_status
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (pk bigint, receipts boolean)
    JOIN messages ON messages.pk = given.pk
WHERE messages.send_status IN ('queued', 'refused', 'submitting', 'unknown') OR given.receipts AND NOT messages.receipts
ORDER BY messages.pk
FOR NO KEY UPDATE OF messages;

-- name: lock messages to accept, sqlite
SELECT messages.pk, messages.send_status
FROM json_each(:rows) JOIN messages ON messages.pk = json_extract(value, '$.pk')
WHERE messages.send_status IN ('queued', 'refused', 'submitting', 'unknown')
    OR json_extract(value, '$.receipts') AND NOT messages.receipts
ORDER BY messages.pk;


-- name: accept messages, postgresql
-- Makes messages accepted, whatever their state: an event about one proves that Bandwidth has it. The caller holds the
-- locks.
UPDATE messages SET
    send_status = 'accepted', refused_because = NULL, receipts = messages.receipts OR given.receipts,
    updated_at = given.updated_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (pk bigint, receipts boolean, updated_at timestamptz)
WHERE messages.pk = given.pk;

-- name: accept messages, sqlite
UPDATE messages SET
    send_status = 'accepted', refused_because = NULL, receipts = messages.receipts OR given.receipts,
    updated_at = given.updated_at
FROM (
    SELECT
        json_extract(value, '$.pk') AS pk,
        json_extract(value, '$.receipts') AS receipts,
        substr(json_extract(value, '$.updated_at'), 1, 26) AS updated_at
    FROM json_each(:rows)
    ) AS given
WHERE messages.pk = given.pk;


-- name: reopen recipients, postgresql
-- Makes recipients of messages that were refused until now pending again. The caller holds the locks on the messages.
UPDATE recipients SET status = 'pending', updated_at = given.updated_at
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (pk bigint, updated_at timestamptz)
WHERE recipients.message_pk = given.pk AND recipients.status = 'not_sent';

-- name: reopen recipients, sqlite
UPDATE recipients SET status = 'pending', updated_at = given.updated_at
FROM (
    SELECT
        json_extract(value, '$.pk') AS pk,
        substr(json_extract(value, '$.updated_at'), 1, 26) AS updated_at
    FROM json_each(:rows)
    ) AS given
WHERE recipients.message_pk = given.pk AND recipients.status = 'not_sent';


-- name: turn on receipts, postgresql
-- Notes that receipts are on, for messages that are known to be accepted. Locks: the messages that change, in the order
-- of pk.
WITH locked AS (
    SELECT given.pk, given.updated_at
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (pk bigint, updated_at timestamptz)
        JOIN messages ON messages.pk = given.pk
    WHERE NOT messages.receipts
    ORDER BY messages.pk
    FOR NO KEY UPDATE OF messages)
UPDATE messages SET receipts = true, updated_at = locked.updated_at
FROM locked
WHERE messages.pk = locked.pk AND NOT messages.receipts;

-- name: turn on receipts, sqlite
UPDATE messages SET receipts = true, updated_at = given.updated_at
FROM (
    SELECT
        json_extract(value, '$.pk') AS pk,
        substr(json_extract(value, '$.updated_at'), 1, 26) AS updated_at
    FROM json_each(:rows)
    ) AS given
WHERE messages.pk = given.pk AND NOT messages.receipts;


-- name: raise standings, postgresql
-- Makes each recipient show its statement of highest standing: the core computes standings, the database compares them.
-- A row holds the best new statement about a recipient, and whether any of the new ones found its number invalid.
-- Locks: the recipients that change, in the order of their key. A row that another transaction changed while this one
-- waited is compared again.
WITH locked AS (
    SELECT given.*
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS given (
            message_pk bigint, recipient varchar(64) COLLATE "C", status varchar(16), standing bytea, event_pk bigint,
            error_code integer, description text, occurred_at timestamptz, invalid_recipient boolean,
            updated_at timestamptz)
        JOIN recipients r ON r.message_pk = given.message_pk AND r.recipient = given.recipient
    WHERE r.standing < given.standing OR given.invalid_recipient AND NOT r.invalid_recipient
    ORDER BY r.message_pk, r.recipient
    FOR NO KEY UPDATE OF r)
UPDATE recipients AS r SET
    status = CASE WHEN r.standing < locked.standing THEN locked.status ELSE r.status END,
    standing = CASE WHEN r.standing < locked.standing THEN locked.standing ELSE r.standing END,
    event_pk = CASE WHEN r.standing < locked.standing THEN locked.event_pk ELSE r.event_pk END,
    error_code = CASE WHEN r.standing < locked.standing THEN locked.error_code ELSE r.error_code END,
    description = CASE WHEN r.standing < locked.standing THEN locked.description ELSE r.description END,
    occurred_at = CASE WHEN r.standing < locked.standing THEN locked.occurred_at ELSE r.occurred_at END,
    invalid_recipient = r.invalid_recipient OR locked.invalid_recipient,
    updated_at = locked.updated_at
FROM locked
WHERE r.message_pk = locked.message_pk AND r.recipient = locked.recipient
    AND (r.standing < locked.standing OR locked.invalid_recipient AND NOT r.invalid_recipient);

-- name: raise standings, sqlite
UPDATE recipients AS r SET
    status = CASE WHEN r.standing < given.standing THEN given.status ELSE r.status END,
    standing = CASE WHEN r.standing < given.standing THEN given.standing ELSE r.standing END,
    event_pk = CASE WHEN r.standing < given.standing THEN given.event_pk ELSE r.event_pk END,
    error_code = CASE WHEN r.standing < given.standing THEN given.error_code ELSE r.error_code END,
    description = CASE WHEN r.standing < given.standing THEN given.description ELSE r.description END,
    occurred_at = CASE WHEN r.standing < given.standing THEN given.occurred_at ELSE r.occurred_at END,
    invalid_recipient = r.invalid_recipient OR given.invalid_recipient,
    updated_at = given.updated_at
FROM (
    SELECT
        json_extract(value, '$.message_pk') AS message_pk,
        json_extract(value, '$.recipient') AS recipient,
        json_extract(value, '$.status') AS status,
        unhex(substr(json_extract(value, '$.standing'), 3)) AS standing,
        json_extract(value, '$.event_pk') AS event_pk,
        json_extract(value, '$.error_code') AS error_code,
        json_extract(value, '$.description') AS description,
        substr(json_extract(value, '$.occurred_at'), 1, 26) AS occurred_at,
        json_extract(value, '$.invalid_recipient') AS invalid_recipient,
        substr(json_extract(value, '$.updated_at'), 1, 26) AS updated_at
    FROM json_each(:rows)
    ) AS given
WHERE r.message_pk = given.message_pk AND r.recipient = given.recipient
    AND (r.standing < given.standing OR given.invalid_recipient AND NOT r.invalid_recipient);
