"""A stand-in for the Hugging Face hub on loopback: what huggingface_hub asks for a data set, its
listings, and its files in parts.
"""

import contextlib
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator

REPOSITORY = "people/notes"
API, FILES = f"/api/datasets/{REPOSITORY}", f"/datasets/{REPOSITORY}/resolve/"
COMMIT = "0" * 40


class Hub:
    """One data set. ``files``: name → bytes. ``parts``: (name, first byte) of each file that was
    sent. ``token``: what must be shown, if anything. ``gone``: from then on nobody answers;
    ``broken``: there is a status of 500.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.parts: list[tuple[str, int]] = []
        self.token: str | None = None
        self.gone, self.broken, self.url = False, False, ""

    def entries(self, below: str) -> list[dict]:
        """The tree's entries in a folder and further down."""
        prefix = f"{below}/" if below else ""
        names = [name for name in self.files if name.startswith(prefix)]
        folders = {
            "/".join(name.split("/")[:n]) for name in names for n in range(1, name.count("/") + 1)
        }
        found = [{"type": "directory", "oid": COMMIT, "size": 0, "path": one} for one in folders]
        found += [self.entry(name) for name in names]
        return [one for one in found if one["path"].startswith(prefix)]

    def entry(self, name: str) -> dict:
        oid = hashlib.sha1(self.files[name]).hexdigest()
        return {"type": "file", "oid": oid, "size": len(self.files[name]), "path": name}


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Hub]:
    """The hub while it answers."""
    hub = Hub(files)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.gone = True  # for connections that are kept open
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *words) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        hub, path = self.hub, urllib.parse.unquote(self.path.partition("?")[0])
        if hub.gone:
            self.close_connection = True
        elif hub.broken:
            self._fail(500, "")
        elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._fail(401, "RepoNotFound")  # which it says of what one may not see, too
        elif path in (API, f"{API}/revision/main"):
            self._json(
                {"id": REPOSITORY, "sha": COMMIT, "private": False, "tags": [], "siblings": []}
            )
        elif path.startswith(f"{API}/tree/"):
            self._json(hub.entries("/".join(path.removeprefix(f"{API}/tree/").split("/")[1:])))
        elif path.startswith(FILES) and (name := path.split("/", 6)[6]) in hub.files:
            self._file(name)
        else:
            self._fail(404, "EntryNotFound" if API in path or FILES in path else "RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """paths-info: what is known of some paths."""
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        given = json.loads(form) if form.startswith("{") else urllib.parse.parse_qs(form)
        self._json([self.hub.entry(name) for name in given["paths"] if name in self.hub.files])

    def _file(self, name: str) -> None:
        body = self.hub.files[name]
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]) if asked and asked[2] else len(body) - 1, len(body) - 1)
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{self.hub.entry(name)["oid"]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        if self.command == "GET":
            self.hub.parts.append((name, first))
            self.wfile.write(body[first : last + 1])

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fail(self, code: int, why: str) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", why)
        self.send_header("Content-Length", "0")
        self.end_headers()
