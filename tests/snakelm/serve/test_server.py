"""The server below HTTP's happy path: who may ask, how much, how long, and how everything ends."""

import importlib
import json
import socket
import sys
import threading
import time

import pytest

from snakelm.errors import UserError
from snakelm.serve import ModelServer, Worker, app
from snakelm.serve import connection as connection_module

QUESTION = {"model": "tiny", "messages": [{"role": "user", "content": "q"}]}


def exchange(server, sent, seconds=30.0):
    """All that comes back on a connection of its own."""
    with socket.create_connection(("127.0.0.1", server.port), seconds) as connection:
        connection.sendall(sent)
        return everything(connection)


def everything(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def request(server, line="GET /v1/models HTTP/1.1", *headers, host=None, body=b""):
    """The bytes of a request; a body goes with its length and type."""
    lines = [line, f"Host: {host or f'127.0.0.1:{server.port}'}", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def post(server, value=QUESTION, path="/v1/chat/completions", **more):
    return request(server, f"POST {path} HTTP/1.1", body=json.dumps({**value, **more}).encode())


def status(reply):
    assert reply.startswith(b"HTTP/1.1 "), reply[:80]
    return int(reply.split()[1])


def wait(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def server(served, talk):
    """One that answers by itself."""
    with served(talk) as made:
        yield made


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}"])
def test_its_own_names_are_answered(server, host):
    assert status(exchange(server, request(server, host=host.format(server.port)))) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil.example:{}",
        "[::1]:{}",
    ],
)
def test_another_host_is_refused(server, host):
    for sent in (
        request(server, host=host.format(server.port)),
        request(server, "GET / HTTP/1.1", host=host),
    ):
        reply = exchange(server, sent)
        assert status(reply) == 403
        assert b"wrong_host" in reply


def test_no_host_and_two_hosts_are_refused(server):
    assert status(exchange(server, b"GET / HTTP/1.1\r\n\r\n")) == 400  # by h11 already
    assert status(exchange(server, request(server, "GET / HTTP/1.1", "Host: evil.example"))) == 400
    assert status(exchange(server, b"GET / HTTP/1.0\r\n\r\n")) == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{}", "http://127.0.0.1:1"]
)
def test_another_sites_page_may_not_ask(server, script, origin):
    body = json.dumps(QUESTION).encode()
    line, header = "POST /v1/chat/completions HTTP/1.1", f"Origin: {origin.format(server.port)}"
    reply = exchange(server, request(server, line, header, body=body))
    assert status(reply) == 403
    assert b"access-control" not in reply.lower()
    assert not script.prompts


def test_our_own_page_may_ask(server, script):
    script.answers = ["yes"]
    header = f"Origin: http://localhost:{server.port}"
    sent = request(
        server, "POST /v1/chat/completions HTTP/1.1", header, body=json.dumps(QUESTION).encode()
    )
    assert status(exchange(server, sent)) == 200


def test_a_form_of_another_site_cannot_be_a_question(server, script):
    body = json.dumps(QUESTION)
    headers = ("Content-Type: text/plain", f"Content-Length: {len(body)}")
    sent = request(server, "POST /v1/chat/completions HTTP/1.1", *headers) + body.encode()
    assert status(exchange(server, sent)) == 415
    assert not script.prompts


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /../server.py HTTP/1.1", 404),
        ("GET /page.html HTTP/1.1", 404),
        ("GET /v1/models/other HTTP/1.1", 404),
        ("GET http://evil.example/ HTTP/1.1", 404),
        ("GET /?q=1 HTTP/1.1", 200),
        ("GET /v1/models/ HTTP/1.1", 404),
        ("POST /v1/embeddings HTTP/1.1", 404),
        ("POST / HTTP/1.1", 405),
        ("OPTIONS /v1/chat/completions HTTP/1.1", 405),
        ("DELETE / HTTP/1.1", 405),
        ("GET / HTTP/9.9", 505),
        ("nonsense", 400),
        ("GET /" + "x" * 300_000 + " HTTP/1.1", 431),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_addresses_and_methods(server, line, expected):
    reply = exchange(server, request(server, line))
    assert int(reply.split()[1]) == expected
    if expected != 200:
        head, body = reply.split(b"\r\n\r\n", 1)
        assert b"application/json" in head
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("Content-Length: 1000001", 413),
        ("Content-Length: 99999999999999999999", 413),
        ("Content-Length: -1", 400),
        ("Content-Length: ²", 400),
        ("Transfer-Encoding: chunked", 431),  # what follows has no line with a chunk's size
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", 431),
    ],
)
def test_bodies_of_a_wrong_size(server, headers, expected):
    line = "POST /v1/chat/completions HTTP/1.1"
    sent = (
        request(server, line, "Content-Type: application/json", *headers.split("\r\n"))
        + b"x" * 300_000
    )
    assert status(exchange(server, sent)) == expected


@pytest.mark.parametrize(
    "headers", ["", "Transfer-Encoding: chunked", "Content-Length: 2\r\nTransfer-Encoding: chunked"]
)
def test_a_body_must_say_its_length(server, headers):
    line = "POST /v1/chat/completions HTTP/1.1"
    lines = [line, "Content-Type: application/json", *filter(None, headers.split("\r\n"))]
    assert status(exchange(server, request(server, *lines) + b"2\r\n{}\r\n0\r\n\r\n")) == 411


def test_a_large_question_is_read_and_refused(server):
    reply = exchange(server, post(server, messages=[{"role": "user", "content": "x" * 900_000}]))
    assert status(reply) == 400
    assert b"context_length_exceeded" in reply


def test_every_reply_keeps_other_pages_out(server):
    for line in ("GET / HTTP/1.1", "GET /v1/models HTTP/1.1", "GET /nothing HTTP/1.1"):
        head = exchange(server, request(server, line)).split(b"\r\n\r\n")[0].decode().lower()
        assert "content-security-policy: default-src 'none'; script-src 'self'" in head
        assert "unsafe" not in head
        assert "x-content-type-options: nosniff" in head
        assert "access-control" not in head


def test_only_this_machine_is_listened_to(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "part", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\n"], ids=["none", "line", "head"]
)
def test_a_request_that_drips_is_left(served, talk, monkeypatch, part):
    monkeypatch.setattr(connection_module, "READ_S", 0.5)
    with (
        served(talk) as server,
        socket.create_connection(("127.0.0.1", server.port), 30) as connection,
    ):
        began = time.monotonic()
        connection.sendall(part)
        for _ in range(100):  # a byte at a time never starts the clock again
            try:
                connection.sendall(b"x")
            except OSError:
                break
            if time.monotonic() - began > 5:
                pytest.fail("still listening")
            time.sleep(0.05)
        wait(lambda: not server.open_connections)


@pytest.mark.parametrize(
    "part",
    [
        b"GET / HT",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        b'Content-Length: 99\r\n\r\n{"model": "tiny"}',
    ],
    ids=["line", "head", "no body", "less than it said"],
)
def test_a_request_that_never_ends_is_told_so(served, talk, monkeypatch, part):
    monkeypatch.setattr(connection_module, "READ_S", 0.3)
    with served(talk) as server:
        part = part.replace(b"{host}", f"127.0.0.1:{server.port}".encode())
        reply = exchange(server, part)
        wait(lambda: not server.open_connections)
    assert status(reply) == 408
    assert b"took longer than 0.3 s" in reply


def test_who_says_nothing_is_sent_away_in_silence(served, talk, monkeypatch):
    monkeypatch.setattr(connection_module, "READ_S", 0.3)
    with served(talk) as server:
        assert exchange(server, b"") == b""


def test_too_many_connections_are_sent_away(served, talk, monkeypatch):
    monkeypatch.setattr(connection_module, "MAX_CONNECTIONS", 3)
    with served(talk) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in range(3)]
        wait(lambda: server.open_connections == 3)
        assert status(exchange(server, b"")) == 503
        for connection in idle:
            connection.close()
        wait(lambda: not server.open_connections)
        assert status(exchange(server, request(server))) == 200


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "at once"])
def test_a_client_that_leaves_frees_the_model(served, talk, script, stream):
    script.answers, script.gate = ["x" * 40, "next"], threading.Semaphore(3)
    with served(talk) as server:
        with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
            connection.sendall(post(server, stream=stream))
            wait(lambda: script.said == 3)
        wait(lambda: not server.open_connections)  # noticed without a token more
        script.gate.release(100)
        reply = exchange(server, post(server))
    assert b'"content":"next"' in reply
    assert script.said < 40


def test_a_client_that_leaves_the_queue_is_not_answered(served, talk, script):
    script.answers, script.gate = ["ab", "cd"], threading.Semaphore(0)
    with served(talk) as server:
        with (
            socket.create_connection(("127.0.0.1", server.port), 30) as first,
            socket.create_connection(("127.0.0.1", server.port), 30) as second,
        ):
            first.sendall(post(server))
            wait(lambda: script.prompts)
            second.sendall(post(server))
            wait(lambda: server.worker.jobs.qsize() == 1)
            second.close()
            wait(lambda: server.open_connections == 1)
            script.gate.release(10)
            assert b'"content":"ab"' in everything(first)
        wait(lambda: server.worker.jobs.empty())
    assert len(script.prompts) == 1


def test_a_request_that_waits_too_long_gets_an_error(served, talk, script, monkeypatch):
    monkeypatch.setattr(app, "MAX_WAIT_S", 0.3)
    script.answers, script.gate = ["ab"], threading.Semaphore(0)
    with served(talk) as server, socket.create_connection(("127.0.0.1", server.port), 30) as first:
        first.sendall(post(server))
        wait(lambda: script.prompts)
        reply = exchange(server, post(server))
        assert status(reply) == 503
        assert b"retry-after" in reply.lower()
        script.gate.release(10)
        assert status(everything(first)) == 200


def test_an_answer_that_takes_too_long_is_cut(served, talk, script):
    script.answers = ["abcdef"]
    with served(talk, max_answer_s=0.0) as server:
        reply = exchange(server, post(server))
    assert b'"content":"a"' in reply
    assert b'"finish_reason":"length"' in reply


def test_the_end_gives_last_words_to_all(served, talk, script):
    script.answers, script.gate, replies = ["x" * 30, "y"], threading.Semaphore(2), {}
    with served(talk) as server:

        def ask(name, **more):
            replies[name] = exchange(server, post(server, **more))

        asking = [threading.Thread(target=ask, args=("streamed",), kwargs={"stream": True})]
        asking[0].start()
        wait(lambda: script.said == 2)
        asking.append(threading.Thread(target=ask, args=("waiting",)))
        asking[1].start()
        wait(lambda: server.worker.jobs.qsize() == 1)
        idle = socket.create_connection(("127.0.0.1", server.port), 30)
        wait(lambda: server.open_connections == 3)
        server.worker.close()
        script.gate.release(100)
    for thread in asking:
        thread.join()
    assert everything(idle) == b""
    idle.close()
    assert b"shutting_down" in replies["streamed"]
    assert b"[DONE]" not in replies["streamed"]
    assert status(replies["waiting"]) == 503
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), 1)


def test_a_port_in_use_is_said(talk, server):
    with pytest.raises(
        UserError, match=rf"--port {server.port}: in use by another program; name another"
    ):
        ModelServer(Worker(talk), server.port, "tiny")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "snakelm.serve")
    with pytest.raises(UserError, match=r"uvicorn not installed; pip install 'snakelm\[serve\]'"):
        importlib.import_module("snakelm.serve")


def test_a_client_that_reads_nothing_is_left(served, talk, script, monkeypatch):
    monkeypatch.setattr(connection_module, "WRITE_S", 0.5)
    monkeypatch.setattr(app, "_sse", lambda value: b" " * 1_000_000)  # more than sockets buffer
    script.answers, talk.max_tokens = ["x" * 100], 100
    with served(talk) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(post(server, stream=True))
        wait(lambda: script.said)
        wait(lambda: not server.open_connections)
