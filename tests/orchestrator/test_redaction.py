"""Secrets are cut out, and nothing else is."""

from pathlib import Path

import pytest

from orchestrator.redaction import has_login, redacted


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("cannot reach http://me:hush@host:5000/a", "cannot reach http://***@host:5000/a"),
        (
            "postgresql+psycopg2://u:p%40ss@db/x and s3://bucket/a@b",
            "postgresql+psycopg2://***@db/x and s3://bucket/a@b",
        ),
        ("token-only: https://ghp_abc@host", "token-only: https://***@host"),
        ("mail a@b.org, http://host/a@b, x://y z@w", "mail a@b.org, http://host/a@b, x://y z@w"),
    ],
)
def test_logins_in_addresses_are_cut_out(said: str, kept: str) -> None:
    assert redacted(said) == kept
    assert has_login(said) == (said != kept)


def test_values_of_secret_variables_are_cut_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "correct horse battery")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path))
    monkeypatch.setenv("SHORT_TOKEN", "epoch")
    monkeypatch.setenv("HARMLESS", "accuracy")
    said = f"401 for correct horse; correct horse battery; epoch 3, accuracy, {tmp_path}"
    assert redacted(said) == f"401 for ***; ***; epoch 3, accuracy, {tmp_path}"
