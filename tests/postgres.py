"""A PostgreSQL server of a test's own: on loopback, in a temporary folder, gone when the test is over."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PASSWORD = "sekret-Pl4nted/wörd"  # planted: no message, page, log or repr may show it
ESCAPED = "sekret-Pl4nted%2Fw%C3%B6rd"
USER, DATABASE = "planted_user", "schools"


def binaries() -> Path | None:
    """The folder with initdb and postgres, or None."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) + ([Path(found).parent] if found else [])
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


def account() -> str | None:
    """Whom to run the server as: None for ourselves; root must be somebody else, for PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a server, make the user and the database, and give the URL without a driver; stop and remove it after."""
    programs, user = binaries(), account()
    folder = Path(tempfile.mkdtemp(prefix="valib-pg-"))
    as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    quiet = {
        "check": True,
        "cwd": folder,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "stdin": subprocess.DEVNULL,
        "timeout": 60,
        "env": {"PATH": str(programs), "LC_ALL": "C"},
        **as_user,
    }
    try:
        if user:
            shutil.chown(folder, user)
        (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
        (folder / "password").chmod(0o644)
        data, port = folder / "data", free_port()
        subprocess.run(
            [
                programs / "initdb",
                "-D",
                data,
                "-U",
                USER,
                "--pwfile",
                folder / "password",
                *"-A scram-sha-256 -E UTF8 --no-sync".split(),
            ],
            **quiet,
        )
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *options],
            **{k: v for k, v in quiet.items() if k not in ("check", "timeout")},
        )
        try:
            place = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]
            probe = [programs / "pg_isready", *place]
            _await(lambda: subprocess.run(probe, **{**quiet, "check": False}).returncode == 0)
            environment = {**quiet["env"], "PGPASSWORD": PASSWORD}
            subprocess.run([programs / "createdb", *place, DATABASE], **{**quiet, "env": environment})
            yield f"{USER}:{ESCAPED}@127.0.0.1:{port}/{DATABASE}"
        finally:
            process.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown, its children included
            process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(ready: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"the server was not ready after {seconds} seconds")
        time.sleep(0.1)
