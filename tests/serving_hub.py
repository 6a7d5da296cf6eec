"""A Hugging Face Hub on loopback: repositories in memory, tokens, and the errors that the real one answers with."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

READ, WRITE = "hf_token_that_may_read", "hf_token_that_may_write"
FILE_URL = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
API_URL = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>preupload|commit|revision)/(?P<revision>[^/?]+)")


@dataclass
class Repository:
    """commits: their files by path, oldest first."""

    private: bool = False
    gated: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=list)

    def name(self, number: int) -> str:
        return hashlib.sha1(f"{number}{sorted(self.commits[number])}".encode()).hexdigest()

    def find(self, revision: str) -> int | None:
        names = [self.name(number) for number in range(len(self.commits))]
        if revision == "main":
            return len(names) - 1 if names else None
        return names.index(revision) if revision in names else None


class FakeHub(ThreadingHTTPServer):
    """asked: method, path and token of every request. down: it answers 503 to everything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.down = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str, files: dict[str, bytes], **what: bool) -> str:
        """Commit files to a repository; returns the commit."""
        repository = self.repositories.setdefault(name, Repository(**what))
        repository.commits.append((repository.commits[-1] if repository.commits else {}) | files)
        return repository.name(len(repository.commits) - 1)


@contextlib.contextmanager
def run_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.server.asked.append((self.command, self.path, self.token))
        if self.server.down:
            return self._send(503, {"error": "the Hub is down for maintenance"})
        file, api = FILE_URL.fullmatch(self.path), API_URL.match(self.path)
        if file:
            return self._send_file(**file.groupdict())
        if self.token == "hf_expired":
            return self._send(401, {"error": f"Invalid token {self.token}"})
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if api:
            return self._use(body, **api.groupdict())
        return self._send(404, {"error": "no such page"})

    def _find(self, name: str) -> Repository | None:
        """A repository that the token may see; otherwise the error is sent."""
        found = self.server.repositories.get(name)
        if found is None or (found.private and self.token not in (READ, WRITE)):
            self._send(404 if self.token else 401, {"error": "Repository not found"}, code="RepoNotFound")
            return None
        return found

    def _send_file(self, repo: str, revision: str, path: str) -> None:
        repository = self._find(repo)
        if repository is None:
            return
        number = repository.find(revision)
        if repository.gated and self.token != READ:
            self._send(403, {"error": "Access to this model is restricted"}, code="GatedRepo")
        elif number is None:
            self._send(404, {"error": "Invalid rev id"}, code="RevisionNotFound")
        elif path not in repository.commits[number]:
            self._send(404, {"error": "Entry not found"}, code="EntryNotFound")
        else:
            content = repository.commits[number][path]
            headers = {"X-Repo-Commit": repository.name(number), "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            self._send(200, content, headers=headers)

    def _create(self, wanted: dict) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if self.token != WRITE or wanted["organization"] != "me":
            self._send(403, {"error": f"You don't have the rights to create a model under the namespace {name.split('/')[0]}"})
        elif name in self.server.repositories:
            self._send(409, {"error": "You already created this model repo", "url": f"{self.server.endpoint}/{name}"})
        else:
            self.server.repositories[name] = Repository(private=wanted.get("visibility") == "private")
            self._send(200, {"url": f"{self.server.endpoint}/{name}", "id": name})

    def _validate(self, content: str) -> None:
        header = yaml.safe_load(content.split("---\n")[1])
        warnings = [] if header.get("license") else [{"message": "empty or missing license"}]
        self._send(200, {"errors": [], "warnings": warnings})

    def _use(self, body: bytes, repo: str, what: str, revision: str) -> None:
        repository = self._find(repo)
        if repository is None:
            return
        if what == "revision":
            self._send(200, {"id": repo, "sha": repository.name(repository.find(revision))})
        elif revision != "main":
            self._send(404, {"error": "Invalid rev id"}, code="RevisionNotFound")
        elif what == "preupload":
            files = [one["path"] for one in json.loads(body)["files"]]
            self._send(200, {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in files]})
        else:
            lines = [json.loads(line)["value"] for line in body.splitlines() if json.loads(line)["key"] == "file"]
            commit = self.server.add(repo, {one["path"]: base64.b64decode(one["content"]) for one in lines})
            url = f"{self.server.endpoint}/{repo}/commit/{commit}"
            self._send(200, {"success": True, "commitUrl": url, "commitOid": commit})

    def _send(self, status: int, body: dict | bytes, code: str | None = None, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        sent = {"Content-Length": str(len(data)), "Content-Type": "application/json", **(headers or {})}
        if code:
            sent |= {"X-Error-Code": code, "X-Error-Message": body["error"]}
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
