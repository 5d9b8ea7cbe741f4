"""A source given by address: fetched by the workflow, taken only with the hash that was
promised.
"""

import base64
import functools
import http.server
import json
import threading
from urllib.parse import quote, urlsplit

import pytest

from snakelm.files import sha256_file

TARGET = "results/data/sampled/notes.parquet"


USER, PASSWORD, KEY = "dear-alice", "pa:ss wörd", "deadbeefcafe"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Keeps what is below /closed/ to those who have the password and the key."""

    def send_head(self):
        path, _, query = self.path.partition("?")
        self.path = path.replace("/closed", "", 1)
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode("latin-1")).decode()
        allowed = self.headers.get("Authorization") == f"Basic {login}" and f"sig={KEY}" in query
        if path.startswith("/closed/") and not allowed:
            self.send_error(401)
            return None
        return super().send_head()


@pytest.fixture
def address(own_parquet):
    """The folder of the parquet, served on loopback."""
    handler = functools.partial(Handler, directory=own_parquet.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{own_parquet.name}"
        server.shutdown()


def fetch(checkout, address, sha256):
    source = {"url": address, "sha256": sha256, "text": "body"}
    checkout.write("url.yaml", f"preset: smoke\nsources: [{json.dumps(source)}]\n")
    return checkout.snakemake(TARGET, "--configfile", "url.yaml")


def test_a_wrong_hash_is_refused_and_nothing_is_kept(checkout, own_parquet, address):
    done = fetch(checkout, address, "0" * 64)
    assert done.code != 0
    assert sha256_file(own_parquet) in done.said
    assert "0" * 64 in done.said
    assert not (checkout.root / "results/data/raw/notes.parquet").exists()


def test_a_right_hash_becomes_documents(checkout, own_parquet, address, sentences):
    done = fetch(checkout, address, sha256_file(own_parquet))
    assert done.code == 0, done.said
    record = json.loads(
        (checkout.root / "results/data/raw/notes.parquet.manifest.json").read_text()
    )
    assert record["artefact"]["sha256"] == sha256_file(
        checkout.root / "results/data/raw/notes.parquet"
    )
    assert f"{len(sentences)} documents" in done.said


def test_a_password_and_a_key_are_used_and_neither_printed_nor_written(
    checkout, own_parquet, address
):
    """In every spelling that they have."""
    parts = urlsplit(address)
    closed = f"http://{quote(USER)}:{quote(PASSWORD)}@{parts.netloc}/closed{parts.path}?sig={KEY}"
    done = fetch(checkout, closed, sha256_file(own_parquet))
    assert done.code == 0, done.said
    assert "/closed/" in done.said
    wrong = fetch(checkout, closed, "0" * 64)
    assert wrong.code != 0
    nobody = fetch(checkout, closed.replace(parts.netloc, "127.0.0.1:9"), "0" * 64)
    assert nobody.code != 0

    secrets = [USER, PASSWORD, quote(PASSWORD), KEY]
    for folder in ("results", ".snakemake"):
        for file in (checkout.root / folder).rglob("*"):
            written = file.as_posix().encode() + (file.read_bytes() if file.is_file() else b"")
            assert not [one for one in secrets if one.encode() in written], file
    assert not [one for one in secrets if one in done.said + wrong.said + nobody.said]
