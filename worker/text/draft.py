"""A draft: a text that is still being written, cleaned as far as nothing that can follow changes it.

Prose without marks of mark-up is given as it comes. Other text is cleaned with each of its continuations, and what all
of them leave the same is settled. What no later text reaches over, such as a paragraph, is left behind: so the work is
linear in the text's length. A word that stands for it precedes the rest, for the rules that look back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from worker.text.characters import normalise
from worker.text.clean import clean
from worker.text.continuations import HELD_CHARS, PLAIN, continuations
from worker.text.directions import Actions
from worker.text.reasoning import TAG
from worker.text.split import Splitter

_LONG = 120  # characters of a line after which it is cut at a sentence's end
_TOO_LONG = 1000  # the same for a line with numbers, which may be a list, and for broken lines
_MUCH_TOO_LONG = 1500  # the same where no sentence ends
_EVERY = 80  # characters after which the text is looked at even if no segment seems to end
_EVERY_AT_START = 8
_LONGEST_PAUSE = 32
_MOST_AFTER = 30  # characters after a mark within which the splitter decides
_MOST_AFTER_FIRST = 14  # the same for the first segment, for which each letter counts
_LOOKS_WIDE = frozenset({7, 8, 10, 13, 18, 24})  # the same for wide characters, which are a word each

_OPENING = "So.\n\n"  # stands for the paragraphs before
_FILLER = "word " * 20 + "word. "  # stands for the sentences before on the same line
_MARKS = frozenset(".!?…,;:—–\n。！？、，：；｡．")
_WIDE = "\u2e80"
_LAST_WORD = re.compile(r"[^\s\u2e80-\U0010ffff]*\Z")
_SCHEMES = ("http", "https", "ftp", "ws", "wss", "www", "mailto")  # whose letters go with a URL
_LETTERS = re.compile(r"[^\W\d_]*")
_OPEN_TAG = re.compile(r"(?:<|&(?:amp;)*lt;|&#60;|&#[xX]3[cC];)(?!.*(?:>|&(?:amp;)*gt;|&#62;|&#[xX]3[eE];))", re.DOTALL)
_BLOCK = re.compile(r"\n[ \t>]*(?:\n\s*|(?=(?:[-*+•‣◦○・●■◆]|#{1,6}|\(?\d{1,2}[.)]\)?)\s+\S))")
_AFTER_TAG = re.compile(rf"{TAG.pattern}(?P<blank>\s*)(?=[^\W_])", TAG.flags)
_BLOCK_MARK = re.compile(r"[ \t>]*(?:(?:[-*+•‣◦○・●■◆]|#{1,6}|\(?\d{1,2}[.)]\)?)\s+)?")
_SENTENCE = re.compile(r"[.!?…]['\"”’)]* (?=[^\W\d_])|[。！？][」』）]*(?=[^\W\d_])")
_ITEM = re.compile(r"(?:\A|[:：.!?…。！？;；•‣◦●■◆*-])[\s\"'”’»)\]}）」』*_]*\(?\d{1,2}[.．)）、]")
_FENCE = re.compile(r"^[ \t>]*(?:`{3,}|~{3,})[^`\n]*$", re.MULTILINE)
_FENCE_LINE = re.compile(r"\n[ \t>]*(?:`{3,}|~{3,})[^`\n]*\n")

# Not in prose, which `normalise` alone changes, whatever follows.
_NOT_PROSE = re.compile(
    r"[^A-Za-z0-9À-ÖØ-öø-ſǍ-ǜА-яЁёІіЇїЄєҐґΑ-ωぁ-んァ-ヶー々一-鿿가-힣"
    r" ,.!?'\"();:%€£°…‘’“”„«»「」『』。、，！？：；（）—–-]"
    r"|\A |  | [.,]|\d[.)）、]|[一-鿿々][(（]|:[^ ]|[^\w\"'’”)]:|(.)\1{3}|www\.|(?<!\S)[^\w\s]{4}"
    r"|(?<![^\W_])-|-[^\W_]\B|--|-[^\w]|[—–][—–]|……",
    re.IGNORECASE,
)
_LOOKBACK_CHARS = 8


class Draft:
    """Takes a text letter by letter; gives its cleaned text as soon as nothing that can follow changes it.

    splitter: takes the cleaned text; marked-up text is read again when a piece of it would decide a segment.
    """

    def __init__(self, language: str, actions: Actions, splitter: Splitter) -> None:
        self._language = language
        self._actions = actions
        self._splitter = splitter
        self._before = ""  # stands for what was left behind
        self._text = ""  # what follows that
        self._given = ""  # of its cleaned text
        self._n_given = 0  # about how many characters of `_text` that was
        self._n_closed = 0  # up to here no mark of `_text` is open
        self._n_marked = 0  # up to the last mark
        self._n_first_marked = 0  # up to the first mark after `_n_read`
        self._n_read = 0
        self._n_tried = 0  # where all continuations were read the last time
        self._pause = 0  # characters before they are read again
        self._is_prose = True
        self._is_dropped = False  # in reasoning, or in code
        self._n_open = 0  # the length of `_text` when that was found
        self.decided: str | None = None  # the next segment, if all continuations have it, though its rest differs
        self.has_reached_back = False  # a mark changed what was given; what had not been spoken of it is to go

    def feed(self, char: str) -> str:
        """Add a character; return the cleaned text that this settles."""
        if char.isspace() and not self._text and not self._before.endswith(_FILLER):
            return ""
        self._text += char
        if char in _MARKS:
            self._n_marked = len(self._text)
            if self._n_first_marked <= self._n_read:
                self._n_first_marked = self._n_marked
        if self._is_dropped:
            self._leave_dropped(char)
            return ""
        self._is_prose = self._is_prose and not _NOT_PROSE.search(self._text, max(0, len(self._text) - _LOOKBACK_CHARS))
        if not self._is_worthwhile(char):
            return ""
        return self._settle_prose() if self._is_prose else self._settle()

    def end(self) -> str:
        """End the text; return the rest of its cleaned text."""
        whole = self._cleaned("")
        if whole is None or not whole.startswith(self._given):
            blank = self._reach_back()
            return blank + (self._cleaned("") or "")
        return whole[len(self._given) :]

    def open_region(self) -> str:
        """The text from an open reasoning tag or code fence on; "" where none is open."""
        whole = self._cleaned("")
        if whole is None or whole != self._cleaned("\n\nXx"):
            return ""
        starts = sorted(found.start() for pattern in (TAG, _FENCE) for found in pattern.finditer(self._text))
        return next((self._text[at:] for at in starts if self._cleaned("", at) == whole), "")

    def _cleaned(self, more: str, until: int | None = None) -> str | None:
        """The cleaned text with a continuation; None when that takes away all that precedes it."""
        whole = clean(self._before + self._text[:until] + more, self._language, self._actions)
        skipped = _skipped(self._before, self._language)
        if whole.startswith(skipped):
            return whole[len(skipped) :]
        return "" if whole == skipped.rstrip() else None

    def _leave_dropped(self, char: str) -> None:
        """Go on after reasoning or code that ends here: its body goes, its first and its last mark stay."""
        text = self._text
        closing = text.rfind("<") if char == ">" else text.rfind("\n", 0, -1)
        mark = (TAG if char == ">" else _FENCE_LINE).fullmatch(text, closing) if closing >= 0 else None
        if mark is None or (char == ">" and self._is_inside(mark["name"].lower())):
            return
        plain = self._cleaned(PLAIN)
        self._is_dropped = plain is not None and not _is_last(PLAIN.strip(), plain)
        if not self._is_dropped:
            self._text = text[: min(closing, self._n_open)] + text[closing:]
            if self._cleaned(PLAIN) != plain:
                self._text = text
            n = len(self._text)
            self._n_marked, self._n_first_marked, self._n_read = n, n, min(n, self._n_read)

    def _is_inside(self, name: str) -> bool:
        """True while more reasoning tags of this name have opened than have closed."""
        tags = [tag for tag in TAG.finditer(self._text) if tag["name"].lower() == name and not tag[0].endswith("/>")]
        return 2 * sum(bool(tag["close"]) for tag in tags) < len(tags)

    def _is_worthwhile(self, char: str) -> bool:
        """True where the splitter may decide: at a word's start, and where the rest becomes long enough."""
        if not char.isalnum() or len(self._text) - self._n_tried < self._pause:
            return False
        is_start = char >= _WIDE or not self._text[-2:-1].isalnum()
        if is_start and (self._is_prose or self._is_due()):
            return True
        after = [len(self._text) - n for n in (self._n_marked, self._n_first_marked)]
        if not self._splitter.least_rest and any(n <= _MOST_AFTER_FIRST for n in after):
            return True
        if char >= _WIDE:
            return any(n in _LOOKS_WIDE for n in after)
        least = self._splitter.least_rest
        return least + 1 in after or (is_start and any(least < n <= _MOST_AFTER for n in after))

    def _is_due(self) -> bool:
        return len(self._text) - self._n_read >= (_EVERY if self._given else _EVERY_AT_START)

    def _settle_prose(self) -> str:
        whole = normalise(self._text)
        settled = self._without_last_word(whole, whole)
        self._n_closed = len(self._text) - len(_last_word(self._text))
        new = self._give(settled, self._n_closed)
        if len(self._text) > 2 * _LONG:
            self._leave_behind(whole + PLAIN, len(settled))
        return new

    def _settle(self) -> str:
        plain = self._cleaned(PLAIN)
        if plain is None:
            return self._reach_back()
        if not _is_last(PLAIN, plain):
            self._is_dropped = plain == self._cleaned("\n\nXx")
            self._n_open = len(self._text)
            return ""
        if len(self._text) > _MUCH_TOO_LONG:
            return self._force()
        return self._settle_marked(plain)

    def _force(self) -> str:
        """Settle the text up to its last word, whatever is open: it has no place at which nothing reaches over it."""
        n = max(map(self._text.rfind, " \n>")) + 1 or len(self._text)
        new = self._give(self._cleaned("", n) or "", n)
        self._begin(_OPENING + _FILLER, n)
        return new

    def _settle_marked(self, plain: str) -> str:
        whole = plain[: plain.rindex(PLAIN)]
        is_due = self._is_due()
        decided = self._decided_by(whole)
        if decided is None and not is_due:
            return ""
        self._n_read = self._n_tried = len(self._text)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE) or 1  # until something is settled
        settled = plain
        is_enough = decided is not None
        for other in self._others():
            n = len(settled)
            settled = _common_prefix(settled, other)
            if is_enough and len(settled) < n:
                is_enough = self._decided_by(settled) == decided
            if decided is not None and not is_enough and self._decided_by(other) != decided:
                decided = None
            if decided is None and (not is_due or self._given.startswith(settled)):
                return ""
        self.decided = decided
        if len(settled) >= len(whole) - len(_last_word(whole)):
            self._n_closed = len(self._text) - len(_last_word(self._text))
        settled = self._without_last_word(settled, whole)
        new = self._give(settled, max(0, len(self._text) - max(0, len(whole) - len(settled))))
        self._leave_behind(plain, len(settled))
        return new

    def _decided_by(self, cleaned: str) -> str | None:
        return self._splitter.next_with(cleaned[len(self._given) :]) if cleaned.startswith(self._given) else None

    def _others(self) -> Iterator[str]:
        """The cleaned texts with other continuations, and without what may go: an open tag, the last word."""
        if opened := _OPEN_TAG.search(self._text, max(0, len(self._text) - HELD_CHARS)):
            yield self._cleaned("", opened.start()) or ""
        for more in continuations(self._text, self._n_closed):
            if (other := self._cleaned(more)) is not None:
                yield other
        word = _last_word(self._text)
        if not _is_kept(word):
            yield self._cleaned("", len(self._text) - len(word)) or ""

    def _without_last_word(self, settled: str, whole: str) -> str:
        """The settled text without what the rest of the last word may change: its last letter, or all of it."""
        start = len(whole) - len(_last_word(whole))
        if len(settled) <= start:
            is_wide = settled == whole and settled[-1:] >= _WIDE
            return settled[:-1] if is_wide else settled.rstrip()
        word = _last_word(self._text)
        if _is_kept(word):
            return settled[:-1]
        return settled[:start] if _LETTERS.fullmatch(word) else settled[:start].rstrip()

    def _give(self, settled: str, n_given: int) -> str:
        if not settled.startswith(self._given):
            return "" if self._given.startswith(settled) else self._reach_back()
        new = settled[len(self._given) :]
        if new:
            self._given, self._n_given, self._pause = settled, n_given, 0
        return new

    def _reach_back(self) -> str:
        """Go on after a mark that changed what was given already. What was given stays as it is."""
        new = "" if self._given[-1:].isspace() else " "
        closing = [tag.end() for tag in TAG.finditer(self._text) if tag["close"]]
        if lone := next((end for end in reversed(closing) if not self._cleaned("", end)), 0):
            self.has_reached_back = True
            self._begin("", lone)
        else:
            self._begin(_OPENING + _FILLER, self._n_given)
        return new

    def _leave_behind(self, plain: str, n_settled: int) -> None:
        """Leave behind what nothing reaches over any more: where the rest alone is cleaned as it is after it."""
        for before, start in reversed([*self._places()][-2:]):
            rest = clean(before + self._text[start:] + PLAIN, self._language, self._actions)
            skipped = _skipped(before, self._language)
            if not rest.startswith(skipped):
                continue
            rest = rest[len(skipped) :]
            n_left = len(plain) - len(rest)
            is_same_line = before != _OPENING
            if plain.endswith(rest) and n_left <= n_settled and (is_same_line or plain[n_left - 1 : n_left] == "\n"):
                self._begin(before, start, self._given[n_left:])
                return

    def _places(self) -> Iterator[tuple[str, int]]:
        """Where the text may be parted, and what then stands for the text before."""
        start = 0
        for block in _BLOCK.finditer(self._text):
            start = block.end()
            yield _OPENING, start
        for tag in _AFTER_TAG.finditer(self._text, start):
            if "\n" in tag["blank"]:
                yield (_OPENING if self._given else self._before), tag.end()
            elif not self._given or "\n" not in self._text[start : tag.start()]:
                yield (_OPENING + _FILLER if self._given else self._before), tag.end()
        mark = _BLOCK_MARK.match(self._text, start)
        mark_text = mark[0] if mark and (start or not self._before) else ""
        is_long = len(self._text) - start > _TOO_LONG
        if is_long or not ("\n" in self._text[start:] or _ITEM.search(self._text, start + len(mark_text))):
            for sentence in _SENTENCE.finditer(self._text, start + _LONG):
                is_same = not start and self._before.endswith(_FILLER)
                yield (self._before if is_same else f"{_OPENING}{mark_text}{_FILLER}"), sentence.end()

    def _begin(self, before: str, start: int, given: str = "") -> None:
        self._before, self._text, self._given = before, self._text[start:], given
        self._n_given = max(0, self._n_given - start)
        self._n_closed = max(0, self._n_closed - start)
        self._n_marked = max(0, self._n_marked - start)
        self._n_first_marked = max(0, self._n_first_marked - start)
        self._n_read = max(0, self._n_read - start)
        self._n_tried = max(0, self._n_tried - start)
        self._is_prose = before != "" and not _NOT_PROSE.search(self._text)


def _last_word(text: str) -> str:
    found = _LAST_WORD.search(text)
    return found[0] if found else ""


def _is_last(words: str, text: str) -> bool:
    """True for the last words of a text; a full stop may follow them."""
    return words in text[-len(words) - 1 :]


def _is_kept(word: str) -> bool:
    """True for the beginning of a word whose letters stay, whatever the rest of it is."""
    if word and any(scheme.startswith(word.lower()) for scheme in _SCHEMES):
        return False
    return _LETTERS.fullmatch(word) is not None


def _common_prefix(one: str, other: str) -> str:
    if other.startswith(one):
        return one
    least, most = 0, min(len(one), len(other)) + 1
    while most - least > 1:
        middle = (least + most) // 2
        if one.startswith(other[least:middle], least):
            least = middle
        else:
            most = middle
    return one[:least]


@lru_cache(maxsize=256)
def _skipped(before: str, language: str) -> str:
    """What is left of a text that stands for another, before a word."""
    return clean(f"{before}xx", language)[:-2]
