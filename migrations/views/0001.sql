CREATE VIEW support_messages AS
SELECT
    m.tag,
    m.reference,
    shown.message_id,
    (
        SELECT ${join_text}(ids.message_id, ' ')
        FROM (SELECT i.message_id FROM message_ids i WHERE i.message_pk = m.pk ORDER BY i.message_id) ids
    ) AS message_ids,
    (SELECT count(*) > 1 FROM message_ids i WHERE i.message_pk = m.pk) AS sent_twice,
    m.application_id,
    m.sender,
    m.text,
    m.media,
    m.priority,
    m.expiration,
    m.segment_count,
    CASE
        WHEN m.send_status = 'submitting' AND m.deadline < CURRENT_TIMESTAMP THEN 'unknown'
        ELSE m.send_status
    END AS send_status,
    m.refused_because,
    m.error_status,
    m.error_type,
    m.error_description,
    m.error_fields,
    m.created_at,
    m.submitted_at,
    ${latest}(
        CASE
            WHEN m.send_status = 'submitting' AND m.deadline < CURRENT_TIMESTAMP THEN m.deadline
            ELSE m.updated_at
        END,
        (SELECT max(r.updated_at) FROM recipients r WHERE r.message_pk = m.pk),
        coalesce((SELECT max(i.linked_at) FROM message_ids i WHERE i.message_pk = m.pk), m.updated_at)
    ) AS updated_at,
    (SELECT count(*) FROM recipients r WHERE r.message_pk = m.pk) AS total,
    (SELECT count(*) FROM recipients r WHERE r.message_pk = m.pk AND r.status = 'pending') AS pending,
    (SELECT count(*) FROM recipients r WHERE r.message_pk = m.pk AND r.status = 'sending') AS sending,
    (SELECT count(*) FROM recipients r WHERE r.message_pk = m.pk AND r.status = 'sent') AS sent,
    (SELECT count(*) FROM recipients r WHERE r.message_pk = m.pk AND r.status = 'unconfirmed') AS unconfirmed,
    (SELECT count(*) FROM recipients r WHERE r.message_pk = m.pk AND r.status = 'delivered') AS delivered,
    (SELECT count(*) FROM recipients r WHERE r.message_pk = m.pk AND r.status = 'failed') AS failed,
    (SELECT count(*) FROM recipients r WHERE r.message_pk = m.pk AND r.status = 'not_sent') AS not_sent,
    CASE
        WHEN m.overdue_at < CURRENT_TIMESTAMP
            AND (
                m.send_status IN ('accepted', 'unknown')
                OR (m.send_status = 'submitting' AND m.deadline < CURRENT_TIMESTAMP)
            )
        THEN (
            SELECT count(*) FROM recipients r
            WHERE r.message_pk = m.pk AND r.status NOT IN ('unconfirmed', 'delivered', 'failed', 'not_sent')
        )
        ELSE 0
    END AS overdue,
    (
        SELECT count(*) = 0 FROM recipients r
        WHERE r.message_pk = m.pk AND r.status NOT IN ('unconfirmed', 'delivered', 'failed', 'not_sent')
    ) AS complete,
    m.redacted_at
FROM messages m
LEFT JOIN message_ids shown ON shown.message_pk = m.pk AND NOT EXISTS (
    SELECT 1 FROM message_ids other
    WHERE other.message_pk = shown.message_pk AND (
        other.answered > shown.answered OR (other.answered = shown.answered AND other.message_id < shown.message_id)
    )
);

CREATE VIEW support_recipients AS
SELECT
    m.tag,
    m.reference,
    shown.message_id,
    m.sender,
    r.recipient,
    r.position,
    r.status,
    r.error_code,
    c.name AS error_name,
    c.advice,
    r.description,
    CASE
        WHEN r.status <> 'delivered' THEN NULL
        WHEN m.receipts THEN 'carrier'
        ELSE 'bandwidth'
    END AS confirmed_by,
    r.invalid_recipient,
    coalesce(
        m.overdue_at < CURRENT_TIMESTAMP
        AND r.status NOT IN ('unconfirmed', 'delivered', 'failed', 'not_sent')
        AND (
            m.send_status IN ('accepted', 'unknown')
            OR (m.send_status = 'submitting' AND m.deadline < CURRENT_TIMESTAMP)
        ),
        FALSE
    ) AS overdue,
    m.overdue_at,
    r.created_at,
    r.occurred_at,
    r.updated_at
FROM recipients r
JOIN messages m ON m.pk = r.message_pk
LEFT JOIN message_ids shown ON shown.message_pk = m.pk AND NOT EXISTS (
    SELECT 1 FROM message_ids other
    WHERE other.message_pk = shown.message_pk AND (
        other.answered > shown.answered OR (other.answered = shown.answered AND other.message_id < shown.message_id)
    )
)
LEFT JOIN error_codes c ON c.code = r.error_code;

CREATE VIEW support_events AS
SELECT
    m.tag,
    m.reference,
    e.message_id,
    e.type,
    e.recipient,
    nullif(e.error_code, 0) AS error_code,
    c.name AS error_name,
    e.description,
    e.occurred_at,
    e.first_received_at,
    e.last_received_at,
    e.deliveries,
    CASE
        WHEN e.type IN ('message-received', 'suggestion-response', 'requested-location-response') THEN 'inbound'
        WHEN e.message_pk IS NULL THEN 'unlinked'
        WHEN e.type NOT IN (
            'message-queued', 'message-sending', 'message-sent', 'message-delivered', 'message-read', 'message-failed'
        ) AND substr(e.type, 1, 17) <> 'message-rejected-' THEN 'unrecognized'
        WHEN r.message_pk IS NULL THEN 'unexpected_recipient'
        WHEN r.status = 'failed' AND e.type IN ('message-delivered', 'message-read')
            THEN CASE WHEN r.invalid_recipient THEN 'extraneous' ELSE 'conflicting' END
        WHEN (e.type = 'message-failed' OR substr(e.type, 1, 17) = 'message-rejected-')
            AND (r.event_pk IS NULL OR r.event_pk <> e.pk) THEN 'superseded'
        ELSE 'applied'
    END AS disposition,
    r.invalid_recipient,
    e.linked_by,
    e.source,
    e.tag AS event_tag,
    e.payload
FROM events e
LEFT JOIN messages m ON m.pk = e.message_pk
LEFT JOIN recipients r ON r.message_pk = e.message_pk AND r.recipient = e.recipient
LEFT JOIN error_codes c ON c.code = e.error_code;

CREATE VIEW support_extraneous AS
-- Which events have this disposition and the next two is said in words for which an index can be chosen. An invalid
-- recipient has always failed; the coalesce keeps PostgreSQL from starting with all of them, which it takes for few.
SELECT * FROM support_events WHERE type IN ('message-delivered', 'message-read') AND coalesce(invalid_recipient, FALSE);

CREATE VIEW support_unlinked AS
SELECT * FROM support_events
WHERE linked_by IS NULL AND type NOT IN ('message-received', 'suggestion-response', 'requested-location-response');

CREATE VIEW support_inbound AS
SELECT * FROM support_events
WHERE linked_by IS NULL AND type IN ('message-received', 'suggestion-response', 'requested-location-response');

CREATE VIEW support_unreadable AS
SELECT reason, deliveries, first_received_at, last_received_at, payload, sha256 FROM unreadable_callbacks;

CREATE VIEW support_overdue AS
SELECT * FROM support_recipients WHERE overdue AND status IN ('pending', 'sending', 'sent');

CREATE VIEW support_failures AS
SELECT
    f.day,
    f.error_code,
    c.name AS error_name,
    c.category,
    c.billable,
    c.advice,
    f.recipients
FROM (
    SELECT ${utc_day_of_occurred_at} AS day, error_code, count(*) AS recipients
    FROM recipients WHERE status = 'failed' GROUP BY ${utc_day_of_occurred_at}, error_code
    ORDER BY day DESC, error_code DESC -- as an index has them, so that the last days can be counted alone
) f
LEFT JOIN error_codes c ON c.code = f.error_code;

CREATE VIEW support_resolutions AS
SELECT m.tag, m.reference, d.send_status, d.reason, d.resolved_by, d.resolved_at
FROM resolutions d
JOIN messages m ON m.pk = d.message_pk;
