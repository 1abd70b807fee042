"""The page in front of both relays and a worker: what a person does with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.opened import Opened
from tests.browser.running import Dev
from tests.relay import relays

OpenAt = Callable[..., Opened]

TWO = "Good evening. All of it is heard."
LONG = "I read a text aloud, and you may interrupt me at any time. " * 6
# Notes the state of a context before any gesture, and the number of characters that are lit after each change.
WATCH = """
window.state = new AudioContext().state;
window.lit = [0];
addEventListener("DOMContentLoaded", () => {
  const count = () => [...document.querySelectorAll(".lit")].reduce((n, e) => n + e.textContent.length, 0);
  const place = document.getElementById("utterances");
  new MutationObserver(() => lit.push(count())).observe(place, { subtree: true, childList: true });
});"""


def test_a_text_is_heard_and_lights_up(address: str, open_at: OpenAt) -> None:
    tab = open_at(address, WATCH)
    assert tab.page.evaluate("() => state") == "suspended"  # the page has to begin its sound in a gesture
    tab.problems.clear()  # the browser's warning about that context
    tab.page.fill("#text", "")
    tab.page.locator("#text").press_sequentially(TWO)
    tab.page.click("#speak")
    tab.wait_for("c.non_silent > 2400")
    counters = tab.wait_for("u.state === 'heard'")
    assert counters["out"] == counters["received"] == counters["played"]
    assert counters["first_chunk_ms"] <= counters["first_sound_ms"]
    assert counters["utterances"][0]["heard"] == TWO
    lit = tab.page.evaluate("() => lit")
    assert lit == sorted(lit)
    assert len(set(lit)) > 4  # word by word
    assert tab.hosts == {urlsplit(address).netloc}


def test_words_that_are_still_being_written_are_heard(address: str, open_at: OpenAt) -> None:
    tab = open_at(address)
    tab.page.check("[value=typed]")
    tab.page.fill("#speed", "20")
    tab.speak("Grüße! 今日は。")
    counters = tab.wait_for("u.state === 'heard'")
    assert counters["out"] == counters["received"] > 2400
    assert counters["utterances"][0]["heard"] == "Grüße! 今日は。"
    assert sum('"type":"text"' in frame for frame in tab.sent) >= 3


def test_an_interruption_silences_and_shows_what_was_heard(address: str, open_at: OpenAt) -> None:
    tab = open_at(address)
    tab.speak(LONG)
    tab.wait_for("c.played > 12000")
    tab.page.keyboard.press("Escape")
    tab.wait_for_words("Heard:", "#status")
    counters = tab.wait_for_reports(10)
    assert counters["stops"] == 1
    assert counters["out"] == counters["out_at_stop"] > 12_000
    one = counters["utterances"][0]
    assert one["heard"]
    assert LONG.strip() == f"{one['heard']} {one['not_heard']}"

    tab.speak("word " * 3000)  # more than a worker takes
    tab.speak("Again.")
    counters = tab.wait_for("u.state === 'heard'")
    assert [each["state"] for each in counters["utterances"]] == ["interrupted", "failed", "heard"]
    assert "text_too_long" in counters["utterances"][1]["error"]


def test_two_pages_speak_at_once_and_several_texts_follow_each_other(address: str, open_at: OpenAt) -> None:
    tabs = [open_at(address), open_at(address)]
    texts = (["One.", "Two.", "Three."], ["Eins."])
    for tab, own in zip(tabs, texts, strict=True):
        for text in own:
            tab.speak(text)
    for tab, own in zip(tabs, texts, strict=True):
        counters = tab.wait_for("u.state === 'heard'")
        assert [each["heard"] for each in counters["utterances"]] == own
        assert counters["out"] == counters["received"]


@pytest.mark.parametrize("command", ["python", "rust"])
def test_the_page_passes_its_token_on(command: str, dev: Dev, open_at: OpenAt, tmp_path: Path) -> None:
    started = relays.PYTHON if command == "python" else relays.rust()
    if started is None:
        pytest.skip(relays.NOT_BUILT)
    (tmp_path / "token").write_text("sesame&more")
    with relays.relay(started, redis_url=dev.redis_url, token_file=tmp_path / "token") as relay:
        address = f"http://127.0.0.1:{relay.port}/"
        tab = open_at(address)
        tab.wait_for_words("access token", "#notice")
        tab.page.goto(address + "?access_token=sesame%26more")
        tab.wait_for("c.connection === 'ready'")
        tab.problems.clear()  # the browser logs each socket that was refused
        tab.page.goto("about:blank")
