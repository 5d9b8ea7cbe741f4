"""Requests that nobody meant: wrong fields, flipped bytes, noise, clients that leave. The server
outlives them all.
"""

import json
import random
import re
import socket
from collections import Counter
from contextlib import suppress

import pytest

from snakelm.serve.schemas import ChatRequest

FIELDS = [*ChatRequest.model_fields, "role", "unheard_of"]


def nested(depth):
    """Lists in one another."""
    return [nested(depth - 1)] if depth else []


VALUES = [
    *(None, True, 0, -1, 1, 1e308, 1e-320, 1e-40, 1e-30, 2**63 - 1, 2**70, -0.0, float("inf")),
    *(float("nan"), ["a"] * 9000, "\N{GRINNING FACE}" * 30, nested(40), nested(60), nested(400)),
    *("", "x" * 50, "\ud800", "\0"),
    *([], {}, [[]], {"a": 1}, {"\ud800": 1}, [None]),
]
# Always an answer: 408 to a request that isn't complete.
EXPECTED = {"200", "400", "403", "404", "405", "408", "411", "413", "415", "431", "505", "left"}


def flipped(data, chance):
    """Some bytes replaced."""
    data = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def body(chance):
    request = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
    for _ in range(chance.randrange(4)):
        request[chance.choice(FIELDS)] = chance.choice(VALUES)
    if chance.random() < 0.4:
        roles, contents = ["user", "assistant", "system", "tool", 3, None], ["a", "b", *VALUES]
        count = chance.randrange(5)
        request["messages"] = [
            {"role": chance.choice(roles), "content": chance.choice(contents)} for _ in range(count)
        ]
    sent = json.dumps(request).encode()
    if chance.random() < 0.1:  # a key given twice, a number of many digits
        more = chance.choice(['"seed": 1, "seed": 2', '"seed": ' + "9" * 5000, '"seed": 1e999'])
        sent = sent[:-1] + f", {more}}}".encode()
    return flipped(sent, chance) if chance.random() < 0.3 else sent


def request(port, chance):
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(1, 400))
    sent = body(chance)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    ).encode()
    return (flipped(head, chance) if chance.random() < 0.15 else head) + sent


def outcome(port, sent, chance):
    """The status; `left` when we go without reading, `nothing` when the server hangs up."""
    reply = b""
    with socket.create_connection(("127.0.0.1", port), 30) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        if chance.random() < 0.05:
            return "left"
        while part := connection.recv(65536):
            reply += part
    found = re.match(rb"HTTP/1\.1 (\d+) ", reply)
    return found.group(1).decode() if found else "nothing" if not reply else reply[:60]


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.long)])
def test_nothing_sent_ends_the_server_or_shows_a_bug(served, talk, monkeypatch, capfd, count):
    monkeypatch.setattr("snakelm.serve.connection.READ_S", 0.3)  # for those that are incomplete
    chance = random.Random(count)
    with served(talk) as server:
        outcomes = Counter(
            outcome(server.port, request(server.port, chance), chance) for _ in range(count)
        )
        sound = f"GET /v1/models HTTP/1.1\r\nHost: localhost:{server.port}\r\n\r\n".encode()
        assert outcome(server.port, sound, random.Random(1)) == "200"
    if count > 1000:
        with capfd.disabled():
            print(dict(outcomes.most_common()))
    assert set(outcomes) <= EXPECTED
    assert outcomes["200"] > count / 100 < outcomes["400"]
    assert "Traceback" not in capfd.readouterr().err
