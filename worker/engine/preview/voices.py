"""The espeak-ng voice of a segment, by its language (for "Auto", its text) and the voice's card."""

from __future__ import annotations

from worker.text.language import language_of_auto
from worker.voices.card import Card

ESPEAK_VOICES = {
    "Chinese": "cmn",
    "English": "en",
    "French": "fr",
    "German": "de",
    "Italian": "it",
    "Japanese": "ja",
    "Korean": "ko",
    "Portuguese": "pt",
    "Russian": "ru",
    "Spanish": "es",
}


def espeak_voice(card: Card, language: str, text: str) -> str | None:
    """espeak-ng's voice for this segment, or None for a language without one. `language` may be "Auto"."""
    spoken = language_of_auto(text, card.languages) if language == "Auto" else language
    return card.preview.espeak_voices.get(spoken) or ESPEAK_VOICES.get(spoken)
