"""Addresses are fetched with their secrets and told of without."""

import logging

import pytest
import requests

from snakelm.workflow.fetching import AddressSecrets

OPEN = "https://h.example/open.parquet?page=2"
CLOSED = "https://dear%20alice:pa%3Ass@h.example:8443/a%20b.parquet?page=2&sig=s3cr3t%2F&Key-Id=4#x"


def sent(url, secrets):
    return requests.Request("GET", url, auth=secrets).prepare()


def test_a_request_gets_what_its_public_address_lacks():
    request = sent("https://h.example:8443/a%20b.parquet?page=2#x", AddressSecrets([OPEN, CLOSED]))
    assert request.url == "https://h.example:8443/a%20b.parquet?page=2&sig=s3cr3t%2F&Key-Id=4#x"
    expected = requests.auth._basic_auth_str("dear alice", "pa:ss")
    assert request.headers["Authorization"] == expected


@pytest.mark.parametrize("url", [OPEN, "https://elsewhere.example:8443/a%20b.parquet?page=2"])
def test_other_requests_get_nothing(url):
    request = sent(url, AddressSecrets([OPEN, CLOSED]))
    assert request.url == url
    assert "Authorization" not in request.headers


def test_a_request_that_fails_is_told_of_without_its_keys(caplog):
    secrets, logger = AddressSecrets([OPEN, CLOSED]), logging.getLogger("of a test")
    logger.addFilter(secrets.hide)
    logger.error("no %s: %s", "answer", "/a?page=2&sig=s3cr3t%2F&Key-Id=4")
    assert caplog.messages == ["no answer: /a?page=2&sig=…&Key-Id=…"]
