"""The page in a tab of Chromium, and a relay that a test plays itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from playwright.sync_api import ConsoleMessage, Page, WebSocket, WebSocketRoute

from tests.conftest import REPOSITORY

Json = dict[str, Any]

PAGE = REPOSITORY / "schemas" / "rust" / "page" / "index.html"
SCRIPTED_ADDRESS = "http://localhost/"
PATIENCE_MS = 60_000
RATE = 24_000


class Opened:
    """One tab. problems: what its console and its errors reported; hosts: where its requests went; sent: frames."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.sent: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._logged)
        page.on("pageerror", lambda error: self.problems.append(error.stack or str(error)))
        page.on("request", lambda request: self._went_to(request.url))
        page.on("websocket", self._opened_socket)

    def _opened_socket(self, socket: WebSocket) -> None:
        self._went_to(socket.url)
        socket.on("framesent", lambda frame: self.sent.append(str(frame)))

    def _logged(self, line: ConsoleMessage) -> None:
        if line.type in ("error", "warning") and "ScriptProcessorNode is deprecated" not in line.text:
            self.problems.append(line.text)

    def _went_to(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("blob", "data"):
            self.hosts.add(parts.netloc)

    def counters(self) -> Json:
        """`makima.counters()`; the page's comment lists them."""
        counters: Json = self.page.evaluate("makima.counters()")
        return counters

    def wait_for(self, condition: str) -> Json:
        """Wait until a JavaScript condition on the counters `c` and the last text `u` is true; returns the counters."""
        code = f"() => {{ const c = makima.counters(), u = c.utterances.at(-1); return {condition} ? c : null; }}"
        found: Json = self.page.wait_for_function(code).json_value()
        return found

    def wait_for_words(self, words: str, place: str = "#utterances") -> None:
        self.page.wait_for_function(f"() => document.querySelector('{place}').textContent.includes('{words}')")

    def wait_for_reports(self, n: int) -> Json:
        """Wait by the player's own clock: it reports every 50 ms of sound or silence."""
        return self.wait_for(f"c.reports >= {self.counters()['reports'] + n}")

    def speak(self, text: str) -> None:
        self.page.fill("#text", text)
        self.page.click("#speak")

    def save(self, folder: str | None, name: str) -> None:
        """A screenshot, where a folder is named."""
        if folder is not None:
            self.page.screenshot(path=Path(folder) / f"{name}.png")


class ScriptedRelay:
    """A relay's end of the socket. It answers `start` and, unless `is_mute`, each `stop`; a test does the rest."""

    def __init__(self, page: Page) -> None:
        self.received: list[Json] = []
        self.urls: list[str] = []
        self.is_mute = False
        self.is_away = False
        self.heard: Json = {"utterance": None, "text": "", "is_estimate": False}
        self._socket: WebSocketRoute | None = None
        page.route(SCRIPTED_ADDRESS + "**", lambda route: route.fulfill(path=PAGE))
        page.route_web_socket("**/api/v1/speak*", self._opened)

    def _opened(self, socket: WebSocketRoute) -> None:
        self.urls.append(socket.url)
        if self.is_away:
            socket.close(code=1011)
            return
        self._socket = socket
        socket.on_message(self._take)

    def _take(self, frame: str | bytes) -> None:
        message: Json = json.loads(frame)
        self.received.append(message)
        if message["type"] == "start":
            self.send("ready", session_id="scripted")
        elif message["type"] == "stop" and not self.is_mute:
            self.send("text_heard", **self.heard)

    def kinds(self) -> list[str]:
        return [message["type"] for message in self.received]

    def of_kind(self, kind: str) -> list[Json]:
        return [message for message in self.received if message["type"] == kind]

    def send(self, kind: str, **members: Any) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps({"type": kind, **members}))

    def segment(self, utterance: int, index: int, pos: int, text: str) -> None:
        self.send("segment", utterance=utterance, index=index, pos=pos, text=text)

    def audio(self, seconds: float) -> None:
        """A tone in one binary frame."""
        assert self._socket is not None
        time = np.arange(int(seconds * RATE)) / RATE
        self._socket.send((8000 * np.sin(2 * np.pi * 220 * time + 1)).astype("<i2").tobytes())

    def complete(self, **members: Any) -> None:
        self.send("audio_chunk", data="", is_final=True)
        self.send("complete", **members)

    def close(self, code: int = 1011) -> None:
        assert self._socket is not None
        self._socket.close(code=code)
