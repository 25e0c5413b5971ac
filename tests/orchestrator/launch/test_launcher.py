"""The launcher carries an experiment whole, and the job's command survives the shell."""

import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.launch.launcher import launcher, write_launcher
from orchestrator.launch.submission import Submission, entrypoint, mlflow_variables
from orchestrator.spec import load_spec
from tests.end_to_end.commands import EXPERIMENT

text = st.text(st.characters(codec="utf-8"), max_size=80)


@given(
    experiment=text | st.sampled_from(['"""', 'a"', "\\", '\\"""\n', "\r\n", EXPERIMENT]),
    overrides=st.lists(text),
)
def test_a_launcher_holds_the_experiment_and_its_overrides_unchanged(
    experiment: str, overrides: list[str]
) -> None:
    module: dict[str, object] = {"__name__": "launch"}
    exec(compile(launcher("pairs", experiment, overrides), "launch.py", "exec"), module)
    assert module["NAME"] == "pairs"
    assert module["EXPERIMENT"] == experiment
    assert module["OPTIONS"] == tuple(part for override in overrides for part in ("-s", override))


def test_a_launcher_is_written_once(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    spec = load_spec(tmp_path / "experiment.yaml", [])
    assert "ray submit cluster.yaml" in write_launcher(spec, tmp_path / "launch.py")
    with pytest.raises(ConfigError, match="exists"):
        write_launcher(spec, tmp_path / "launch.py")
    write_launcher(spec, tmp_path / "launch.py", force=True)
    assert runpy.run_path(str(tmp_path / "launch.py"))["EXPERIMENT"] == EXPERIMENT


def test_where_the_product_is_not_installed_the_launcher_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "launch.py").write_text(launcher("pairs", EXPERIMENT))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "launch.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "orchestrator is not installed on the head" in done.stderr
    assert "setup_commands" in done.stderr
    assert done.stderr.splitlines()[-1] == "exit code: 5"


def test_a_launcher_that_nothing_answers_ends_with_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "launch.py").write_text(launcher("pairs", EXPERIMENT))
    done = subprocess.run(
        [sys.executable, "launch.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(sys.path), "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 5
    assert "no dashboard of Ray answers at http://127.0.0.1:9" in done.stdout
    assert done.stdout.splitlines()[-1] == "exit code: 5"


@given(options=st.lists(text.filter(lambda option: "\0" not in option)))
def test_no_option_is_changed_by_the_shell(options: list[str]) -> None:
    assert shlex.split(entrypoint(options))[3:] == options


def test_a_job_is_known_by_its_experiment_and_options() -> None:
    one = Submission("pairs", EXPERIMENT, ("-n", "2"))
    assert one.job == Submission("pairs", EXPERIMENT, ("-n", "2")).job
    assert one.job != Submission("pairs", EXPERIMENT, ("-n", "3")).job
    assert one.job != Submission("pairs", EXPERIMENT + "\n", ("-n", "2")).job


def test_only_what_means_the_same_elsewhere_is_taken_along() -> None:
    login = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "x", "HOME": "/home/ada"}
    server = {"MLFLOW_TRACKING_URI": "https://mlflow.example.com"}
    assert mlflow_variables(login | server) == {
        "MLFLOW_TRACKING_USERNAME": "ada",
        "MLFLOW_TRACKING_PASSWORD": "x",
        **server,
    }
    assert mlflow_variables({"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}) == {}
