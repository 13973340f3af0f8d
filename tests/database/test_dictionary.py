"""The data dictionary matches the comments in the schema, and every table and column has one."""

from migrations.dictionary import PAGE, WORDS, page
from receiver.database import schema
from receiver.database.database import Database
from tests.support import pages
from tests.support.stored import change


def written(database: Database) -> str:
    with database.read() as session:
        return page(session.connection())


def test_the_page_is_that_of_the_schema(postgres: Database) -> None:
    assert PAGE.read_text(encoding="utf-8") == written(postgres), "run `make dictionary`"


def test_a_comment_that_changes_changes_the_page(postgres: Database) -> None:
    change(postgres, "COMMENT ON COLUMN support_messages.tag IS 'Changed.'")

    assert "| `tag` | character varying(40) | Changed. |" in written(postgres)


def test_migrating_writes_the_comments_again(postgres_url: str) -> None:
    with Database(postgres_url) as database:
        change(database, "COMMENT ON VIEW support_messages IS 'Changed.'")

    schema.upgrade(postgres_url)

    with Database(postgres_url) as database:
        assert PAGE.read_text(encoding="utf-8") == written(database)


def test_every_word_has_a_meaning() -> None:
    assert [word for words in WORDS.values() for word in words if not word.meaning] == []


def test_the_page_for_support_links_it() -> None:
    assert f"(../{PAGE.relative_to(pages.ROOT).as_posix()})" in pages.SUPPORT.text
