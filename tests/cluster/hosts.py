"""Two hosts on one machine: an sshd each on 127.0.0.1 and 127.0.0.2, with home folders of their own."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sysconfig
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import require

ADDRESSES = ("127.0.0.1", "127.0.0.2")


@dataclass(frozen=True)
class Hosts:
    """Where the hosts are, and what it takes to reach them."""

    port: int
    key: Path
    user: str
    bin: Path
    """A folder with an `ssh` that knows the port, for the PATH."""
    homes: tuple[Path, Path]


@contextlib.contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """Start the two below `folder`, end them afterwards."""
    require("sshd", "ssh", "ssh-keygen", "rsync")
    if os.geteuid() != 0:
        pytest.skip("sshd gives its sessions a home of our choice to root only")
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("key", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    homes = (folder / "head", folder / "worker")
    programs = folder / "bin"
    _write_ssh(programs, port, folder / "key")
    for home in homes:
        _furnish(home)
        _write_ssh(home / ".equipoise" / "bin", port, folder / "key")
    servers = [
        _start_sshd(folder, address, port, home) for address, home in zip(ADDRESSES, homes, strict=True)
    ]
    try:
        for address in ADDRESSES:
            _wait_for(address, port)
        yield Hosts(port, folder / "key", getpass.getuser(), programs, homes)
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(10)


def _write_ssh(folder: Path, port: int, key: Path) -> None:
    """An `ssh` that knows port and key: it takes `~` for the user's real home, where the head's key is not."""
    folder.mkdir(parents=True)
    ssh = folder / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F /dev/null -p {port} -i {key} "$@"\n')
    ssh.chmod(0o755)


def _furnish(home: Path) -> None:
    """A home with a virtual environment that sees this one's packages, so that only Equipoise is to be installed."""
    environment = home / ".equipoise" / "venv"
    venv.create(environment, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    for name, module in (("pip", "pip._internal.cli.main"), ("ray", "ray.scripts.scripts")):
        script = environment / "bin" / name
        script.write_text(
            f"#!{environment / 'bin' / 'python'}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)


def _start_sshd(folder: Path, address: str, port: int, home: Path) -> "subprocess.Popen[bytes]":
    config = folder / f"sshd_{address}"
    config.write_text(
        f"""
ListenAddress {address}:{port}
HostKey {folder / "host"}
AuthorizedKeysFile {folder / "key.pub"}
PidFile none
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
MaxStartups 100
SetEnv HOME={home}
"""
    )
    with (folder / f"sshd_{address}.log").open("wb") as log:
        return subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stdout=log, stderr=log)


def _wait_for(address: str, port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        assert time.monotonic() < deadline, f"no sshd at {address}:{port}"
        time.sleep(0.1)
