"""The registry of voices: folders and links, what is refused, reloads."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.recordings import make_voice
from worker.voices.card import Card, CardError, load_card
from worker.voices.registry import Registry, RegistryError, UnknownVoice

ROOT = Path(__file__).parent.parent


# Folders and links


def test_a_reference_that_links_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    voice = make_voice(tmp_path / "voices")
    outside = tmp_path / "secret.wav"
    (voice / "reference.wav").rename(outside)
    (voice / "reference.wav").symlink_to(outside)
    with pytest.raises(CardError, match=r"reference.*leads out"):
        load_card(voice)


def test_a_reference_that_links_to_itself_is_refused_or_missing(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    (voice / "reference.wav").unlink()
    (voice / "reference.wav").symlink_to("reference.wav")
    with suppress(RegistryError):
        assert Registry.load(tmp_path).problems[
            "alice"
        ]  # Python 3.13 resolves such a link to itself, older ones do not resolve it at all


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    (voice / "reference.wav").rename(voice / "take3.wav")
    (voice / "reference.wav").symlink_to("take3.wav")
    assert Registry.load(tmp_path).get("alice").complete


def test_a_voice_folder_that_links_out_of_the_voices_is_refused(tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    make_voice(tmp_path / "elsewhere")
    voices.mkdir()
    (voices / "alice").symlink_to(tmp_path / "elsewhere" / "alice")
    with pytest.raises(RegistryError, match="leads out"):
        Registry.load(voices)


def test_a_folder_that_cannot_be_a_voices_name_is_refused(tmp_path: Path) -> None:
    make_voice(tmp_path)
    (tmp_path / "no spaces").mkdir()
    with pytest.raises(RegistryError, match=r"no spaces.*valid voice name"):
        Registry.load(tmp_path)


# The registry


def test_an_unknown_voice_is_refused_with_those_there_are(tmp_path: Path) -> None:
    make_voice(tmp_path, "bob")
    make_voice(tmp_path, "alice")
    registry = Registry.load(tmp_path)
    assert registry.names == ("alice", "bob")
    assert [card.name for card in registry] == ["alice", "bob"]
    for name in ("carol", "Alice", "../alice", "", "a" * 10_000):
        with pytest.raises(UnknownVoice, match="available: alice, bob") as caught:
            registry.get(name)
        assert len(str(caught.value)) < 200
        assert caught.value.name == name


def test_all_problems_of_all_cards_are_reported_together(tmp_path: Path) -> None:
    for name in ("alice", "bob", "carol"):
        make_voice(tmp_path, name)
    (tmp_path / "alice" / "voice.toml").unlink()
    (tmp_path / "bob" / "voice.toml").write_text("name = 5")
    with pytest.raises(RegistryError) as caught:
        Registry.load(tmp_path)
    assert len(caught.value.problems) == 2
    assert "alice" in caught.value.problems[0]
    assert "bob" in str(caught.value)


def test_a_folder_without_voices_or_without_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("no voice")
    with pytest.raises(RegistryError, match="has no voices"):
        Registry.load(tmp_path)
    with pytest.raises(RegistryError, match="MAKIMA_TTS_VOICES_DIR"):
        Registry.load(tmp_path / "nowhere")


def test_a_reload_sees_new_and_changed_voices_and_leaves_the_old_registry_alone(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    old = Registry.load(tmp_path)
    make_voice(tmp_path, "bob")
    (voice / "reference.wav").unlink()
    new = old.reload()
    assert new.names == ("alice", "bob")
    assert not new.get("alice").complete
    assert old.names == ("alice",)
    assert old.get("alice").complete


def test_a_reload_that_fails_leaves_the_old_registry_serving(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    registry = Registry.load(tmp_path)
    (voice / "voice.toml").write_text("broken")
    with pytest.raises(RegistryError, match="alice"):
        registry.reload()
    assert registry.get("alice").complete


def test_cards_cannot_be_changed(tmp_path: Path) -> None:
    make_voice(tmp_path)
    registry = Registry.load(tmp_path)
    card: Card = registry.get("alice")
    with pytest.raises(ValueError, match="frozen"):
        card.name = "bob"  # type: ignore[misc]
    with pytest.raises(TypeError):
        registry.cards["bob"] = card  # type: ignore[index]
