import contextlib
import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from servers import fault_proxy
from servers.fault_proxy import FaultProxy

CONTENT = bytes(range(200))
SHORT = b"0123456789"
LONGER_THAN_ANY_TEST_S = 3600


class Upstream(ThreadingHTTPServer):
    """Remembers every request, and answers by its path."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Upstream)
        self.seen = []


class _Upstream(BaseHTTPRequestHandler):
    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.requestline.split(" ")[1], self.command, self.headers.items(), body))
        content = {"PUT": b"", "DELETE": b""}.get(self.command, SHORT if self.path.endswith("short") else CONTENT)
        self.send_response(404 if self.path.endswith("missing") else 200)
        self.send_header("ETag", '"tag"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def make_proxy(upstream):
    """Starts proxies before the upstream, one for each plan."""
    with contextlib.ExitStack() as stack:
        yield lambda **plan: stack.enter_context(FaultProxy("127.0.0.1", upstream.server_port, plan))


def ask(proxy, method="GET", path="/bucket/key", body=None, headers=None):
    """Status, headers and body of the answer to one request on a connection of its own."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.server_port)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def exchange(proxy, request):
    """All bytes that come back, and whether a reset ended them."""
    received = b""
    with socket.create_connection(("127.0.0.1", proxy.server_port)) as connection:
        connection.sendall(request)
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            return received, True
        return received, False


def faults_of(proxy, requests):
    """Which requests were refused with 503, one after the other."""
    return [ask(proxy)[0] == 503 for _ in range(requests)]


GET = b"GET /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"


class TestForwarding:
    def test_method_path_headers_with_host_and_body_reach_the_server_as_they_were_sent(self, make_proxy, upstream):
        headers = {
            "Host": "bucket.s3.example:1234",
            "Authorization": "AWS4 x",
            "x-amz-Date": "now",
            "If-None-Match": "*",
        }
        ask(make_proxy(), "PUT", "//bucket/a%2Fb%20c?x=1&y", b"body", headers)
        ((path, method, seen, body),) = upstream.seen
        assert (method, path, body) == ("PUT", "//bucket/a%2Fb%20c?x=1&y", b"body")
        assert sorted(seen) == sorted([*headers.items(), ("Accept-Encoding", "identity"), ("Content-Length", "4")])

    def test_status_headers_and_body_come_back_as_they_were_answered(self, make_proxy):
        status, headers, body = ask(make_proxy(), path="/bucket/missing")
        assert (status, body) == (404, CONTENT)
        assert headers["ETag"] == '"tag"'
        assert headers["Server"].startswith("BaseHTTP")
        assert headers.keys() == {"Server", "Date", "ETag", "Content-Length"}

    def test_the_answer_to_head_keeps_its_length_and_has_no_body(self, make_proxy):
        assert [ask(make_proxy(), "HEAD")[i] for i in (0, 2)] == [200, b""]
        assert ask(make_proxy(), "HEAD")[1]["Content-Length"] == str(len(CONTENT))

    def test_a_chunked_body_is_forwarded_whole_with_its_length(self, make_proxy, upstream):
        request = b"PUT /b/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = b"3\r\none\r\nA;signature=x\r\n" + SHORT + b"\r\n0\r\nTrailer: x\r\n\r\n"
        assert exchange(make_proxy(), request + chunks)[0].startswith(b"HTTP/1.1 200 ")
        ((_, _, seen, body),) = upstream.seen
        assert body == b"one" + SHORT
        assert dict(seen)["Content-Length"] == "13"
        assert "Transfer-Encoding" not in dict(seen)

    def test_a_client_that_asks_first_is_told_to_send_its_body(self, make_proxy, upstream):
        with socket.create_connection(("127.0.0.1", make_proxy().server_port)) as connection:
            connection.sendall(b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            connection.sendall(b"body")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        ((_, _, seen, body),) = upstream.seen
        assert body == b"body"
        assert "Expect" not in dict(seen)

    def test_a_connection_serves_many_requests(self, make_proxy):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", make_proxy().server_port)) as connection:
            for _ in range(3):
                connection.request("GET", "/bucket/key")
                assert connection.getresponse().read() == CONTENT

    def test_a_server_that_is_gone_looks_like_a_reset(self):
        with contextlib.closing(socket.socket()) as nobody:
            nobody.bind(("127.0.0.1", 0))
            with FaultProxy("127.0.0.1", nobody.getsockname()[1], {}) as proxy:
                assert exchange(proxy, GET) == (b"", True)
                assert proxy.stats()["unreachable"] == 1


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [("p503", 503, b"SlowDown"), ("p500", 500, b"InternalError"), ("p403", 403, b"AccessDenied")],
    )
    def test_a_refusal_names_its_code_and_the_server_sees_nothing(self, make_proxy, upstream, fault, status, code):
        answer = ask(make_proxy(**{fault: 1.0}), "PUT", body=b"body")
        assert answer[0] == status
        assert b"<Code>" + code + b"</Code>" in answer[2]
        assert upstream.seen == []

    def test_the_connection_outlives_a_refusal(self, make_proxy):
        proxy = make_proxy(p503=1.0)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.server_port)) as connection:
            for _ in range(2):
                connection.request("PUT", "/bucket/key", b"body")
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 503

    def test_a_reset_comes_before_the_server_sees_anything(self, make_proxy, upstream):
        assert exchange(make_proxy(preset=1.0), PUT) == (b"", True)
        assert upstream.seen == []

    def test_silence_ends_in_a_reset_and_the_server_sees_nothing(self, make_proxy, upstream):
        assert exchange(make_proxy(ptimeout=1.0, hang=0.01), PUT) == (b"", True)
        assert upstream.seen == []

    def test_a_proxy_that_is_silent_can_be_closed(self, upstream):
        with socket.socket() as client:
            plan = {"ptimeout": 1.0, "hang": LONGER_THAN_ANY_TEST_S}
            with FaultProxy("127.0.0.1", upstream.server_port, plan) as proxy:
                client.connect(("127.0.0.1", proxy.server_port))
                client.sendall(GET)
                while not proxy.stats()["ptimeout"]:
                    time.sleep(0.001)
            with contextlib.suppress(ConnectionResetError):  # closing may come before the reset
                assert client.recv(1) == b""

    def test_a_lost_acknowledgement_is_a_reset_after_the_server_has_stored_it(self, make_proxy, upstream):
        assert exchange(make_proxy(plost_ack=1.0), PUT) == (b"", True)
        ((_, method, _, body),) = upstream.seen
        assert (method, body) == ("PUT", b"body")

    def test_only_what_writes_loses_its_acknowledgement(self, make_proxy):
        proxy = make_proxy(plost_ack=1.0)
        assert [ask(proxy, method)[0] for method in ("GET", "HEAD", "DELETE")] == [200, 200, 200]
        assert proxy.stats()["plost_ack"] == 0

    def test_a_cut_answer_has_all_headers_and_half_of_its_body(self, make_proxy):
        received, was_reset = exchange(make_proxy(ptrunc=1.0), GET)
        head, _, body = received.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(CONTENT)}".encode() in head
        assert body == CONTENT[: len(CONTENT) // 2]
        assert was_reset

    def test_what_is_short_or_no_get_is_never_cut(self, make_proxy):
        proxy = make_proxy(ptrunc=1.0)
        assert ask(proxy, path="/bucket/short")[2] == SHORT
        assert ask(proxy, "POST")[2] == CONTENT
        assert proxy.stats()["ptrunc"] == 0

    def test_a_store_may_ignore_create_only(self, make_proxy, upstream):
        proxy = make_proxy(ignore_create_only=True)
        ask(proxy, "PUT", body=b"body", headers={"If-None-Match": "*", "If-Match": "kept"})
        ((_, _, seen, _),) = upstream.seen
        assert "If-None-Match" not in dict(seen)
        assert dict(seen)["If-Match"] == "kept"
        assert proxy.stats()["ignore_create_only"] == 1

    def test_one_byte_of_every_object_may_be_corrupt_but_no_listing(self, make_proxy):
        proxy = make_proxy(corrupt_bodies=True)
        corrupt = ask(proxy)[2]
        assert [i for i in range(len(CONTENT)) if corrupt[i] != CONTENT[i]] == [len(CONTENT) // 2]
        assert len(corrupt) == len(CONTENT)
        for path in ("/bucket?list-type=2&prefix=a/b", "/bucket/?list-type=2", "/bucket/missing", "/"):
            assert ask(proxy, path=path)[2] == CONTENT
        assert proxy.stats()["corrupt_bodies"] == 1

    def test_a_late_answer_is_the_same_answer(self, make_proxy):
        assert ask(make_proxy(latency=1))[2] == CONTENT


class TestPlan:
    def test_the_seed_fixes_the_sequence(self, make_proxy):
        draw = random.Random(7)
        expected = [draw.random() < 0.4 for _ in range(30)]
        assert faults_of(make_proxy(seed=7, p503=0.4), 30) == expected
        assert faults_of(make_proxy(seed=8, p503=0.4), 30) != expected
        assert 0 < sum(expected) < 30

    def test_a_request_takes_one_draw_whatever_comes_of_it(self, make_proxy):
        draw = random.Random(7)
        drawn = [draw.random() for _ in range(30)]
        proxy = make_proxy(seed=7, p503=0.3, p500=0.3)
        statuses = [ask(proxy, "POST")[0] for _ in range(30)]
        assert statuses == [503 if x < 0.3 else 500 if x < 0.6 else 200 for x in drawn]

    def test_the_draw_is_compared_with_the_faults_in_their_documented_order(self, make_proxy):
        order = ["p503", "p500", "preset", "ptimeout", "plost_ack", "ptrunc", "p403"]
        proxy, draw = make_proxy(seed=7, **dict.fromkeys(order, 0.125)), random.Random(7)
        drawn = [proxy.draw()[1] for _ in range(100)]
        assert drawn == [(*order, None)[int(draw.random() * 8)] for _ in range(100)]
        assert set(drawn) == {*order, None}

    def test_a_new_plan_holds_from_the_next_request_on_and_begins_with_its_seed(self, make_proxy):
        proxy = make_proxy(p503=1.0)
        assert faults_of(proxy, 2) == [True, True]
        proxy.plan = {}
        assert faults_of(proxy, 2) == [False, False]
        flaky = {"seed": 7, "p503": 0.4}
        proxy.plan = flaky
        first = faults_of(proxy, 10)
        proxy.plan = flaky
        assert faults_of(proxy, 10) == first
        assert proxy.plan == flaky

    def test_a_plan_with_an_unknown_key_or_too_much_probability_is_refused(self, make_proxy):
        with pytest.raises(TypeError, match="p504"):
            make_proxy(p504=1.0)
        with pytest.raises(ValueError, match=r"1\.2"):
            make_proxy(p503=0.6, p500=0.6)

    def test_it_runs_by_hand_with_a_plan_in_json(self, upstream):
        arguments = ["127.0.0.1", str(upstream.server_port), '{"p503": 1.0}']
        command = [sys.executable, fault_proxy.__file__, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            port = int(process.stdout.readline().split()[0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(GET)
                received = connection.recv(1000)
            process.terminate()
        assert received.startswith(b"HTTP/1.1 503 ")


class TestStats:
    def test_every_request_and_every_fault_is_counted(self, make_proxy):
        proxy = make_proxy(seed=3, p503=0.3, p500=0.2)
        statuses = [ask(proxy)[0] for _ in range(40)]
        stats = proxy.stats()
        assert stats["total"] == 40
        assert stats["p503"] == statuses.count(503) > 0
        assert stats["p500"] == statuses.count(500) > 0
        assert sum(stats.values()) == 40 + statuses.count(503) + statuses.count(500)

    def test_the_counters_can_be_asked_for_and_that_is_never_counted_nor_faulted(self, make_proxy):
        proxy = make_proxy(p503=1.0)
        ask(proxy)
        for _ in range(2):
            status, _, body = ask(proxy, path="/__stats")
            assert (status, json.loads(body)) == (200, proxy.stats())
        assert proxy.stats()["total"] == 1

    def test_rivals_are_all_counted(self, make_proxy):
        proxy = make_proxy(p503=0.5)
        threads = [threading.Thread(target=faults_of, args=(proxy, 10)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        draw = random.Random(0)
        assert proxy.stats()["total"] == 80
        assert proxy.stats()["p503"] == sum(draw.random() < 0.5 for _ in range(80))
