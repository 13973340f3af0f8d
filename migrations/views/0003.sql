CREATE VIEW support_messages AS
SELECT
    s.*,
    ${utc}s.expiration${as_text} AS expiration_utc,
    ${utc}s.created_at${as_text} AS created_utc,
    ${utc}s.submitted_at${as_text} AS submitted_utc,
    ${utc}s.updated_at${as_text} AS updated_utc,
    ${utc}s.redacted_at${as_text} AS redacted_utc
FROM (
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
        CASE
            WHEN m.send_status = 'refused' THEN ${refused_because_in_words} || CASE
                WHEN m.refused_because IN ('bandwidth', 'rate_limited')
                THEN coalesce(' Bandwidth said: ' || nullif(m.error_description, ''), '')
                ELSE ''
            END
            WHEN m.send_status = 'submitting' AND m.deadline < CURRENT_TIMESTAMP THEN ${unknown_in_words}
            WHEN m.send_status = 'accepted' AND shown.message_id IS NULL AND EXISTS (
                SELECT 1 FROM resolutions d WHERE d.message_pk = m.pk
            ) THEN 'A person decided that Bandwidth has it; Bandwidth has not said so.'
            ELSE ${send_status_in_words}
        END || CASE
            WHEN m.refused_because = 'operator' OR (m.send_status = 'accepted' AND shown.message_id IS NULL)
            THEN coalesce((
                SELECT ' Decided by ' || d.resolved_by || coalesce(': ' || nullif(d.reason, ''), '.')
                FROM resolutions d WHERE d.message_pk = m.pk ORDER BY d.pk DESC LIMIT 1
            ), '')
            ELSE ''
        END AS reason,
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
        m.redacted_at,
        m.asked_by,
        m.pk AS key
    FROM messages m
    LEFT JOIN message_ids shown ON shown.message_pk = m.pk AND NOT EXISTS (
        SELECT 1 FROM message_ids other
        WHERE other.message_pk = shown.message_pk AND (
            other.answered > shown.answered OR (other.answered = shown.answered AND other.message_id < shown.message_id)
        )
    )
) s;

CREATE VIEW support_recipients AS
SELECT
    s.tag,
    s.reference,
    s.message_id,
    s.sender,
    s.recipient,
    s.position,
    s.status,
    s.error_code,
    s.error_name,
    s.known || CASE WHEN s.overdue THEN ' It is overdue: more should be known by now.' ELSE '' END AS reason,
    s.advice,
    s.remove_number,
    s.billable,
    s.description,
    s.confirmed_by,
    s.invalid_recipient,
    s.overdue,
    s.overdue_at,
    s.created_at,
    s.occurred_at,
    s.updated_at,
    s.redacted_at,
    s.key,
    ${utc}s.overdue_at${as_text} AS overdue_utc,
    ${utc}s.created_at${as_text} AS created_utc,
    ${utc}s.occurred_at${as_text} AS occurred_utc,
    ${utc}s.updated_at${as_text} AS updated_utc,
    ${utc}s.redacted_at${as_text} AS redacted_utc
FROM (
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
        CASE
            WHEN r.status IN ('failed', 'unconfirmed') THEN ${status_in_words} || ' ' || coalesce(
                c.reason,
                'Bandwidth said: ' || CASE WHEN r.error_code IS NULL THEN nullif(r.description, '') END,
                (SELECT g.reason FROM error_ranges g WHERE coalesce(r.error_code, 0) BETWEEN first_code AND last_code)
            )
            WHEN r.status = 'delivered' THEN 'Delivered. ' || ${confirmed_by_in_words}
            WHEN r.status = 'not_sent' THEN ${refused_because_in_words} || CASE
                WHEN m.refused_because IN ('bandwidth', 'rate_limited')
                THEN coalesce(' Bandwidth said: ' || nullif(m.error_description, ''), '')
                ELSE ''
            END
            WHEN r.status <> 'pending' THEN ${status_in_words}
            WHEN m.send_status = 'submitting' AND m.deadline < CURRENT_TIMESTAMP THEN ${unknown_in_words}
            WHEN m.send_status = 'accepted' AND shown.message_id IS NULL AND EXISTS (
                SELECT 1 FROM resolutions d WHERE d.message_pk = m.pk
            ) THEN 'A person decided that Bandwidth has it; Bandwidth has not said anything about this recipient.'
            WHEN m.send_status = 'accepted' THEN 'Bandwidth has it, and has not said anything about this recipient.'
            ELSE ${send_status_in_words}
        END AS known,
        CASE
            WHEN r.status IN ('failed', 'unconfirmed') THEN coalesce(
                c.advice,
                (SELECT g.advice FROM error_ranges g WHERE coalesce(r.error_code, 0) BETWEEN first_code AND last_code)
            )
        END AS advice,
        r.invalid_recipient OR coalesce(c.remove_number, FALSE) AS remove_number,
        c.billable,
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
        r.updated_at,
        m.redacted_at,
        r.message_pk AS key
    FROM recipients r
    JOIN messages m ON m.pk = r.message_pk
    LEFT JOIN message_ids shown ON shown.message_pk = m.pk AND NOT EXISTS (
        SELECT 1 FROM message_ids other
        WHERE other.message_pk = shown.message_pk AND (
            other.answered > shown.answered OR (other.answered = shown.answered AND other.message_id < shown.message_id)
        )
    )
    LEFT JOIN error_codes c ON c.code = r.error_code
) s;

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
    r.status AS recipient_status,
    e.linked_by,
    e.source,
    e.tag AS event_tag,
    e.payload,
    e.pk AS key,
    ${utc}e.occurred_at${as_text} AS occurred_utc,
    ${utc}e.first_received_at${as_text} AS first_received_utc,
    ${utc}e.last_received_at${as_text} AS last_received_utc
FROM events e
LEFT JOIN messages m ON m.pk = e.message_pk
LEFT JOIN recipients r ON r.message_pk = e.message_pk AND r.recipient = e.recipient
LEFT JOIN error_codes c ON c.code = e.error_code;

CREATE VIEW support_extraneous AS
-- Which events have this disposition and the next three is said in words for which an index can be chosen. An invalid
-- recipient has always failed; the coalesce keeps PostgreSQL from starting with all of them, which it takes for few.
SELECT * FROM support_events WHERE type IN ('message-delivered', 'message-read') AND coalesce(invalid_recipient, FALSE);

CREATE VIEW support_conflicting AS
SELECT * FROM support_events
WHERE type IN ('message-delivered', 'message-read')
    AND coalesce(recipient_status, '') = 'failed' AND NOT coalesce(invalid_recipient, TRUE);

CREATE VIEW support_unlinked AS
SELECT * FROM support_events
WHERE linked_by IS NULL AND type NOT IN ('message-received', 'suggestion-response', 'requested-location-response');

CREATE VIEW support_inbound AS
-- The columns of support_events, and what the core read of the payload when the event was stored; null until it did.
SELECT
    CAST(NULL AS varchar(40)) AS tag,
    CAST(NULL AS varchar(255)) AS reference,
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
    'inbound' AS disposition,
    CAST(NULL AS boolean) AS invalid_recipient,
    CAST(NULL AS varchar(16)) AS recipient_status,
    e.linked_by,
    e.source,
    e.tag AS event_tag,
    e.payload,
    e.pk AS key,
    ${utc}e.occurred_at${as_text} AS occurred_utc,
    ${utc}e.first_received_at${as_text} AS first_received_utc,
    ${utc}e.last_received_at${as_text} AS last_received_utc,
    e.sender,
    -- What the previous version redacts beside this one is blanked here at once, and in the table by the next tidying.
    CASE WHEN e.payload <> '{"redacted":true}' THEN e.text END AS text,
    CASE WHEN e.payload <> '{"redacted":true}'
        THEN (SELECT ${join_text}(value, ' ') FROM ${elements_of}(e.members${as_json})) END AS group_members,
    CASE WHEN e.payload <> '{"redacted":true}'
        THEN (SELECT ${join_text}(value, ' ') FROM ${elements_of}(e.media${as_json})) END AS media,
    -- Of what was redacted nobody can say it any more.
    CASE WHEN e.payload <> '{"redacted":true}' THEN e.keyword IN (
        'STOP', 'STOPALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPTOUT'
    ) END AS opt_out,
    -- A YES is one only right after an opt-out of the same pair, in the order in which they were said.
    CASE WHEN e.payload <> '{"redacted":true}' THEN e.keyword IN ('START', 'UNSTOP') OR (
        e.keyword = 'YES' AND coalesce((
            SELECT b.keyword FROM events b
            WHERE b.recipient = e.recipient AND b.sender = e.sender AND b.keyword <> '' AND (
                coalesce(b.occurred_at, b.first_received_at), b.pk
            ) < (coalesce(e.occurred_at, e.first_received_at), e.pk)
            ORDER BY coalesce(b.occurred_at, b.first_received_at) DESC, b.pk DESC LIMIT 1
        ), '') IN ('STOP', 'STOPALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPTOUT')
    ) END AS opt_in
FROM events e
LEFT JOIN error_codes c ON c.code = e.error_code
WHERE e.linked_by IS NULL
    AND e.type IN ('message-received', 'suggestion-response', 'requested-location-response');

CREATE VIEW support_unreadable AS
SELECT
    reason,
    deliveries,
    first_received_at,
    last_received_at,
    payload,
    sha256,
    pk AS key,
    ${utc}first_received_at${as_text} AS first_received_utc,
    ${utc}last_received_at${as_text} AS last_received_utc
FROM unreadable_callbacks;

CREATE VIEW support_overdue AS
SELECT * FROM support_recipients WHERE overdue AND status IN ('pending', 'sending', 'sent');

CREATE VIEW support_failures AS
SELECT
    f.day,
    f.error_code,
    c.name AS error_name,
    coalesce(
        c.category,
        (SELECT g.category FROM error_ranges g WHERE coalesce(f.error_code, 0) BETWEEN first_code AND last_code)
    ) AS category,
    c.billable,
    coalesce(
        c.reason,
        (SELECT g.reason FROM error_ranges g WHERE coalesce(f.error_code, 0) BETWEEN first_code AND last_code)
    ) AS reason,
    coalesce(
        c.advice,
        (SELECT g.advice FROM error_ranges g WHERE coalesce(f.error_code, 0) BETWEEN first_code AND last_code)
    ) AS advice,
    coalesce(c.remove_number, FALSE) AS remove_number,
    f.recipients
FROM (
        SELECT ${utc_day_of_occurred_at} AS day, error_code, count(*) AS recipients
        FROM recipients WHERE status = 'failed' GROUP BY ${utc_day_of_occurred_at}, error_code
        ORDER BY day DESC, error_code DESC -- as an index has them, so that the last days can be counted alone
) f
LEFT JOIN error_codes c ON c.code = f.error_code;

CREATE VIEW support_resolutions AS
SELECT
    m.tag,
    m.reference,
    d.send_status,
    d.reason,
    d.resolved_by,
    d.resolved_at,
    d.pk AS key,
    ${utc}d.resolved_at${as_text} AS resolved_utc
FROM resolutions d
JOIN messages m ON m.pk = d.message_pk;

CREATE VIEW support_error_codes AS
SELECT code, name, category, billable, remove_number, reason, advice FROM error_codes;

CREATE VIEW support_opt_outs AS
-- Of each pair the opt-outs after which nobody opted in: after an opt-out every YES is an opt-in, and a YES that is none
-- follows no opt-out, so that it changes nothing here. Said at is when it occurred, else when it was first received.
SELECT
    s.*,
    ${utc}s.opted_out_at${as_text} AS opted_out_utc
FROM (
    SELECT
        k.recipient,
        k.sender,
        max(CASE WHEN k.latest = 1 THEN k.keyword END) AS keyword,
        min(k.said_at) AS opted_out_at
    FROM (
        SELECT
            recipient,
            sender,
            keyword,
            coalesce(occurred_at, first_received_at) AS said_at,
            row_number() OVER (
                PARTITION BY recipient, sender ORDER BY coalesce(occurred_at, first_received_at) DESC, pk DESC
            ) AS latest,
            sum(CASE WHEN keyword IN ('START', 'UNSTOP', 'YES') THEN 1 ELSE 0 END) OVER (
                PARTITION BY recipient, sender ORDER BY coalesce(occurred_at, first_received_at) DESC, pk DESC
            ) AS opt_ins
        FROM events
        WHERE keyword <> '' AND sender IS NOT NULL AND payload <> '{"redacted":true}'
    ) k
    WHERE k.opt_ins = 0
    GROUP BY k.recipient, k.sender
) s;

CREATE VIEW support_conversations AS
-- A message to a group is a row of each of its pairs; so is what a member of the group wrote to it.
SELECT
    s.*,
    ${utc}s.said_at${as_text} AS said_utc,
    ${utc}s.stored_at${as_text} AS stored_utc
FROM (
    SELECT
        m.sender AS our_number,
        r.recipient AS their_number,
        r.created_at AS said_at,
        r.created_at AS stored_at,
        'out' AS direction,
        m.text,
        (SELECT ${join_text}(value, ' ') FROM ${elements_of}(m.media${as_json})) AS media,
        (
            SELECT ${join_text}(g.recipient, ' ')
            FROM (SELECT o.recipient FROM recipients o WHERE o.message_pk = m.pk ORDER BY o.position) g
        ) AS group_members,
        m.tag,
        m.reference,
        r.status,
        r.error_code,
        m.pk AS key
    FROM recipients r
    JOIN messages m ON m.pk = r.message_pk
    UNION ALL
    SELECT
        e.recipient AS our_number,
        e.sender AS their_number,
        coalesce(e.occurred_at, e.first_received_at) AS said_at,
        e.first_received_at AS stored_at,
        'in' AS direction,
        e.text,
        (SELECT ${join_text}(value, ' ') FROM ${elements_of}(e.media${as_json})) AS media,
        (SELECT ${join_text}(value, ' ') FROM ${elements_of}(e.members${as_json})) AS group_members,
        CAST(NULL AS varchar(40)) AS tag,
        CAST(NULL AS varchar(255)) AS reference,
        CAST(NULL AS varchar(16)) AS status,
        nullif(e.error_code, 0) AS error_code,
        e.pk AS key
    FROM events e
    WHERE e.linked_by IS NULL AND e.sender IS NOT NULL AND e.payload <> '{"redacted":true}'
        AND e.type IN ('message-received', 'suggestion-response', 'requested-location-response')
) s;

CREATE VIEW support_sending AS
SELECT
    CASE
        WHEN s.credentials_refused_since IS NOT NULL AND s.paused_until IS NOT NULL
        THEN 'Bandwidth refuses the credentials, and asked to wait (429): what is queued waits.'
        WHEN s.credentials_refused_since IS NOT NULL
        THEN 'Bandwidth refuses the credentials: what is queued waits, and a message is tried now and then.'
        WHEN s.paused_until IS NOT NULL THEN 'Bandwidth asked to wait (429): nothing is sent until then.'
        WHEN s.queued > 0 THEN 'Nothing holds up sending; what is queued goes out at its pace while a worker runs.'
        ELSE 'Nothing is queued, and nothing holds up sending.'
    END AS reason,
    s.*,
    ${utc}s.oldest_queued_at${as_text} AS oldest_queued_utc,
    ${utc}s.paused_until${as_text} AS paused_until_utc,
    ${utc}s.credentials_refused_since${as_text} AS credentials_refused_since_utc,
    ${utc}s.credentials_tried_at${as_text} AS credentials_tried_utc
FROM (
    SELECT
        (SELECT count(*) FROM messages WHERE send_status = 'queued') AS queued,
        (SELECT min(created_at) FROM messages WHERE send_status = 'queued') AS oldest_queued_at,
        (SELECT count(*) FROM messages WHERE send_status = 'unknown')
            + (SELECT count(*) FROM messages WHERE send_status = 'submitting' AND deadline < CURRENT_TIMESTAMP)
            AS unknown,
        -- Whatever was submitted since then was changed since then, which an index knows.
        (
            SELECT coalesce(sum(units), 0) FROM messages
            WHERE updated_at >= ${a_minute_ago} AND submitted_at >= ${a_minute_ago}
        ) / CAST(60 AS double precision) AS units_per_second,
        (SELECT paused_until FROM lanes WHERE sender = '' AND paused_until > CURRENT_TIMESTAMP) AS paused_until,
        refused.paused_at AS credentials_refused_since,
        refused.updated_at AS credentials_tried_at,
        refused.error_status,
        refused.error_type
    FROM (SELECT 1 AS one) always
    -- Several credentials may be refused, if some were replaced: of those that were tried last, and lately.
    LEFT JOIN credential_pauses refused ON refused.credentials = (
        SELECT credentials FROM credential_pauses WHERE paused_at IS NOT NULL AND updated_at > ${minutes_ago}
        ORDER BY updated_at DESC, credentials LIMIT 1
    )
) s;
