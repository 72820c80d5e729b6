"""A launch as the chaos trial sees it: its command, every process that descends from it, every file that appears."""

import contextlib
import ctypes
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil

RAY_FOLDERS = Path("/tmp")
AGENTS = ("ray::Dash", "ray::RuntimeEnv")
DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
IN_MOVED_TO, IN_CREATE, IN_Q_OVERFLOW = 0x80, 0x100, 0x4000
EVENT = struct.Struct("iIII")


class Watch:
    """Linux's inotify on some folders: no file that appears escapes it, however short its life."""

    def __init__(self, root, folders):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.folders = {}
        for folder in folders:
            Path(root, folder).mkdir(parents=True, exist_ok=True)
            number = self.libc.inotify_add_watch(self.descriptor, bytes(Path(root, folder)), IN_CREATE | IN_MOVED_TO)
            assert number > 0, os.strerror(ctypes.get_errno())
            self.folders[number] = folder

    def read(self):
        """The names that have appeared since the last call, in their order."""
        try:
            content = os.read(self.descriptor, 2**20)
        except BlockingIOError:
            return []
        names, at = [], 0
        while at < len(content):
            number, mask, _, length = EVENT.unpack_from(content, at)
            assert not mask & IN_Q_OVERFLOW, "too many files at once: some have escaped"
            at += EVENT.size + length
            names.append(f"{self.folders[number]}/{content[at - length : at].rstrip(bytes(1)).decode()}")
        return names

    def close(self):
        """Forgets the folders."""
        os.close(self.descriptor)


class Launch:
    """`overlap sweep launch` in a process of its own, again and again if need be; ends with its context.

    Its processes are known by descent alone. Those whose parents have died are remembered from before.
    """

    def __init__(self, path, store, log, max_restarts=1000):
        self.arguments = ["sweep", "launch", str(path), "--store", str(store), "--max-restarts", str(max_restarts)]
        self.log = log
        self.seen: dict[int, psutil.Process] = {}
        self.drivers: list[psutil.Process] = []
        self.starts = 0
        self.staffed = 0  # how many drivers had been seen when the last of them was seen with a worker
        self.command: subprocess.Popen[bytes] | None = None

    def start(self, *more):
        """Runs the command."""
        self.starts += 1
        with self.log.open("ab") as out:
            command = [sys.executable, "-m", "overlap", *self.arguments, *more]
            self.command = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, process_group=0)
        self.seen[self.command.pid] = psutil.Process(self.command.pid)

    @property
    def code(self):
        """How the command has ended; None while it runs."""
        return self.command.poll()

    def look(self):
        """Takes note of every process that is there now; True if there is a new driver."""
        children = {}
        for process in psutil.process_iter(["ppid"]):
            children.setdefault(process.info["ppid"], []).append(process)
        parents = [process for process in self.seen.values() if process.is_running()]
        while parents:
            for child in children.get(parents.pop().pid, ()):
                if self.seen.get(child.pid) != child:
                    self.seen[child.pid] = child
                    parents.append(child)
        mine = children.get(self.command.pid, ()) if self.code is None else ()
        new = [child for child in mine if child not in self.drivers and "overlap" in command_line(child)]
        self.drivers += new
        if self.staffed < len(self.drivers) and self.find("worker"):
            self.staffed = len(self.drivers)
        return bool(new)

    @property
    def driver(self):
        """The driver that works now; None while there is none."""
        last = self.drivers[-1] if self.drivers else None
        return last if last and is_alive(last) else None

    def find(self, target):
        """The processes that this target names now."""
        driver = self.driver
        if target == "supervisor":
            return [self.seen[self.command.pid]]
        if driver is None:
            return []
        tree = descendants(driver)
        if target in ("driver", "all"):
            return [driver, *(tree if target == "all" else [])]
        return [process for process in tree if _is(target, process, f"/ov-{driver.pid}-")]

    def alive(self):
        """Every process of this launch that is still there."""
        self.look()
        return [process for process in self.seen.values() if is_alive(process)]

    def folders(self):
        """The Ray folders that its drivers have left behind."""
        return [folder for driver in self.drivers for folder in RAY_FOLDERS.glob(f"ov-{driver.pid}-*")]

    def keep_ray_logs(self, folder):
        """Copies what Ray has logged out of folders that will be deleted."""
        for logs in [logs for ray in self.folders() for logs in ray.glob("session_2*/logs")]:
            with contextlib.suppress(OSError):  # some go while they are copied
                shutil.copytree(logs, folder / logs.parts[2], dirs_exist_ok=True)

    def end(self):
        """Kills whatever is left of it, and what that starts meanwhile."""
        while left := self.alive():
            for process in left:
                kill(process)
            self.command.wait()
            time.sleep(0.1)


def _is(target, process, folder):
    line = command_line(process)
    if target == "agent":
        return line.startswith(AGENTS)
    if target == "worker":
        return line.startswith("ray::") and not line.startswith(AGENTS)
    program = {"raylet": "raylet", "gcs": "gcs_server"}[target]
    return Path(line.split(" ")[0]).name == program and folder in line


def kill(process):
    """kill -9, unless it has ended by itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def is_alive(process):
    """True unless it has ended, whether or not somebody has taken note of its end."""
    try:
        return process.is_running() and process.status() not in DEAD
    except psutil.NoSuchProcess:
        return False


def command_line(process):
    """Its arguments; empty if it has ended."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def descendants(process):
    """Everything below a process; nothing if it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
