"""A seeded proxy before an S3 server that fails on purpose: errors, resets, lost acknowledgements, cut bodies.

By hand, before a server on port 9000: `python -m servers.fault_proxy 127.0.0.1 9000 '{"seed": 1, "p503": 0.2}'`.
"""

import contextlib
import http.client
import json
import random
import socket
import struct
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

STATS = "/__stats"
# In the order in which one draw per request is compared with the cumulated probabilities.
FAULTS = ("p503", "p500", "preset", "ptimeout", "plost_ack", "ptrunc", "p403")
REFUSALS = {"p503": (503, "SlowDown"), "p500": (500, "InternalError"), "p403": (403, "AccessDenied")}
NOT_FORWARDED = {"transfer-encoding", "expect", "content-length"}
NOT_RETURNED = {"transfer-encoding", "connection", "content-length"}
SHORTEST_CUT = 100
UPSTREAM_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes wrong: probabilities per request, of which at most one fault comes true, and what holds for all.

    Attributes:
        seed: fixes the sequence of faults; with several clients at once not which request gets which.
        p503: answer SlowDown; the server never sees the request. So for `p500` and `p403`.
        preset: reset the connection; the server never sees the request.
        ptimeout: be silent for `hang` seconds, then reset; the server never sees the request.
        plost_ack: forward a PUT or POST, and reset instead of answering.
        ptrunc: answer a GET of more than 100 bytes with half of them, then reset.
        latency: milliseconds before every request.
        ignore_create_only: take If-None-Match away, as stores do that do not know it. Only before a server that
            checks no signature, since clients sign this header.
        corrupt_bodies: change the middle byte of every object that is read. On the way back, because a signature
            covers what is written; a reader cannot tell it from a store that spoils what it keeps.
    """

    seed: int = 0
    p503: float = 0.0
    p500: float = 0.0
    preset: float = 0.0
    ptimeout: float = 0.0
    plost_ack: float = 0.0
    ptrunc: float = 0.0
    p403: float = 0.0
    hang: float = 30.0
    latency: float = 0.0
    ignore_create_only: bool = False
    corrupt_bodies: bool = False

    def __post_init__(self) -> None:
        total = sum(getattr(self, fault) for fault in FAULTS)
        if total > 1.0 + 1e-9:
            raise ValueError(f"the probabilities of a plan add up to {total}; expected at most 1")


class FaultProxy(ThreadingHTTPServer):
    """A proxy before one server, on a free port of this machine; serves inside its `with` block.

    Args:
        host: address of the server.
        port: its port.
        plan: the fields of `Plan` that are not as by default; an unknown one is a TypeError.
    """

    daemon_threads = False  # so that closing waits for them
    request_queue_size = 128

    def __init__(self, host: str, port: int, plan: dict[str, float]) -> None:
        self.upstream = (host, port)
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._connections: set[socket.socket] = set()
        self.plan = plan
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    @property
    def plan(self) -> dict[str, float]:
        """What goes wrong; a new plan holds from the next request on, and its draws begin with its seed."""
        return self._given

    @plan.setter
    def plan(self, plan: dict[str, float]) -> None:
        parsed = Plan(**plan)
        with self._lock:
            self._given, self._plan, self._random = plan, parsed, random.Random(parsed.seed)

    def stats(self) -> dict[str, int]:
        """How many requests came (`total`), and to how many each fault was done; over all plans."""
        names = ("total", *FAULTS, "ignore_create_only", "corrupt_bodies", "unreachable")
        with self._lock:
            return {name: self._counts[name] for name in names}

    def count(self, name: str) -> None:
        """Adds one to a counter of `stats`."""
        with self._lock:
            self._counts[name] += 1

    def draw(self) -> tuple[Plan, str | None]:
        """The plan and the fault of the next request."""
        with self._lock:
            self._counts["total"] += 1
            plan, drawn, sum_so_far = self._plan, self._random.random(), 0.0
        for fault in FAULTS:
            sum_so_far += getattr(plan, fault)
            if drawn < sum_so_far:
                return plan, fault
        return plan, None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.stopping.set()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: socket.socket, client_address: object) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: socket.socket, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is no error of ours
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a reset throws away what has not been sent
    server: FaultProxy

    def _answer(self) -> None:
        body = self._read_body()
        if self.path == STATS:
            self._send(200, "OK", [("Content-Type", "application/json")], json.dumps(self.server.stats()).encode())
            return
        plan, fault = self.server.draw()
        self.server.stopping.wait(plan.latency / 1000)
        if fault in REFUSALS:
            self.server.count(fault)
            self._refuse(*REFUSALS[fault])
        elif fault in ("preset", "ptimeout"):
            self.server.count(fault)
            self.server.stopping.wait(plan.hang if fault == "ptimeout" else 0)
            self._reset()
        else:
            self._forward(body, plan, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = _answer

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(chunks)

    def _forward(self, body: bytes, plan: Plan, fault: str | None) -> None:
        connection = http.client.HTTPConnection(*self.server.upstream, timeout=UPSTREAM_TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                self._send_upstream(connection, body, plan)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException):
                self.server.count("unreachable")
                self._reset()
                return
        if fault == "plost_ack" and self.command in ("PUT", "POST"):
            self.server.count(fault)
            self._reset()
            return
        if plan.corrupt_bodies and content and self._reads_object(response.status):
            self.server.count("corrupt_bodies")
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        cut = fault == "ptrunc" and self.command == "GET" and len(content) > SHORTEST_CUT
        if cut:
            self.server.count(fault)
        self._send(response.status, response.reason, response.getheaders(), content, cut=cut)

    def _send_upstream(self, connection: http.client.HTTPConnection, body: bytes, plan: Plan) -> None:
        # Host, path and all else stay as they came, or the signature would not fit.
        target = self.requestline.split(" ")[1]
        connection.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if plan.ignore_create_only and name.lower() == "if-none-match":
                self.server.count("ignore_create_only")
            elif name.lower() not in NOT_FORWARDED:
                connection.putheader(name, value)
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)

    def _reads_object(self, status: int) -> bool:
        path, _, query = self.path.partition("?")
        is_object = path.strip("/").count("/") > 0 and "list-type" not in query
        return self.command == "GET" and is_object and status in (200, 206)

    def _refuse(self, status: int, code: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>by plan</Message></Error>'
        self._send(status, code, [("Content-Type", "application/xml")], text.encode())

    def _send(
        self, status: int, reason: str, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False
    ) -> None:
        no_body = self.command == "HEAD" or status in (204, 304)
        self.send_response_only(status, reason)
        for name, value in headers:
            if no_body or name.lower() not in NOT_RETURNED:
                self.send_header(name, value)
        if not no_body:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not no_body:
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._reset()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()  # before socketserver's shutdown, which would say goodbye first

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the standard library
        """Says nothing."""


def main() -> None:
    """Runs one until Ctrl-C."""
    host, port, plan = sys.argv[1:]
    with FaultProxy(host, int(port), json.loads(plan)) as proxy, contextlib.suppress(KeyboardInterrupt):
        print(f"{proxy.endpoint} -> {host}:{port}, counters at {proxy.endpoint}{STATS}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
