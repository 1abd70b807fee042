"""The page's own arithmetic, called in the page: what was heard, the ring of the player, and words on their way."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise

from tests.browser.conftest import Scripted
from tests.conftest import REPOSITORY

OpenScripted = Callable[..., Scripted]

HEARD = REPOSITORY / "schemas" / "vectors" / "heard.json"
# [words that the page counts, words of the golden text] for each number of samples played.
COUNT_WORDS = """cases => cases.map(golden => {
  const u = new Utterance("", false);
  for (const { index, pos, text } of golden.segments) u.segments[index] = { pos, text };
  Object.assign(u, { made: golden.made, end: golden.is_complete ? "complete" : null });
  return golden.heard.map(({ played, text }) => [u.wordsIn(played), wordEnds(text).length]);
})"""
# Characters that are lit after each chunk of 480 samples, of which 400 are played.
LIT = """() => {
  const u = new Utterance("Good evening.", false);
  u.segments[0] = { pos: 0, text: u.text };
  Object.defineProperty(u, "played", { get: () => Math.min(400, u.made) });
  const lit = () => u.parts.reduce((sum, part) => sum + part.lit, 0);
  return Array.from({ length: 8 }, () => { u.made += 480; return lit(); });
}"""
# A ramp through a ring of 64 samples, in steps of all sizes and from a fixed seed: [put out, samples, underruns].
THROUGH_RING = """contextRate => {
  const ring = new Ring(24000, contextRate, () => {}), n = 4000, frames = new Float32Array(128), out = [];
  ring.ring = new Float32Array(64);
  let seed = 7, given = 0;
  const random = below => (seed = seed * 48271 % 2147483647) % below;
  while (given < n || ring.tail > ring.head) {
    if (given < n && random(2)) {
      const block = Float32Array.from({ length: Math.min(n - given, random(700)) }, () => ++given);
      ring.take({ samples: block, key: 1, isFinal: given === n });
    }
    const before = ring.out;
    ring.fill(frames);
    if (ring.out > before) out.push(...frames.filter(value => value > 0));
  }
  return [out, n, ring.out];
}"""

# Underruns after each step: a chunk that is played to its end (1), nothing (0), or a last chunk (2).
UNDERRUNS = """steps => {
  const ring = new Ring(24000, 24000, () => {}), frames = new Float32Array(128);
  return steps.map(step => {
    if (step) ring.take({ samples: new Float32Array(3000), key: 1, isFinal: step === 2 });
    do ring.fill(frames); while (ring.isPlaying);
    return ring.underruns;
  });
}"""


def test_what_was_heard_is_counted_by_the_contracts_rule(scripted: OpenScripted) -> None:
    tab, _ = scripted()
    cases = json.loads(HEARD.read_text("utf-8"))
    for case, counted in zip(cases, tab.page.evaluate(COUNT_WORDS, cases), strict=True):
        assert [own for own, _ in counted] == [golden for _, golden in counted], case["note"]


def test_a_word_that_was_lit_stays_lit_while_more_of_its_segment_arrives(scripted: OpenScripted) -> None:
    tab, _ = scripted()
    assert tab.page.evaluate(LIT) == [4] * 8


def test_the_ring_puts_every_sample_out_in_order_while_it_wraps_and_grows(scripted: OpenScripted) -> None:
    tab, _ = scripted()
    out, n, counted = tab.page.evaluate(THROUGH_RING, 24_000)
    assert out == list(range(1, n + 1))
    assert counted == n


def test_an_underrun_is_a_wait_between_the_first_sample_and_the_final_chunk(scripted: OpenScripted) -> None:
    tab, _ = scripted()
    assert tab.page.evaluate(UNDERRUNS, [0, 1, 0, 1, 2, 0, 2, 0, 1]) == [0, 1, 1, 2, 2, 2, 2, 2, 3]


def test_a_context_of_another_rate_gets_the_samples_in_between(scripted: OpenScripted) -> None:
    tab, _ = scripted()
    for rate in (44_100, 48_000):
        out, n, counted = tab.page.evaluate(THROUGH_RING, rate)
        assert counted == n
        assert abs(len(out) - n * rate / 24_000) < 100  # it ends a step later or earlier at each wait
        steps = [after - before for before, after in pairwise(out)]
        assert min(steps) >= 0
        assert max(steps) <= 2


def test_a_text_is_cut_into_words_and_none_of_it_is_lost(scripted: OpenScripted) -> None:
    tab, _ = scripted()
    for text in ("One, two – three!\n\nFour.", "  今日はいい天気です。", "Ça va? 👩‍👩‍👧 שלום עולם", "…"):
        pieces = tab.page.evaluate("text => pieces(text)", text)
        assert "".join(pieces) == text
        assert len(pieces) >= len(text.split()) - 2
