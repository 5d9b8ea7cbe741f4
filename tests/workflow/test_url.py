"""A source given by address: fetched by the workflow, taken only with the hash that was
promised.
"""

import functools
import http.server
import json
import threading

import pytest

from snakelm.files import sha256_file

TARGET = "results/data/sampled/notes.parquet"


@pytest.fixture
def address(own_parquet):
    """The folder of the parquet, served on loopback."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=own_parquet.parent)
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
