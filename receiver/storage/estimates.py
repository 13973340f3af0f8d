"""Tells SQLite what a long history looks like, because it cannot know.

It plans by what ANALYZE once counted, and nobody runs that. Without it every status is rare to SQLite, so it would read
all accepted messages to find the overdue ones, sort the whole queue to claim the first of it, and read all recipients,
number by number, to find those that failed. PostgreSQL counts by itself.
"""

from sqlalchemy import Connection, text

MANY, FEW = 1_000_000, 1000

ROWS = {
    ("messages", "messages_send_status_created_at_index"): f"{MANY} {MANY // 5} 1",
    ("messages", "messages_queue_index"): f"{FEW} {FEW // 2} 1 1",
    ("recipients", "recipients_created_at_index"): f"{3 * MANY} 3",
    ("recipients", "recipients_open_index"): f"{FEW} 3 1",
    ("recipients", "recipients_failed_index"): f"{FEW} 1 1",
    ("events", "events_first_received_at_index"): f"{3 * MANY} 1",
    ("events", "events_unlinked_index"): f"{FEW} 1 1",
    ("events", "events_unread_index"): "10 1",
    ("events", "events_keyword_index"): f"{FEW // 10} 10 1",
}
"""Of each index how many rows are in it, and how many of them are alike in its first column, its first two, and so on.
That what waits, is open, has failed or has no message is little beside what is done matters; the numbers do not."""


def write(connection: Connection) -> None:
    """Writes them (sqlite.org/optoverview.html, "Manual Control Of Query Plans Using SQLITE_STAT Tables")."""
    connection.exec_driver_sql("ANALYZE sqlite_schema")  # makes the table below; looks at no other
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    rows = [{"table": table, "index": index, "rows": rows} for (table, index), rows in ROWS.items()]
    connection.execute(text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:table, :index, :rows)"), rows)
