"""The page for everybody: keyboard alone, narrow screens, both colour schemes, little motion, a screen reader."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import SCREENSHOTS, Scripted
from tests.browser.opened import Opened, ScriptedRelay

OpenScripted = Callable[..., Scripted]

SCREENS = {"phone": {"width": 320, "height": 640}, "desktop": {"width": 1280, "height": 800}}

# [text, ratio] of every piece of text that is shown, by WCAG's formula. Backgrounds are those of the ancestors.
CONTRASTS = """() => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => parse(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const [, , , alpha = 1] = parse(getComputedStyle(element).backgroundColor);
      if (alpha === 1) return getComputedStyle(element).backgroundColor;
      if (alpha > 0) throw new Error("a background that lets others through");
    }
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.data.trim() || element.closest("script, .unseen")) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    if (style.opacity !== "1") throw new Error(`${node.data} is translucent`);
    const [a, b] = [light(style.color), light(behind(element))].sort((x, y) => y - x);
    found.push([node.data.trim(), (a + 0.05) / (b + 0.05)]);
  }
  return found;
}"""
NARROW_TARGETS = """() => [...document.querySelectorAll("button, input, textarea")]
  .filter(e => e.checkVisibility({ visibilityProperty: true }))
  .map(e => (e.type === "radio" ? e.parentElement : e).getBoundingClientRect())
  .filter(box => box.width < 44 || box.height < 43.9).map(box => [box.width, box.height])"""

# What the box around the text would clip.
CLIPPED = """() => {
  const box = document.getElementById("compose").getBoundingClientRect();
  return [...document.querySelectorAll("#compose *:not(.unseen)")]
    .filter(e => e.getBoundingClientRect().right > box.right).map(e => e.outerHTML);
}"""


def fill_with_everything(tab: Opened, relay: ScriptedRelay, shot: Callable[[str], None]) -> None:
    """Every state that a text and the connection can be in, one below the other; `shot` is called in between."""
    shot("idle")
    tab.speak("Heard to its end.")
    relay.segment(1, 0, 0, "Heard to its end.")
    relay.audio(0.2)
    relay.complete()
    tab.wait_for("u.state === 'heard'")
    tab.speak("Refused.")
    relay.send("error", code="unknown_voice", message="voice nobody is none of makima, placeholder; use one of them")
    tab.wait_for("u.state === 'failed'")
    tab.page.check("[value=typed]")
    tab.page.fill("#speed", "20")
    tab.speak("Good evening. This is being spoken, 今日はいい天気です。 And an-extraordinarily-long-word-" + "o" * 80)
    relay.segment(3, 0, 0, "Good evening.")
    relay.segment(3, 1, 4_800, "This is being spoken, 今日はいい天気です。")
    relay.audio(30)
    tab.wait_for("c.played > 12000")
    tab.page.wait_for_function("() => document.querySelectorAll('.now').length === 1")
    shot("speaking")
    tab.page.keyboard.press("Escape")
    tab.wait_for("u.state === 'interrupted'")
    tab.wait_for_words("words were heard")
    shot("interrupted")
    relay.is_away = True
    relay.close()
    tab.wait_for("c.connection === 'closed'")
    shot("disconnected")


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_can_be_read_and_touched(scripted: OpenScripted, screen: str, scheme: str) -> None:
    tab, relay = scripted(viewport=SCREENS[screen], color_scheme=scheme, has_touch=screen == "phone")
    seen: list[str] = []

    def look(state: str) -> None:
        seen.append(state)
        tab.save(SCREENSHOTS, f"{screen}_{scheme}_{state}")
        pale = [(text, ratio) for text, ratio in tab.page.evaluate(CONTRASTS) if ratio < 4.5]
        assert pale == [], state
        width = tab.page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= SCREENS[screen]["width"], state
        assert tab.page.evaluate(CLIPPED) == [], state
        assert tab.page.evaluate(NARROW_TARGETS) == [], state

    fill_with_everything(tab, relay, look)
    assert seen == ["idle", "speaking", "interrupted", "disconnected"]
    background = tab.page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) > 3 * 128) is (scheme == "light")


def test_the_keyboard_alone_is_enough(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    keys = tab.page.keyboard
    order = []
    for _ in range(5):
        keys.press("Tab")
        order.append(tab.page.evaluate("() => document.activeElement.id || document.activeElement.name"))
        outline = tab.page.evaluate("() => getComputedStyle(document.activeElement).outline")
        assert "none" not in outline, order
        assert not outline.endswith(" 0px"), order
        if order[-1] == "way":
            keys.press("ArrowRight")
    assert order == ["text", "way", "speed", "speak", "interrupt"]
    keys.press("Shift+Tab")
    assert tab.page.evaluate("() => document.activeElement.id") == "speak"
    for _ in range(3):
        keys.press("Shift+Tab")
    keys.press("Control+A")
    keys.type("By keys.")
    keys.press("Control+Enter")
    tab.wait_for("u.text === 'By keys.' && u.state === 'waiting'")
    relay.audio(20)
    tab.wait_for("c.non_silent > 0")
    keys.press("Escape")
    tab.wait_for("u.state === 'interrupted'")
    assert relay.kinds() == ["start", "text", "text", "end", "stop"]


def test_everything_has_a_name_for_a_screen_reader(scripted: OpenScripted) -> None:
    tab, _ = scripted()
    tab.page.check("[value=typed]")
    tree = tab.page.locator("body").aria_snapshot()
    for named in (
        'textbox "Text to speak"',
        'group "How the text is sent"',
        'radio "All at once"',
        'radio "Word by word"',
        'slider "Speed"',
        'button "Speak"',
        'button "Interrupt" [disabled]',
        'img "Waveform',
        'region "Sound"',
        'region "Texts"',
        'region "Measured"',
        "status: Connected",
        "status: Ready",
    ):
        assert named in tree
    assert tab.page.get_attribute("#speed", "aria-valuetext") == "5 words/s"


def test_states_and_errors_are_announced(scripted: OpenScripted) -> None:
    tab, relay = scripted()
    assert tab.page.get_by_role("status").all_inner_texts() == ["Connected", "Ready"]
    tab.speak("Hello.")
    tab.wait_for_words("Waiting", "#status")
    relay.audio(0.3)
    tab.wait_for_words("Speaking", "#status")
    relay.complete()
    tab.wait_for_words("Finished", "#status")
    tab.speak(" ")
    assert tab.page.get_by_role("alert").inner_text()


def test_nothing_moves_by_itself_where_motion_is_to_be_reduced(scripted: OpenScripted) -> None:
    for motion, n in (("reduce", 0), ("no-preference", 1)):
        tab, _ = scripted(reduced_motion=motion)
        tab.page.check("[value=typed]")
        tab.page.fill("#speed", "1")
        tab.speak("One two three four five six seven eight nine ten eleven twelve.")
        tab.wait_for_words("two")
        assert tab.page.evaluate("() => document.getAnimations().filter(a => a.animationName).length") == n
