"""A model hub on this machine, with one model: enough of its HTTP interface for huggingface_hub to download from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPOSITORY_NAME = "Somebody/Tiny-Base"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub_of(folder: Path, denial: tuple[int, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve the folder as a model; yields the address and the paths of what was downloaded.

    denial: a status and an X-Error-Code to answer everything with instead.
    """
    taken: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            if denial is not None:
                self._send(denial[0], b"", with_body, {"X-Error-Code": denial[1]})
            elif self.path.startswith(f"/api/models/{REPOSITORY_NAME}/revision/"):
                names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
                about = {"id": REPOSITORY_NAME, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                self._send(200, json.dumps(about).encode(), with_body, {"Content-Type": "application/json"})
            else:
                name = self.path.partition(f"/resolve/{COMMIT}/")[2]
                content = (folder / name).read_bytes()
                if with_body:
                    taken.append(name)
                headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
                self._send(200, content, with_body, headers)

        def _send(self, status: int, body: bytes, with_body: bool, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", taken
        finally:
            server.shutdown()
            thread.join()
