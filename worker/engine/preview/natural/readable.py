"""What a front-end would leave out in silence, written so that it reads it: symbols, long numbers, other scripts.

Runs in a voice's process.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from anyascii import anyascii

_SYMBOLS = {
    "≈": "about", "≠": "is not equal to", "≤": "at most", "≥": "at least", "−": "minus", "‰": "per mille",
    "∞": "infinity", "√": "the square root of", "∑": "the sum of", "∏": "the product of", "∫": "the integral of",
    "∂": "partial", "∆": "delta", "№": "number", "℃": "degrees Celsius", "℉": "degrees Fahrenheit", "′": "prime",
    "″": "double prime", "↔": "to and from", "⇒": "implies", "∈": "in", "∩": "and", "∪": "or", "⁄": "slash",
}  # fmt: skip
_READ_BY_HIBARI = frozenset("=<>~°¢§¶±×÷©→½¼¾²³µ|*^_\\#+&@%/$£€¥₹₩–—‘’“”…")
_SILENT = frozenset("™®•←·«»‹›„‚¿¡†‡")  # marks that nobody reads aloud
_LONG_NUMBER = re.compile(r"\d[\d,]{15,}")
_EXPONENT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+−]?)(\d+)(?!\w)")
_SUPERSCRIPT = re.compile("(?<=\\w)(?:[⁺⁻][⁰¹²³⁴-⁹]+|[⁰¹⁴-⁹]|[⁰¹²³⁴-⁹]{2,})")
_ADDRESS = re.compile(
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\b(?:[\w-]+\.)+(?:com|org|net|edu|gov|io|co|uk|de|fr|dev|app|ai)\b"
)
_VERSION = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.])")
_KANA = re.compile("[ぁ-ゖァ-ヺー]+")
_JAPANESE = re.compile("[ぁ-ゖァ-ヺー々〆一-鿿㐀-䶿]+")
_MARKS = "".join(char for char in map(chr, range(0x300, 0x1100)) if unicodedata.category(char)[0] == "M")
_WORD = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*")
_SYLLABLE = re.compile("(sh|ch|ts|[kgnhbpmr]y|[kgsztdnhbpmrwjfy])?(ou|oo|uu|[aeiou])(n(?![aeiouy]))?")
_ROMAJI = re.compile(f"(?:{_SYLLABLE.pattern}){{3,}}")  # shorter words are as often of other languages
_SOUNDS = {"sh": "ʃ", "ch": "ʧ", "j": "ʤ", "y": "j", "r": "\u0279", "g": "\u0261"}  # turned r, IPA g
_VOWELS = {"a": "ɑ", "e": "ɛ", "o": "O", "ou": "O", "oo": "O", "uu": "u"}
_SMALL_Y = re.compile("([きぎしじちぢにひびぴみりキギシジチヂニヒビピミリ])([ゃゅょャュョ])")
_DOUBLED = re.compile("[っッ](?=.)")
_SIGNS = {"-": "minus ", "−": "minus ", "⁻": "minus "}
_IN_JAPANESE = {"&": "アンド", "%": "パーセント", "@": "アット", "+": "プラス", "=": "イコール", "#": "シャープ"}


class EnglishText:
    """Prepares text for hibari. letters: those that it can read. longest: the letters it reads of an unknown word.

    is_known: whether its dictionary has a word. read_kanji: a text in kana, or None where that cannot be known.
    """

    def __init__(
        self,
        letters: set[str],
        longest: int,
        is_known: Callable[[str], bool],
        read_kanji: Callable[[str], str | None],
    ) -> None:
        self._letters = letters
        self._longest = longest
        self._is_known = is_known
        self._read_kanji = read_kanji

    def readable(self, text: str) -> str:
        """The text with words for what hibari would skip. Letters of other scripts are transliterated."""
        text = unicodedata.normalize("NFC", text)
        text = _LONG_NUMBER.sub(lambda number: " ".join(number[0].replace(",", "")), text)
        text = _ADDRESS.sub(lambda found: found[0].replace(".", " dot "), text)
        text = _VERSION.sub(lambda found: found[0].replace(".", " point "), text)
        text = _EXPONENT.sub(_scientific, text)
        text = _SUPERSCRIPT.sub(_power, text)
        text = "".join(map(self._symbol, text))
        text = _JAPANESE.sub(self._romaji, text)
        return _WORD.sub(self._word, text)

    def _romaji(self, run: re.Match[str]) -> str:
        kana = run[0] if _KANA.fullmatch(run[0]) else self._read_kanji(run[0])
        return anyascii(run[0]) if kana is None else romaji(kana)

    def _word(self, word: re.Match[str]) -> str:
        letters = word[0]
        if not all(letter.isascii() or letter in self._letters for letter in letters) or _is_foreign(letters):
            letters = _greek_letter(letters) or anyascii(letters) or letters
        if _ROMAJI.fullmatch(letters.lower()) and not self._is_known(letters):
            return f"[{letters}](/{_japanese_name(letters.lower())}/)"
        parts = [letters[at : at + self._longest] for at in range(0, len(letters), self._longest)]
        return " ".join(parts)

    def _symbol(self, char: str) -> str:
        if char.isascii() or char.isspace() or char.isalpha() or char in _MARKS or char in _READ_BY_HIBARI:
            return char
        if char in _SYMBOLS:
            return f" {_SYMBOLS[char]} "
        plain = unicodedata.normalize("NFKC", char)
        if plain != char and plain.isascii():
            return plain
        if char in _SILENT or unicodedata.category(char)[0] in "PMCZ":
            return anyascii(char) if unicodedata.category(char)[0] == "P" else " "
        return anyascii(char) or f" {unicodedata.name(char, '').lower()} "


def japanese_text(text: str) -> str:
    """A text with kana for what Open JTalk would skip. Letters of other scripts are transliterated."""
    text = unicodedata.normalize("NFKC", text)
    return "".join(_in_japanese(char) for char in text)


def _in_japanese(char: str) -> str:
    if char in _IN_JAPANESE:
        return _IN_JAPANESE[char]
    if char.isascii() or _JAPANESE.match(char) or not char.isalpha():
        return char
    return anyascii(char) or char


def romaji(kana: str) -> str:
    """Kana in Latin letters."""
    kana = _SMALL_Y.sub(lambda found: f"{anyascii(found[1])[:-1]}{_glide(found[1], found[2])}", kana)
    kana = _DOUBLED.sub("Q", kana)
    return re.sub("Q(.)", r"\1\1", anyascii(kana)).replace("Q", "")


def _glide(syllable: str, small: str) -> str:
    vowel = anyascii(small)[-1]
    return vowel if anyascii(syllable)[:-1] in ("sh", "ch", "j") else f"y{vowel}"


def _japanese_name(romaji: str) -> str:
    """hibari's phonemes of a Japanese word as English speakers say it: its last syllable but one is stressed."""
    syllables = list(_SYLLABLE.finditer(romaji))
    phonemes = ""
    for left, syllable in zip(range(len(syllables), 0, -1), syllables, strict=True):
        consonant, vowel, final = syllable.groups(default="")
        glide = "j" if len(consonant) == 2 and consonant[1] == "y" else ""
        consonant = consonant[0] if glide else consonant
        sound = "ə" if left == 1 and vowel == "a" and not final else _VOWELS.get(vowel, vowel)
        phonemes += _SOUNDS.get(consonant, consonant) + glide + ("ˈ" if left == 2 else "") + sound + final
    return phonemes


def _scientific(found: re.Match[str]) -> str:
    return f"{found[1]} times 10 to the power of {_SIGNS.get(found[2], '')}{found[3]}"


def _power(found: re.Match[str]) -> str:
    plain = unicodedata.normalize("NFKC", found[0])
    return f" to the power of {_SIGNS.get(plain[0], '')}{plain.lstrip('+-−')}"


def _greek_letter(letters: str) -> str | None:
    """The name of a single Greek letter, such as "alpha"; None for anything else."""
    name = unicodedata.name(letters, "") if len(letters) == 1 else ""
    found = re.fullmatch(r"GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?(\w+)(?: WITH .*)?", name)
    return found[1].lower() if found else None


def _is_foreign(letters: str) -> bool:
    """True for letters of a script other than Latin. hibari's unknown-word reader knows some of them by name only."""
    return any(not unicodedata.name(letter, "LATIN").startswith("LATIN") for letter in letters if not letter.isascii())
