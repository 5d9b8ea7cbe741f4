"""Addresses with passwords and keys, fetched by their public form.

Snakemake prints the address of what it fetches and names a folder after it. So it is given the
public form, and what is missing is put in when the request is sent.
"""

import logging
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from requests import PreparedRequest, Request
from requests.auth import AuthBase, HTTPBasicAuth

from ..publishing import has_secrets, public_url

__all__ = ["AddressSecrets"]


class AddressSecrets(AuthBase):
    """Puts the secrets of ``urls`` into requests for their public forms; others pass as they are.

    What has none of its own may be in ~/.netrc, as for any program that fetches with requests.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self.complete = {_normal(public_url(url)): url for url in urls if has_secrets(url)}
        self.keys = {
            pair
            for public, url in self.complete.items()
            for spelt in (url, _normal(url))
            for pair in set(urlsplit(spelt).query.split("&"))
            - set(urlsplit(public).query.split("&"))
        }

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """``request``, ready to be sent."""
        url = self.complete.get(str(request.url))
        if url is None:
            return request

        parts = urlsplit(url)
        login, _, host = parts.netloc.rpartition("@")
        request.prepare_url(parts._replace(netloc=host).geturl(), None)
        if login:
            user, _, password = login.partition(":")
            return HTTPBasicAuth(unquote(user), unquote(password))(request)
        return request

    def hide(self, record: logging.LogRecord) -> bool:
        """A filter of a logger: a request that fails is told of with all of its address."""
        text = record.getMessage()
        for pair in self.keys:
            text = text.replace(pair, f"{pair.partition('=')[0]}=…")
        record.msg, record.args = text, ()
        return True


def _normal(url: str) -> str:
    """As requests writes it."""
    return str(Request("GET", url).prepare().url)
