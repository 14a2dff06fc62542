"""A stand-in for the Hugging Face hub: the requests that its client makes to fetch and to send a model."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories in memory, at `address`."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.log: list[str] = []
        self._large: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, b"")

            def do_POST(self) -> None:
                hub._answer(self, self._body())

            do_HEAD, do_PUT = do_GET, do_POST

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    parts = []
                    while size := int(self.rfile.readline(), 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        path = unquote(urlsplit(request.path).path).strip("/")
        self.log.append(f"{request.command} /{path}")
        for pattern, answer in self._routes.items():
            if found := re.fullmatch(pattern, path):
                status, headers, content = answer(body, **found.groupdict())
                break
        else:
            status, headers, content = 404, {}, b""
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    @property
    def _routes(self) -> dict[str, Callable[..., tuple[int, dict[str, str], bytes]]]:
        name = "(?P<name>[^/]+/[^/]+)"
        return {
            rf"api/models/{name}/revision/(?P<revision>.+)": self._list,
            rf"{name}/resolve/(?P<revision>[^/]+)/(?P<file>.+)": self._send,
            rf"api/models/{name}/tree/(?P<revision>.+)": self._tree,
            "api/repos/create": self._create,
            "api/validate-yaml": lambda _: _json({"warnings": [], "errors": []}),
            rf"api/models/{name}/preupload/main": self._ask_how,
            rf"{name}\.git/info/lfs/objects/batch": self._ask_where,
            "large/(?P<digest>.+)": self._take_large,
            rf"api/models/{name}/commit/main": self._commit,
        }

    def _missing(self, code: str) -> tuple[int, dict[str, str], bytes]:
        return 404, {"X-Error-Code": code}, b""

    def _list(self, _: bytes, name: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        if name not in self.repositories:
            return self._missing("RepoNotFound")
        if revision != "main":
            return self._missing("RevisionNotFound")
        siblings = [{"rfilename": file} for file in self.repositories[name]]
        return _json({"id": name, "sha": self._revision(name), "siblings": siblings})

    def _tree(self, _: bytes, name: str, revision: str) -> tuple[int, dict[str, str], bytes]:
        assert revision == self._revision(name)
        files = self.repositories[name].items()
        return _json(
            [{"type": "file", "path": file, "size": len(content), "oid": _digest(content)} for file, content in files]
        )

    def _revision(self, name: str) -> str:
        return hashlib.sha1(repr(sorted(self.repositories[name].items())).encode()).hexdigest()

    def _send(self, _: bytes, name: str, revision: str, file: str) -> tuple[int, dict[str, str], bytes]:
        content = self.repositories.get(name, {}).get(file)
        if content is None:
            return self._missing("EntryNotFound")
        assert revision == self._revision(name)
        return 200, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": revision}, content

    def _create(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        self.private[name] = wanted.get("visibility") == "private"
        self.repositories.setdefault(name, {})
        return _json({"url": f"{self.address}/{name}"})

    def _ask_how(self, body: bytes, name: str) -> tuple[int, dict[str, str], bytes]:
        files = json.loads(body)["files"]
        modes = {"safetensors": "lfs", "onnx": "lfs"}
        return _json(
            {
                "files": [
                    {
                        "path": each["path"],
                        "uploadMode": modes.get(each["path"].rpartition(".")[2], "regular"),
                        "shouldIgnore": False,
                    }
                    for each in files
                ]
            }
        )

    def _ask_where(self, body: bytes, name: str) -> tuple[int, dict[str, str], bytes]:
        return _json(
            {
                "transfer": "basic",
                "objects": [
                    {**each, "actions": {"upload": {"href": f"{self.address}/large/{each['oid']}"}}}
                    for each in json.loads(body)["objects"]
                ],
            },
            "application/vnd.git-lfs+json",
        )

    def _take_large(self, body: bytes, digest: str) -> tuple[int, dict[str, str], bytes]:
        assert _digest(body) == digest
        self._large[digest] = body
        return 200, {}, b""

    def _commit(self, body: bytes, name: str) -> tuple[int, dict[str, str], bytes]:
        files = self.repositories[name]
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self._large[line["value"]["oid"]]
        return _json({"commitUrl": f"{self.address}/{name}/commit/1", "commitOid": self._revision(name)})

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(value: object, kind: str = "application/json") -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": kind}, json.dumps(value).encode()
