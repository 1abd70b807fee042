"""Voices and cached prompts stay in their folders, whatever their names and wherever links lead."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recordings import make_voice
from tests.security.nasty import NASTY
from worker.voices.card import CardError, is_voice_name, load_card
from worker.voices.prompt import prepare
from worker.voices.prompt_cache import PromptCache
from worker.voices.reference import UnusableReference
from worker.voices.registry import Registry, RegistryError, UnknownVoice

KEY, OTHER_KEY = "ab" * 32, "cd" * 32
NAMES = st.one_of(st.text(max_size=70), st.from_regex(r"[A-Za-z0-9._/\\-]{1,70}", fullmatch=True))
VOICES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)


# Names.


@given(NAMES)
def test_a_voice_name_is_one_part_of_a_path_and_never_a_way_up(name: str) -> None:
    if is_voice_name(name):
        path = Path("/voices") / name
        assert path.parent == Path("/voices")
        assert path.resolve() == path
        assert not name.startswith(".")


@pytest.mark.parametrize("name", [name.decode("utf-8", "replace") for name in NASTY])
def test_no_nasty_name_is_a_voices(name: str) -> None:
    assert not is_voice_name(name)


@given(VOICES, VOICES, st.sampled_from([KEY, OTHER_KEY]))
def test_each_voice_has_a_prompt_file_of_its_own_in_the_cache(one: str, other: str, key: str) -> None:
    cache = PromptCache(Path("/cache/prompts"))
    file = cache.file_of(one, KEY)
    assert file.parent == file.resolve().parent == cache.folder
    assert (file == cache.file_of(other, key)) == ((one, KEY) == (other, key))


# Cards.


@pytest.mark.parametrize(
    "reference",
    [
        *("../../etc/passwd", "/etc/passwd", "..", ".", "", "../alice/reference.wav", "a/../../b.wav", "//etc/passwd"),
        *("..\\\\reference.wav", "C:\\\\x.wav", "reference.wav\\u0000.txt", "reference.wav\\n", "\\u202Evaw.wav"),
    ],
)
def test_a_reference_outside_the_voices_folder_is_refused(tmp_path: Path, reference: str) -> None:
    voice = make_voice(tmp_path)
    card = voice / "voice.toml"
    card.write_text(card.read_text("utf-8").replace('"reference.wav"', f'"{reference}"'), "utf-8")
    with pytest.raises(CardError, match="inside the voice's own folder"):
        load_card(voice)


def test_a_folder_in_a_voice_that_links_out_of_it_is_refused(tmp_path: Path) -> None:
    voice = make_voice(tmp_path / "voices")
    (tmp_path / "outside").mkdir()
    (voice / "reference.wav").rename(tmp_path / "outside" / "reference.wav")
    (voice / "takes").symlink_to(tmp_path / "outside")
    card = voice / "voice.toml"
    card.write_text(card.read_text("utf-8").replace('"reference.wav"', '"takes/reference.wav"'), "utf-8")
    with pytest.raises(CardError, match="leads out"):
        load_card(voice)


@pytest.mark.parametrize("linked", ["alice", "alice/voice.toml"])
def test_a_voice_or_a_card_that_links_out_of_the_voices_is_refused(tmp_path: Path, linked: str) -> None:
    outside = make_voice(tmp_path / "outside")
    voice = make_voice(tmp_path / "voices")
    place = tmp_path / "voices" / linked
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    place.symlink_to(outside if place.name == voice.name else outside / "voice.toml")
    with pytest.raises(RegistryError, match="leads out"):
        Registry.load(tmp_path / "voices")


def test_hidden_folders_and_links_are_no_voices(tmp_path: Path) -> None:
    outside = make_voice(tmp_path / "outside", "secret")
    make_voice(tmp_path / "voices")
    (tmp_path / "voices" / ".secret").symlink_to(outside)
    registry = Registry.load(tmp_path / "voices")
    assert registry.names == ("alice",)
    for name in (".secret", "../outside/secret", str(outside), "alice/../alice", "./alice"):
        with pytest.raises(UnknownVoice):
            registry.get(name)


def test_a_recording_exchanged_for_a_link_after_the_cards_were_read_is_not_taken(tmp_path: Path) -> None:
    """Its digest is the card's, or it is no reference, wherever it lies."""
    voice = make_voice(tmp_path / "voices")
    card = Registry.load(tmp_path / "voices").get("alice")
    secret = tmp_path / "secret"
    secret.write_text("what nobody may hear")
    (voice / "reference.wav").unlink()
    (voice / "reference.wav").symlink_to(secret)
    with pytest.raises(UnusableReference) as refused:
        prepare(card)
    assert "what nobody may hear" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


# Prompts.


def test_a_link_in_the_place_of_a_prompt_is_replaced_and_what_it_leads_to_is_not_written(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("safetensors")
    cache = PromptCache(tmp_path / "prompts")
    cache.folder.mkdir()
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    cache.file_of("alice", KEY).symlink_to(outside)
    assert cache.load("alice", KEY) is None
    cache.store("alice", KEY, {"codes": np.zeros(4)})
    assert outside.read_bytes() == b"precious"
    assert not cache.file_of("alice", KEY).is_symlink()
    assert cache.load("alice", KEY) is not None
