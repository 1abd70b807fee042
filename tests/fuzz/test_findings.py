"""What fuzzing found, each as a sentence."""

from __future__ import annotations

import io
import json
import logging
import struct
import subprocess
import sys
import time
from math import prod
from pathlib import Path

import numpy as np
import pytest
import redis
import soundfile

from schemas import Error, ErrorCode, job_fields, parse_job
from tests.fuzz.target import packed
from tests.fuzz.targets.recordings import RATE_HZ, riff
from tests.fuzz.targets.urls import parse_slots
from tests.recordings import babble, make_voice, problem, replace_recording, set_digest
from worker.engine.checkpoint.headers import read_header
from worker.settings import Settings, SettingsError
from worker.stream.transport.address import Address, AddressError
from worker.text import clean, plan
from worker.voices.card import CardError, load_card
from worker.voices.prompt_cache import PromptCache
from worker.voices.reference import recording_of
from worker.voices.registry import Registry, RegistryError, UnknownVoice

KEY = "0123456789abcdef" * 4


# Jobs


@pytest.mark.parametrize(
    "temperature", [0.1, 1 / 3, 0.7000000000000001, 1.2345e-16, 1e-20, 0.0, 2.0, 1, np.float64(0.3)]
)
def test_a_temperature_is_published_to_its_last_digit(temperature: float) -> None:
    fields = job_fields("s1", "Hi.", temperature=temperature)
    written = [word.encode() for pair in fields.items() for word in pair]
    assert parse_job("1-0", written).temperature == temperature


# Texts


@pytest.mark.parametrize(
    "unit", ["\u0301\u0316", "|", "| ", "|:-", "\uff9e\u0301", "\U000e0041\u0301\u0316", "\u0334\u0345"]
)
def test_the_longest_text_of_one_thing_over_and_over_is_planned_in_time(unit: str) -> None:
    text = ("a" + unit * 100_000)[:100_000] + "x"
    started = time.process_time()
    plan(text, "English", {})
    assert time.process_time() - started < 2.0  # it took 5 to 25


def test_a_pile_of_marks_keeps_the_first_thirty() -> None:
    assert clean("e" + "\u0301" * 3) == "é" + "\u0301" * 2
    assert clean("e" + "\u0316" * 500 + "f") == "e" + "\u0316" * 30 + "f"
    assert clean("ね゛え" + "。" * 3) == "ね゛え" + "。" * 3


# Voices


@pytest.mark.parametrize(
    "key", ["a." * 100_000 + "a", '"a" . ' * 40_000 + "b", "x = {" + "a." * 60_000 + "b", "[" + "a." * 50 + "b]"]
)
def test_a_key_of_thousands_of_parts_is_refused_at_once(tmp_path: Path, key: str) -> None:
    (tmp_path / "alice").mkdir()
    (tmp_path / "alice" / "voice.toml").write_text(f"{key} = 1\n", "utf-8")
    started = time.process_time()
    with pytest.raises(CardError, match="more than 16 parts"):
        load_card(tmp_path / "alice")
    assert time.process_time() - started < 1.0


def test_dots_in_a_licence_are_no_deep_key(tmp_path: Path) -> None:
    voice = make_voice(tmp_path, extra='description = """\na.b.c\n1.2.3 ... one. two. three. (a. b. c.)\n"""\n')
    assert load_card(voice).description.startswith("a.b.c")


def test_a_card_of_thousands_of_mistakes_names_the_first_of_them(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    with (voice / "voice.toml").open("a") as card:
        card.writelines(f"{'k' * 400}{n} = 1\n" for n in range(500))
    with pytest.raises(CardError, match="and 480 more") as caught:
        load_card(voice)
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("word", ["🎉", "\\u200b", "\\u0000"])
def test_a_lexicon_word_that_cleaning_takes_out_of_every_text_is_refused_with_the_card(
    tmp_path: Path, word: str
) -> None:
    voice = make_voice(tmp_path, extra=f'[lexicon]\n"{word}" = "party"\n')
    with pytest.raises(CardError, match=r"lexicon.*no word"):
        load_card(voice)


def test_a_folder_whose_name_is_no_text_is_named_so_that_it_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "\udcff").mkdir()
    with pytest.raises(RegistryError, match="valid voice name") as caught:
        Registry.load(tmp_path)
    assert str(caught.value).encode()


def test_an_unknown_voice_among_hundreds_still_fits_into_an_answer() -> None:
    message = str(UnknownVoice("nobody", tuple(f"{'v' * 60}{n}" for n in range(500))))
    assert "and 480 more" in message
    Error(job_id="j", session_id="s", code=ErrorCode.UNKNOWN_VOICE, message=message, field="voice", retryable=False)


# Recordings


def test_a_recording_in_gsm_is_read_though_it_cannot_be_sought_in(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    replace_recording(voice, babble(6.0, RATE_HZ), RATE_HZ, subtype="GSM610")
    assert Registry.load(tmp_path).get("alice").complete


def test_a_recording_cut_short_is_what_is_left_of_it_and_not_what_lay_in_memory(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    file = io.BytesIO()
    soundfile.write(file, babble(40.0, RATE_HZ), RATE_HZ, format="MP3", subtype="MPEG_LAYER_III")
    cut = file.getvalue()[: len(file.getvalue()) // 2]
    replace_bytes(voice, cut)
    left, _ = soundfile.read(io.BytesIO(cut), dtype="float32")
    assert 5 * RATE_HZ < left.size < 30 * RATE_HZ
    np.testing.assert_allclose(recording_of(load_card(voice)).audio, left, atol=1e-6)


@pytest.mark.parametrize(("container", "subtype"), [("SDS", "PCM_16"), ("VOC", "PCM_16"), ("MAT5", "PCM_16")])
def test_a_container_that_is_made_for_something_else_is_not_opened(
    tmp_path: Path, container: str, subtype: str
) -> None:
    voice = make_voice(tmp_path)
    file = io.BytesIO()
    soundfile.write(file, babble(6.0, RATE_HZ), RATE_HZ, format=container, subtype=subtype)
    replace_bytes(voice, file.getvalue())
    assert "no WAV, AIFF" in problem(tmp_path)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("CAF", "PCM_16"),
        ("AU", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("W64", "PCM_16"),
        ("RF64", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
def test_usual_containers_are_read(tmp_path: Path, container: str, subtype: str) -> None:
    voice = make_voice(tmp_path)
    file = io.BytesIO()
    soundfile.write(file, babble(6.0, 24_000), 24_000, format=container, subtype=subtype)
    replace_bytes(voice, file.getvalue())
    assert Registry.load(tmp_path).get("alice").complete


def test_a_thousand_channels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    voice = make_voice(tmp_path)
    form = struct.pack("<HHIIHH", 1, 1024, 8000, 8000 * 2048, 2048, 16)
    replace_bytes(voice, riff([(b"fmt ", form), (b"data", bytes(2048 * 8000 * 3))]))
    assert "1024 channels" in problem(tmp_path)


def test_a_header_that_points_before_the_file_leaves_no_traceback(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, babble(3.1, RATE_HZ), RATE_HZ, format="AIFF", subtype="PCM_16")
    damaged = file.getvalue().replace(b"SSND", b"XXXX\xff\xff\xff\xf0SSND", 1)
    (tmp_path / "one.aiff").write_bytes(damaged)
    program = (
        "import sys; from pathlib import Path; from worker.voices.recording import decoded, UnusableReference\n"
        "file = Path(sys.argv[1])\n"
        "try: decoded(file, file.read_bytes())\n"
        "except UnusableReference: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "one.aiff")], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("refused\n", "")


def replace_bytes(voice: Path, data: bytes) -> None:
    import hashlib

    (voice / "reference.wav").write_bytes(data)
    set_digest(voice, hashlib.sha256(data).hexdigest())


# Tensors


def tensors(header: object, body: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + body


@pytest.mark.parametrize("header", [b'{"__metadata__":null}', b"{}", b'{"__metadata__":{}}'])
def test_a_cached_prompt_without_metadata_is_of_no_use(
    tmp_path: Path, header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache = PromptCache(tmp_path)
    cache.file_of("alice", KEY).write_bytes(tensors(header))
    with caplog.at_level(logging.WARNING):
        assert cache.load("alice", KEY) is None
    assert "the prompt is built again" in caplog.text


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        {"a": {"dtype": "U8", "shape": [float("inf")], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, float("inf")]}},
        {"a": {"dtype": "U8", "shape": [float("nan")], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [-1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": "8", "data_offsets": "08"}},
        {"a": {"dtype": "U8", "shape": [2**40, 2**40], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [1] * 100_000, "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [8], "data_offsets": [8, 0]}},
        {"a": {"dtype": "U8", "shape": [1], "data_offsets": [4, 8]}},
        {
            "a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
            "b": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
        },
    ],
)
def test_a_header_that_cannot_be_is_damaged(tmp_path: Path, header: object) -> None:
    (tmp_path / "model.safetensors").write_bytes(tensors(header, bytes(8)))
    with pytest.raises(ValueError, match="header"):
        read_header(tmp_path / "model.safetensors", "model.safetensors")


def test_tensors_that_fill_the_file_in_any_order_are_read(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": {"dtype": "F16", "shape": [2], "data_offsets": [4, 8]},
        "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        "none": {"dtype": "F32", "shape": [0, 7], "data_offsets": [8, 8]},
    }
    (tmp_path / "model.safetensors").write_bytes(tensors(header, bytes(8)))
    found = read_header(tmp_path / "model.safetensors", "model.safetensors")
    assert found.shapes == {"a": (), "b": (2,), "none": (0, 7)}
    assert found.n_numbers == 3 == sum(map(prod, found.shapes.values()))


# URLs and settings


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?foo=1", "redis://h?decode_responses=1", "redis://h?encoding=utf-16", "redis://h?connection_class=x",
        "redis://h?path=/x", "redis://h?ssl=1", "redis://h?socket_timeout=1", "redis://h?db=-1", "redis://h?db=", "redis://h?&",
        "redis://h?ssl_cert_reqs=none", "rediss://h?ssl_cert_reqs=maybe", "rediss://h?ssl_check_hostname=1", "unix:///s?db=x",
        "redis://h/" + "1" * 5000, "redis+sentinel://h/s/" + "1" * 5000, "redis+sentinel://h/s?db=1", "redis+cluster://h?ssl=1",
        "redis+cluster://h:" + "9" * 5000,
    ],
)  # fmt: skip
def test_an_option_or_number_that_redis_py_would_stumble_over_is_refused(url: str) -> None:
    with pytest.raises(AddressError) as caught:
        Address(url)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("url", ["redis://h/2", "redis://h?db=2", "unix:///s?db=2", "rediss://u:p@h/2?db=2"])
def test_the_number_of_a_database_is_kept(url: str) -> None:
    assert Address(url).login()[-1] == ("SELECT", "2")


def test_a_unix_url_without_slashes_would_show_its_password_and_is_refused() -> None:
    with pytest.raises(SettingsError, match="redis://"):
        Settings.load(redis_url="unix:user:secret@/run/redis.sock")


@pytest.mark.parametrize(("file", "reason"), [("a\0b", "cannot be read"), ("/dev/zero", "more than 64 KiB")])
def test_a_password_file_that_is_none_is_named(file: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Settings.load(redis_password_file=file).redis_credentials()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [[0, 16384, [b"h", 1]]],
        [[0, 2**63, [b"h", 1]]],
        [[0, 5]],
        [[b"0", 5, [b"h", 1]]],
        [[0, 5, [b"\xff", 1]]],
        [[0, 5, [b"h", None]]],
    ],
)
def test_a_cluster_s_map_that_cannot_be_read_is_a_connection_that_failed(answer: object, tmp_path: Path) -> None:
    with pytest.raises(redis.ConnectionError, match="CLUSTER SLOTS cannot be read"):
        parse_slots(packed(answer), tmp_path)
