"""Cards: what is served, what is incomplete, what is refused and why."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.jobs import LANGUAGES as JOB_LANGUAGES
from tests.recordings import CARD, TRANSCRIPT, make_voice
from worker.voices.card import LANGUAGES, Card, CardError, load_card
from worker.voices.registry import Registry, RegistryError

ROOT = Path(__file__).parent.parent


def refusal(folder: Path) -> str:
    try:
        return str(Registry.load(folder).problems.get("alice", ""))
    except RegistryError as error:
        return str(error)


def card_error(folder: Path, text: str, name: str = "alice") -> str:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "voice.toml").write_text(text, encoding="utf-8")
    with pytest.raises(CardError) as caught:
        load_card(folder / name)
    return str(caught.value)


# What is shipped


def test_the_shipped_voices_are_makima_incomplete_and_placeholder_ready() -> None:
    registry = Registry.load(ROOT / "voices")
    assert registry.names == ("makima", "placeholder")
    assert registry.get("makima").status == "incomplete"
    assert "reference.wav is missing" in registry.problems["makima"]
    placeholder = registry.get("placeholder")
    assert placeholder.status == "ready"
    assert placeholder.reference_warnings == ()
    assert "ynthetic" in placeholder.consent


def test_the_placeholder_recording_is_24_khz_mono_16_bit_and_small() -> None:
    file = Registry.load(ROOT / "voices").get("placeholder").reference_path
    assert file is not None
    info = soundfile.info(file)
    assert (info.samplerate, info.channels, info.subtype) == (24000, 1, "PCM_16")
    assert 5 <= info.duration <= 15
    assert file.stat().st_size < 600 * 1024


def test_a_card_may_name_every_language_of_a_job_but_auto() -> None:
    assert {*LANGUAGES, "Auto"} == set(JOB_LANGUAGES)
    assert "Auto" not in LANGUAGES


def test_reading_a_card_loads_neither_soundfile_nor_numpy() -> None:
    script = "import sys, worker.voices.card as c; sys.exit(bool({'soundfile', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# Cards


def test_a_card_says_all_that_was_written_into_it(tmp_path: Path) -> None:
    extra = """
        mode = "x_vector"
        text = "streaming"
        [sampling]
        temperature = 0.5
        [lexicon]
        "SQL" = "シークェル"
        [preview]
        pitch = 20
        rate_wpm = 200
        espeak_voices = {Japanese = "ja", English = "en-us+f3"}
    """
    card = load_card(make_voice(tmp_path, extra=extra))
    assert (card.name, card.languages, card.mode, card.transcript) == (
        "alice",
        ("Japanese",),
        "x_vector",
        TRANSCRIPT,
    )
    assert (card.sampling.temperature, card.sampling.top_k) == (0.5, 50)
    assert card.text == "streaming"
    assert card.lexicon == {"SQL": "シークェル"}
    assert (card.preview.pitch, card.preview.rate_wpm) == (20, 200)
    assert card.preview.espeak_voices["English"] == "en-us+f3"
    assert card.reference_path == tmp_path / "alice" / "reference.wav"


@pytest.mark.parametrize(
    ("old", "new", "field", "remedy"),
    [
        ('"Japanese"', '"Klingon"', "languages", "Chinese, English"),
        ('"Japanese"', '"Japanese", "Japanese"', "languages", "twice"),
        ('["Japanese"]', "[]", "languages", "at least 1"),
        ('"reference.wav"', '"../bob/reference.wav"', "reference", "inside the voice's own folder"),
        ('"reference.wav"', '"/etc/passwd"', "reference", "inside the voice's own folder"),
        ('"reference.wav"', '"..\\\\x.wav"', "reference", "inside the voice's own folder"),
        ('"reference.wav"', '"a\\u0000b"', "reference", "inside the voice's own folder"),
        ('"reference.wav"', '""', "reference", "inside the voice's own folder"),
        ('"reference.wav"', "7", "reference", "string"),
        ('"ours"', '""', "licence", "at least 1"),
        ("consent", "consents", "consent", "required"),
        ("consent", "consents", "consents", "not permitted"),
        ('"alice"', '"bob"', "card", "make them equal"),
        ('"alice"', '"al/ice"', "name", "letters"),
        ("licence", "mode = 'clone'\nlicence", "mode", "'icl' or 'x_vector'"),
        ("licence", "text = 'as it comes'\nlicence", "text", "'whole' or 'streaming'"),
        ("licence", "text = 'Every word of the recording.'\nlicence", "text", "transcript"),
        ("licence", "reference_sha256 = 'abc'\nlicence", "reference_sha256", "sha256sum"),
        ("licence", "preview = {pitch = 100}\nlicence", "preview.pitch", "99"),
        ("licence", "preview = {pitch = '5'}\nlicence", "preview.pitch", "integer"),
        ("licence", "preview = {rate_wpm = 79}\nlicence", "preview.rate_wpm", "80"),
        ("licence", "preview = {espeak_voices = {Elvish = 'x'}}\nlicence", "preview.espeak_voices", "Elvish"),
        (
            "licence",
            "preview = {espeak_voices = {English = '/x'}}\nlicence",
            "preview.espeak_voices",
            "en-us",
        ),
        ("licence", "sampling = {temperature = nan}\nlicence", "sampling.temperature", "finite"),
        ("licence", "sampling = {top_k = 0}\nlicence", "sampling.top_k", "1"),
        ("licence", "lexicon = {' ' = 'x'}\nlicence", "lexicon", "empty word"),
        ("licence", "folder = '/'\nlicence", "folder", "remove it"),
        ("licence", "reference_problem = 'x'\nlicence", "reference_problem", "remove it"),
    ],
)
def test_a_wrong_field_is_refused_naming_file_field_and_remedy(
    tmp_path: Path, old: str, new: str, field: str, remedy: str
) -> None:
    message = card_error(tmp_path, CARD.format(name="alice").replace(old, new, 1))
    assert message.startswith(f"{tmp_path / 'alice' / 'voice.toml'}: ")
    assert field in message
    assert remedy in message


def test_all_wrong_fields_of_a_card_are_named_at_once(tmp_path: Path) -> None:
    message = card_error(tmp_path, "name = 'alice'\nlanguages = ['X']\nmode = 'y'\n")
    assert all(field in message for field in ("languages", "mode", "licence", "consent"))


@pytest.mark.parametrize("text", ["name = ", "a = " + "[" * 5000, "a = " + "9" * 5000, "a = 1\na = 2"])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    assert "not valid TOML" in card_error(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "remedy"),
    [
        ('name = "alice"', "name = “alice”", "LEFT DOUBLE QUOTATION MARK"),
        ('name = "alice"', 'name = "alice"', "NO-BREAK SPACE"),
        ('name = "alice"', 'name: "alice"', "name = "),
        ('name = "alice"', "name = alice", "between quotes"),
        ('name = "alice"', 'name = "alice"\nname = "alice"', "twice"),
        ('"ours"', '"C:\\papers"', "backslash"),
        ('"ours"', '"ours', "quote"),
        ("licence", "license", "`licence`"),
        ("licence", "Licence", "`licence`"),
        ("licence", "preview = {Pitch = 5}\nlicence", "`pitch`"),
        ("licence =", "[preview]\nlicence =", "above the first [table]"),
        ('"これ', '"   "\n# "これ', "no words"),
    ],
)
def test_a_common_slip_in_a_card_is_refused_with_what_to_change(
    tmp_path: Path, old: str, new: str, remedy: str
) -> None:
    assert remedy in card_error(tmp_path, CARD.format(name="alice").replace(old, new, 1))


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", " \t\r\n"])
def test_a_card_as_windows_writes_it_is_read(tmp_path: Path, mark: bytes, line_end: str) -> None:
    card = make_voice(tmp_path) / "voice.toml"
    card.write_bytes(mark + card.read_text(encoding="utf-8").replace("\n", line_end).encode())
    assert Registry.load(tmp_path).get("alice").status == "ready"


@pytest.mark.parametrize(
    ("encoding", "named"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("shift_jis", "line 4"), ("euc_jp", "line 4")],
)
def test_a_card_in_another_encoding_is_refused_naming_it_or_the_line(tmp_path: Path, encoding: str, named: str) -> None:
    card = make_voice(tmp_path) / "voice.toml"
    card.write_bytes(card.read_text(encoding="utf-8").encode(encoding))
    with pytest.raises(CardError, match=f"{named}.*save it as UTF-8"):
        load_card(tmp_path / "alice")


@pytest.mark.parametrize("is_composed", [False, True])
def test_a_recording_is_found_whichever_unicode_form_its_name_has(tmp_path: Path, is_composed: bool) -> None:
    voice = make_voice(tmp_path)
    names = unicodedata.normalize("NFD", "tägé/が.wav"), unicodedata.normalize("NFC", "tägé/が.wav")
    in_card, on_disk = names if is_composed else names[::-1]
    (voice / on_disk).parent.mkdir()
    (voice / "reference.wav").rename(voice / on_disk)
    card = voice / "voice.toml"
    card.write_text(card.read_text(encoding="utf-8").replace("reference.wav", in_card), encoding="utf-8")
    assert Registry.load(tmp_path).get("alice").status == "ready"


def test_a_missing_recordings_problem_names_those_that_are_there(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    (voice / "reference.wav").rename(voice / "Reference.WAV")
    assert "'Reference.WAV'" in refusal(tmp_path)


def unreadable(_: Path, encoding: str = "utf-8") -> str:
    raise PermissionError(13, "Permission denied")


def test_a_card_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voice = tmp_path / "alice"
    voice.mkdir()
    card = voice / "voice.toml"
    with pytest.raises(CardError, match="not found"):
        load_card(voice)
    card.write_bytes(b"name = '\xff'")
    with pytest.raises(CardError, match="UTF-8"):
        load_card(voice)
    card.write_bytes(b"#" * 300_000)
    with pytest.raises(CardError, match="256 KiB"):
        load_card(voice)
    card.write_bytes(b"")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", unreadable)
        with pytest.raises(CardError, match="check its permissions"):
            load_card(voice)
    card.unlink()
    os.mkfifo(card)
    with pytest.raises(CardError, match="regular file"):
        load_card(voice)
    card.unlink()
    card.mkdir()
    with pytest.raises(CardError, match="regular file"):
        load_card(voice)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_no_bytes_in_a_card_raise_anything_but_a_card_error(tmp_path: Path, data: bytes) -> None:
    voice = tmp_path / "alice"
    voice.mkdir(exist_ok=True)
    (voice / "voice.toml").write_bytes(data)
    with pytest.raises(CardError):
        load_card(voice)


def test_a_card_can_be_made_without_a_file(tmp_path: Path) -> None:
    card = Card(
        name="alice",
        languages=("English",),
        reference=None,
        reference_sha256=None,
        licence="ours",
        consent="given",
        folder=tmp_path / "alice",
    )
    assert card.complete
    assert card.preview.pitch == 50
