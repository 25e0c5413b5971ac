"""Whether two runs are the same, apart from when they happened."""

from pathlib import Path

from tests.end_to_end.kills import curves, endings, in_mlflow, proposals


def overridden(settings: list[str]) -> list[str]:
    """The settings as arguments of a command."""
    return [part for setting in settings for part in ("-s", setting)]


def assert_the_same(
    folders: list[Path], name: str, databases: tuple[str, str] = ("mlflow.db", "mlflow.db")
) -> None:
    """The runs called `name` of two folders, by their journals and by what MLflow has of them."""
    one, other = (folder / "equipoise_runs" / name for folder in folders)
    assert proposals(one) == proposals(other)
    assert curves(one) == curves(other)
    assert endings(one) == endings(other)
    found, expected = (
        in_mlflow(folder / database) for folder, database in zip(folders, databases, strict=True)
    )
    assert found.keys() == expected.keys()
    for run_name, content in expected.items():
        assert found[run_name] == content, run_name
