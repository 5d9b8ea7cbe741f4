"""Addresses and paths as they may be shown."""

import pytest

from snakelm.publishing import (
    has_secrets,
    is_after_folder,
    public_command,
    public_path,
    public_url,
    publishable,
    without_secrets,
)

ADDRESSES = {
    "https://h.example/a.parquet": "https://h.example/a.parquet",
    "https://h.example:8443/a?id=5&page=2#top": "https://h.example:8443/a?id=5&page=2#top",
    "https://user:word@h.example/a": "https://h.example/a",
    "https://user@h.example/a": "https://h.example/a",
    "http://user:p@ss@h.example:80/a": "http://h.example:80/a",
    "https://:word@h.example/": "https://h.example/",
    "HTTPS://User:Word@H.example/a": "https://H.example/a",
    "https://h/a?X-Amz-Credential=1&X-Amz-Signature=2&versionId=3": "https://h/a?versionId=3",
    "https://h/a?sv=2024&sig=abc": "https://h/a?sv=2024",
    "https://h/a?api_key=1&apikey=2&access_token=3&password=4": "https://h/a",
    "https://h/a#access_token=1": "https://h/a",
    "https://u:p@[::1]:80/a": "https://[::1]:80/a",
    "https://u:p@[bad/a?token=1": "https://[bad/a",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_has_no_password_and_no_key(address):
    assert public_url(address) == ADDRESSES[address]
    assert public_url(ADDRESSES[address]) == ADDRESSES[address]
    assert without_secrets(f"from '{address}', and on") == f"from '{ADDRESSES[address]}', and on"


def test_an_address_without_secrets_is_known_as_such():
    assert not has_secrets("https://h.example/a?id=5")
    assert has_secrets("https://u@h.example/a")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/alice/a.jsonl", "a.jsonl"),
        ("/home/alice/texts/", "texts"),
        ("/home/alice/*.jsonl", "*.jsonl"),
        ("~/a.jsonl", "a.jsonl"),
        ("~alice/a.jsonl", "a.jsonl"),
        ("~alice", "alice"),
        ("../../alice/a.jsonl", "a.jsonl"),
        ("my/../../alice/a.jsonl", "a.jsonl"),
        ("C:\\Users\\alice\\a.txt", "a.txt"),
        ("\\\\server\\alice\\a.txt", "a.txt"),
        ("file:///home/alice/a.txt", "a.txt"),
        ("my/notes/a.jsonl", "my/notes/a.jsonl"),
        ("a.jsonl", "a.jsonl"),
    ],
)
def test_a_path_is_a_name(path, shown):
    assert public_path(path) == shown


def test_a_path_below_the_results_is_below_results(tmp_path):
    assert public_path(tmp_path / "runs/x/a.bin", tmp_path / "runs/x") == "results/a.bin"
    assert public_path(tmp_path / "runs/y/a.bin", tmp_path / "runs/x") == "a.bin"


def test_a_command_names_files():
    assert public_command("snakemake -c 8 'a b'") == "snakemake -c 8 'a b'"
    given = "snakemake --configfile '/home/alice/my own.yaml' -- /home/alice/r/final_model.pt"
    assert public_command(given) == "snakemake --configfile 'my own.yaml' -- final_model.pt"
    assert (
        public_command("snakemake --config results=/home/alice/r") == "snakemake --config results=r"
    )
    assert public_command("it's /home/alice/x") == "'it'\"'\"'s' x"


def test_values_of_any_shape():
    given = {"a": ["/home/alice/x", "b c", 3, None], "u": "https://u:p@h/x", "t": "see /a for it"}
    shown = {"a": ["x", "b c", 3, None], "u": "https://h/x", "t": "see /a for it"}
    assert publishable(given) == shown


@pytest.mark.parametrize(
    ("name", "path", "after"),
    [
        ("alice", "/home/alice/*.jsonl", True),
        ("alice", ["~/x.jsonl", "/home/alice.smith/*.jsonl"], True),
        ("alice-1", "/home/alice/*.jsonl", True),
        ("a-b", "/home/a_b/**/*.jsonl", True),
        ("notes", "/home/alice/notes.jsonl", False),
        ("my", "my/*.jsonl", False),
        (None, "/home/alice/*.jsonl", False),
    ],
)
def test_what_is_named_after_a_folder_of_a_machine(name, path, after):
    assert is_after_folder(name, path) == after
