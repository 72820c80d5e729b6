"""A real Ceph object gateway on this machine, in memory and in a private folder; `python -m servers.ceph` by hand.

Wants the programs of Debian's packages ceph-mon, ceph-osd and radosgw (`apt-get install --no-install-recommends`).
One monitor, one OSD on memstore and one gateway, without systemd or anything below /etc/ceph.
With cephx: without it a program may send its first command before it has the monitor map, which tells it the fsid,
and is refused ("wrong fsid").
"""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from servers.process import HOST, S3Server, answers, free_port, running, wait_until

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph-authtool", "monmaptool", "ceph")
ACCESS_KEY, SECRET_KEY = "overlaptestkey", "overlaptestsecret"
COMMAND_TIMEOUT_S = 120
CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = v1:{host}:{mon_port}
public addr = {host}
cluster addr = {host}
ms bind ipv6 = false
ms type = async+posix
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 4
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
mon data avail crit = 1
osd memory target = 939524096
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
crash dir = {folder}/crash
keyring = {folder}/keyring
mon data = {folder}/mon
osd data = {folder}/osd

[client.rgw.x]
rgw data = {folder}/rgw
rgw frontends = beast endpoint={host}:{port}
rgw thread pool size = 32
"""
ENTITIES = ("mon.", "osd.0", "client.admin", "client.rgw.x")
ALL_CAPS = "".join(f'caps {service} = "allow *"\n' for service in ("mon", "osd", "mgr"))


@contextlib.contextmanager
def ceph_server() -> Iterator[S3Server]:
    """A Ceph gateway, no buckets. Unlike `moto_server` it checks signatures, and refuses every If-Match from obstore.

    Raises:
        RuntimeError: its programs are not installed, or one of them did not come up.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise RuntimeError(
            f"no {', '.join(missing)} on PATH; apt-get install --no-install-recommends ceph-mon ceph-osd radosgw"
        )
    with tempfile.TemporaryDirectory(prefix="ceph-") as name, contextlib.ExitStack() as daemons:
        folder, port = Path(name), free_port()
        _configure(folder, port)
        _start_monitor(daemons, folder)
        _start_osd(daemons, folder)
        _make_user(folder)
        _start_gateway(daemons, folder, port)
        yield S3Server(host=HOST, port=port, access_key=ACCESS_KEY, secret_key=SECRET_KEY, checks_signatures=True)


def _configure(folder: Path, port: int) -> None:
    fsid, mon_port = uuid.uuid4(), free_port()
    text = CONFIGURATION.format(fsid=fsid, host=HOST, mon_port=mon_port, port=port, folder=folder)
    (folder / "ceph.conf").write_text(text)
    for data in ("mon", "osd", "rgw", "crash"):
        (folder / data).mkdir()
    key = _call(folder, "ceph-authtool", "--gen-print-key").decode().strip()
    (folder / "keyring").write_text("".join(f"[{who}]\nkey = {key}\n{ALL_CAPS}" for who in ENTITIES))
    address = f"[v1:{HOST}:{mon_port}]"
    _call(folder, "monmaptool", "--create", "--fsid", str(fsid), "--addv", "a", address, str(folder / "monmap"))


def _start_monitor(daemons: contextlib.ExitStack, folder: Path) -> None:
    files = ("--monmap", str(folder / "monmap"), "--keyring", str(folder / "keyring"))
    _call(folder, "ceph-mon", "--mkfs", "-i", "a", *files)
    _start(daemons, folder, ["ceph-mon", "-i", "a", "-f"])
    _call(folder, "ceph", "osd", "stat")  # waits for the monitor


def _start_osd(daemons: contextlib.ExitStack, folder: Path) -> None:
    osd = str(uuid.uuid4())
    _call(folder, "ceph", "osd", "new", osd, "0")
    _call(folder, "ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
    process, log = _start(daemons, folder, ["ceph-osd", "-i", "0", "-f"])
    wait_until(lambda: b"1 up" in _call(folder, "ceph", "osd", "stat"), process, log)


def _make_user(folder: Path) -> None:
    keys = ("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
    _call(folder, "radosgw-admin", "-n", "client.rgw.x", "user", "create", "--uid=x", "--display-name=x", *keys)


def _start_gateway(daemons: contextlib.ExitStack, folder: Path, port: int) -> None:
    process, log = _start(daemons, folder, ["radosgw", "-n", "client.rgw.x", "-f"])
    wait_until(lambda: answers(port), process, log)


def _start(daemons: contextlib.ExitStack, folder: Path, command: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / f"{command[0]}.out"
    program, *arguments = command
    process = daemons.enter_context(running([program, "-c", str(folder / "ceph.conf"), *arguments], log))
    return process, log


def _call(folder: Path, program: str, *arguments: str) -> bytes:
    command = [program, "-c", str(folder / "ceph.conf"), *arguments]
    done = subprocess.run(command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return done.stdout


def main() -> None:
    """Runs one until Ctrl-C and prints the variables for a shell."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ceph_server() as server:
        print("\n".join(f"export {name}={value}" for name, value in server.environment.items()), flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
