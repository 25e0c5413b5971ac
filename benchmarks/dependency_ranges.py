"""Which newest releases of what we depend on lie outside the range that we declare: a report, which never fails.

    python benchmarks/dependency_ranges.py

Declared in `pyproject.toml`, pinned in `constraints.txt`, newest by `pip index versions`, which asks the index that
pip is configured for.
"""

import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
AT_ONCE = 8
ROW = "{:<18} {:<16} {:<10} {:<10} {}"


def newest(requirement: Requirement) -> str:
    """The newest release, `?` if the index does not say."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "index",
        "versions",
        requirement.name,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.match(r"\S+ \((.+)\)", done.stdout)
    return found[1] if found else "?"


def main() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = [
        Requirement(text) for text in [*project["dependencies"], *project["optional-dependencies"]["timm"]]
    ]
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        releases = list(threads.map(newest, declared))
    print(ROW.format("dependency", "range", "pinned", "newest", ""))
    for requirement, release in zip(declared, releases, strict=True):
        own = pinned.get(canonicalize_name(requirement.name), "-")
        outside = release != "?" and not requirement.specifier.contains(release, prereleases=True)
        note = "outside the range" if outside else ""
        print(ROW.format(requirement.name, str(requirement.specifier), own, release, note).rstrip())


if __name__ == "__main__":
    main()
