"""The walks are followed through every layer, and counted alike each time."""

from tests.benchmarks.walks import measure


def test_every_walk_is_followed_from_the_web_to_the_database(postgres_url: str) -> None:
    walks = measure(postgres_url)

    assert [each.name for each in walks] == ["event", "message", "event", "message"]
    for each in walks:
        assert len(each.files) > 5
        assert len(each.functions) > len(each.files)
        assert {"core", "database", "web"} <= {file.partition("/")[0] for file in each.files}
