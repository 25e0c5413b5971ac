"""The wheel has everything in it: installed elsewhere, without the checkout, the demo runs."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.end_to_end.commands import run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new virtual environment: our packages from the wheel, all others from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, so that nothing is built into the checkout
    source.mkdir()
    for package in ("orchestrator", "trainables", "search_spaces"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "dist")]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")

    environment = folder / "environment"
    venv.create(environment)
    bin_folder = environment / "bin"
    packages = subprocess.run(
        [bin_folder / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # As a plain path: an editable install's own .pth files are not followed from there.
    (Path(packages) / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(bin_folder / "python"), "install", "--no-deps"]
    subprocess.run(
        [*install, "--no-index", "--ignore-installed", str(wheel)], check=True, capture_output=True
    )
    return bin_folder


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    where = (
        "import orchestrator, search_spaces, trainables; print(orchestrator.__file__, trainables.__file__)"
    )
    found = run(tmp_path, "-c", where, command=(str(installed / "python"),), extra={"PYTHONPATH": ""})
    assert found.returncode == 0, found.stderr
    assert all(path.startswith(str(installed.parent)) for path in found.stdout.split()), found.stdout
    demo = ("demo", "-n", "2", "-s", "training.epochs=1")
    done = run(tmp_path, *demo, command=(str(installed / "equipoise"),), extra={"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    assert "digits-pair-001 finished: 2 trials" in done.stdout
