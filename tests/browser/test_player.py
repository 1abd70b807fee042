"""What the page plays and sends, in front of a relay that the test plays."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from tests.browser.conftest import Scripted

OpenScripted = Callable[..., Scripted]

TEXT = "One two three. Four five six."
NO_WORKLETS = "delete AudioContext.prototype.audioWorklet; delete BaseAudioContext.prototype.audioWorklet"
# The page tries a lost relay again only when it is asked to.
TRIES_LATE = """const later = setTimeout;
window.setTimeout = (run, ms, ...more) => later(run, ms >= 375 ? 60000 : ms, ...more);"""
OTHER_RATE = "window.AudioContext = class extends AudioContext { constructor() { super({ sampleRate: 44100 }); } }"


@pytest.mark.parametrize(
    ("script", "player", "rate"),
    [(None, "worklet", 24_000), (NO_WORKLETS, "fallback", 24_000), (OTHER_RATE, "worklet", 44_100)],
    ids=["worklet", "without worklets", "a context of another rate"],
)
def test_every_sample_is_put_out_once(scripted: OpenScripted, script: str | None, player: str, rate: int) -> None:
    tab, relay = scripted(script=script)
    tab.speak(TEXT)
    relay.segment(1, 0, 0, TEXT)
    for _ in range(4):
        relay.audio(0.15)
    relay.complete()
    counters = tab.wait_for("u.state === 'heard'")
    assert (counters["player"], counters["context_rate"]) == (player, rate)
    assert counters["out"] == counters["received"] == counters["played"] == 14_400
    assert 14_000 < counters["non_silent"] <= 14_400
    assert counters["utterances"][0]["heard"] == TEXT


def test_start_asks_for_what_the_page_uses_and_the_token_is_passed_on(scripted: OpenScripted) -> None:
    _, relay = scripted("?access_token=a%26b&other=1")
    start = {"type": "start", "sample_rate": 24_000, "encoding": "pcm_s16le", "binary": True, "segments": True}
    assert relay.received == [start]
    assert relay.urls == ["ws://localhost/api/v1/speak?access_token=a%26b"]


def test_audio_that_is_late_is_put_out_when_it_comes(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    tab.speak(TEXT)
    relay.audio(0.2)
    tab.wait_for("c.underruns === 1 && c.queued === 0")
    relay.audio(0.2)
    relay.complete()
    counters = tab.wait_for("u.state === 'heard'")
    assert counters["out"] == 9_600
    assert tab.page.inner_text("#underruns") == str(counters["underruns"])


def test_a_stop_counts_what_was_played_and_nothing_of_it_sounds_again(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    relay.is_mute = True
    tab.speak(TEXT)
    relay.segment(1, 0, 0, "One two three.")
    relay.segment(1, 1, 48_000, "Four five six.")
    relay.audio(20)
    tab.wait_for("c.played > 4800")
    tab.page.keyboard.press("Escape")
    stopped = tab.wait_for("c.stops === 1")
    relay.audio(20)  # was on its way
    tab.wait_for("u.state === 'interrupted'")
    (stop,) = relay.of_kind("stop")
    assert stop["played_ms"] * 24 == pytest.approx(stopped["out_at_stop"])
    relay.send("text_heard", utterance=1, text="One two", is_estimate=True)
    relay.send("complete", cancelled=True)
    counters = tab.wait_for_reports(8)
    assert counters["out"] == counters["out_at_stop"]
    assert counters["received"] == 480_000
    assert (counters["utterances"][0]["heard"], counters["utterances"][0]["not_heard"]) == (
        "One two",
        "three. Four five six.",
    )
    assert "Heard: One two Not heard: three. Four five six." in tab.page.inner_text("#status").replace("\n", "")

    tab.speak("Again.")
    relay.audio(0.5)
    relay.complete()
    counters = tab.wait_for("u.state === 'heard'")
    assert counters["out"] - counters["out_at_stop"] == counters["played"] == 12_000


def test_the_relays_count_settles_every_text_of_the_stop(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    relay.heard = {"utterance": 2, "text": "Two b", "is_estimate": True}
    for number, text in enumerate(["One a.", "Two b c.", "Three d."], 1):
        tab.speak(text)
        relay.segment(number, 0, 0, text)
        if number == 1:
            relay.audio(0.2)
            relay.complete()
    relay.audio(20)
    tab.wait_for("c.played > 6000")
    tab.page.click("#interrupt")
    tab.wait_for("c.stops === 1")
    relay.send("audio_chunk", data="", is_final=True)
    relay.send("complete", cancelled=True)
    relay.send("complete", cancelled=True)
    counters = tab.wait_for("c.utterances[1].heard === 'Two b'")
    assert [one["state"] for one in counters["utterances"]] == ["heard", "interrupted", "interrupted"]
    assert [one["heard"] for one in counters["utterances"]] == ["One a.", "Two b", ""]


def test_a_stop_closes_the_text_that_is_being_typed_and_the_next_one_follows_it(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    tab.page.check("[value=typed]")
    tab.speak("One two three four five six seven eight nine ten.")
    tab.wait_for_words("two")
    tab.page.keyboard.press("Escape")
    tab.page.fill("#speed", "20")
    tab.speak("Again and again.")
    tab.wait_for("u.number === 2 && u.state === 'waiting'")
    kinds = relay.kinds()
    assert kinds[kinds.index("stop") :] == ["stop", "text", "text", "text", "end"]
    assert "".join(message["text"] for message in relay.of_kind("text")[-3:]) == "Again and again."


def test_texts_beyond_what_a_relay_takes_wait_in_the_page(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    for number in range(12):
        tab.speak(f"Number {number}.")
    assert len(relay.of_kind("speak")) == 9
    relay.send("complete")
    tab.wait_for("c.utterances.filter(u => u.number).length === 10")
    assert relay.of_kind("speak")[-1]["text"] == "Number 9."


def test_an_error_ends_its_text_alone(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    for text in ("Begun.", "Failed.", "Refused."):
        tab.speak(text)
    relay.audio(0.2)
    tab.wait_for("c.received > 0")
    relay.send("error", code="unavailable", message="Redis is away")  # overtakes the first one, which is being spoken
    relay.complete()
    relay.send("error", code="unknown_voice", message="no such voice")
    counters = tab.wait_for("c.utterances[0].state === 'heard'")
    assert [one["state"] for one in counters["utterances"]] == ["heard", "failed", "failed"]
    assert "no such voice" in counters["utterances"][1]["error"]
    assert "Redis is away" in counters["utterances"][2]["error"]
    assert "no such voice" in tab.page.inner_text("#utterances")
    assert "voice" in tab.page.inner_text("#notice")


def test_a_lost_connection_comes_back_and_the_next_text_is_spoken(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    tab.speak("Lost in the middle.")
    relay.audio(0.3)
    tab.wait_for("c.received > 0")
    relay.close()
    tab.wait_for("c.connection === 'ready' && u.state === 'lost'")
    assert relay.kinds().count("start") == 2
    tab.speak("Again.")
    relay.audio(20)
    tab.wait_for("c.played > 7200 + 4800")
    tab.page.keyboard.press("Escape")
    counters = tab.wait_for("c.stops === 1 && u.state === 'interrupted'")
    tab.wait_for_words("Heard", "#status")
    # the new session knows nothing of what was played before its start
    assert relay.of_kind("stop")[0]["played_ms"] * 24 == pytest.approx(counters["out_at_stop"] - 7200)


def test_a_relay_that_is_away_is_reported_and_tried_again(scripted: OpenScripted) -> None:
    tab, relay = scripted(script=TRIES_LATE)
    relay.is_away = True
    relay.close(1001)
    tab.wait_for("c.connection === 'closed'")
    assert "shutting down" in tab.page.inner_text("#notice")
    tab.page.click("#speak")
    assert "no connection" in tab.page.inner_text("#notice")
    relay.is_away = False
    tab.page.click("#reconnect")
    tab.wait_for("c.connection === 'ready'")
    assert tab.page.is_hidden("#reconnect")


def test_what_the_page_does_not_know_is_skipped(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    tab.speak(TEXT)
    relay.send("novelty", utterance=1, data=[1])
    relay.segment(99, 0, 0, "of no text")
    relay.send("audio_chunk", data=base64.b64encode(b"\1\7" * 4800).decode(), is_final=False, novelty={})
    relay.complete(novelty=1)
    counters = tab.wait_for("u.state === 'heard'")
    assert counters["out"] == 4800


def test_nothing_is_sent_without_a_text_or_for_one_that_is_too_long(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    for text, word in ((" \n ", "type a text"), ("é" * 40_000, "too long")):
        tab.speak(text)
        assert word in tab.page.inner_text("#notice")
    tab.page.keyboard.press("Escape")
    assert relay.kinds() == ["start"]
