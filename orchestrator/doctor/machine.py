"""This machine: packages, memory, disks, sockets, GPUs."""

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from orchestrator.doctor.finding import Finding

GIB = 2**30
OLDEST_PYTHON = (3, 11)
SHARED_MEMORY_BYTES = 256 * 2**20
"""Below this Ray's object store goes to /tmp, which is slow; results of trials are small."""
DISK_BYTES = 2 * GIB
DISK_SHARE = 0.05
"""Ray stops giving out work on a disk that is fuller than 95 %."""
LONGEST_SOCKET = 107
"""Characters of a Unix socket's path."""
SOCKET_BELOW = len("/eqp-xxxxxxxx/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store_x")


def packages() -> Iterator[Finding]:
    """Versions installed, against what this project was made for; torch's, against torchvision's wish."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        yield Finding("python", "problem", f"Python {sys.version.split()[0]}", f"Use {wanted} or newer.")
    wrong = []
    for name in ("equipoise", "torchvision"):
        try:
            wishes = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            if name == "equipoise":
                yield Finding(
                    "packages",
                    "warning",
                    "equipoise itself is not installed: versions are not known",
                    "pip install -e . in its folder.",
                )
            continue
        for wish in wishes:
            if wish.marker is not None and not wish.marker.evaluate({"extra": ""}):
                continue
            if (reason := _unmet(wish)) is not None:
                wrong.append(f"{name} needs {wish.name}{wish.specifier}: {reason}")
    if wrong:
        yield Finding(
            "packages",
            "problem",
            "; ".join(wrong),
            "pip install -c constraints.txt equipoise (tested together).",
        )
    else:
        torch_version = version("torch")
        yield Finding(
            "packages", "ok", f"Python {sys.version.split()[0]}, torch {torch_version}, ray {version('ray')}"
        )


def _unmet(wish: Requirement) -> str | None:
    try:
        found = version(wish.name)
    except PackageNotFoundError:
        return "it is not installed"
    return None if wish.specifier.contains(found.split("+")[0], prereleases=True) else f"{found} is installed"


def shared_memory(folder: Path = Path("/dev/shm")) -> Finding:  # noqa: S108 - the kernel's
    """Room for Ray's object store."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return Finding(
            "shared-memory", "warning", f"there is no {folder}", "Ray uses /tmp instead, which is slower."
        )
    if not os.access(folder, os.W_OK):
        return Finding(
            "shared-memory", "warning", f"{folder} cannot be written", "Ray uses /tmp instead: slower."
        )
    if free < SHARED_MEMORY_BYTES:
        cure = "Give the container more: docker run --shm-size=1g; Ray uses /tmp meanwhile, which is slower."
        return Finding("shared-memory", "warning", f"{free >> 20} MiB are free in {folder}", cure)
    return Finding("shared-memory", "ok", f"{free / GIB:.1f} GiB are free in {folder}")


def memory() -> Finding:
    """Free memory: a slot takes about one GiB before its model."""
    free = psutil.virtual_memory().available
    if free < GIB:
        return Finding(
            "memory", "problem", f"{free >> 20} MiB are free", "A slot needs about 1 GiB: end something."
        )
    return Finding("memory", "ok", f"{free / GIB:.1f} GiB are free")


def disks(places: Mapping[str, Path]) -> Iterator[Finding]:
    """Whether results, cache and temporary files can be written, with room; by the key that moves them."""
    for key, place in places.items():
        folder = place.absolute()
        while not folder.exists():
            folder = folder.parent
        code = f"disk:{key}"
        cure = f"Set {key} to another folder."
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            yield Finding(code, "problem", f"{place} cannot be written", cure)
            continue
        usage = shutil.disk_usage(folder)
        said = f"{usage.free / GIB:.1f} GiB are free for {place}"
        if usage.free < usage.total * DISK_SHARE:
            share = f"{100 * (1 - usage.free / usage.total):.0f} % of the disk are full"
            yield Finding(
                code, "problem", f"{said}: {share}, and Ray stops at 95 %", f"Free some. Or: {cure}"
            )
        elif usage.free < DISK_BYTES:
            yield Finding(code, "warning", said, f"Free some. Or: {cure}")
        else:
            yield Finding(code, "ok", said)


def sockets() -> Finding:
    """Whether processes of this machine can talk to each other as Ray's do."""
    folder = tempfile.gettempdir()
    if len(folder) + SOCKET_BELOW > LONGEST_SOCKET:
        most = LONGEST_SOCKET - SOCKET_BELOW
        return Finding(
            "sockets",
            "problem",
            f"the temporary folder {folder} is too long for Ray's sockets",
            f"Set TMPDIR to a path of at most {most} characters.",
        )
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=2).close()
    except OSError as error:
        return Finding(
            "sockets",
            "problem",
            f"127.0.0.1 cannot be reached: {error.strerror or error}",
            "Allow the loopback interface (firewall, container, network namespace).",
        )
    return Finding("sockets", "ok", "processes can talk over 127.0.0.1")


def gpus() -> Finding:
    """Whether torch sees the GPUs that the driver sees."""
    driver = sorted(path.name for path in Path("/proc/driver/nvidia/gpus").glob("*"))
    if not driver:
        return Finding("gpus", "ok", "the driver shows none: trials run on the CPU")
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen < len(driver) and visible is None:
        built = torch.version.cuda or "no CUDA"
        return Finding(
            "gpus",
            "problem",
            f"the driver shows {len(driver)} GPUs, torch {torch.__version__} sees {seen}",
            f"torch was built for {built}: install a build that fits the driver (nvidia-smi shows its CUDA version).",
        )
    return Finding("gpus", "ok", f"torch sees {seen} of {len(driver)} GPUs")
