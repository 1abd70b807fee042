"""Text that is still being written: its segments as soon as nothing that can come changes them.

The segments are a function of the text and of the places of its flushes, never of where its pieces were cut. Each part
up to a flush gives the segments that `plan` gives for it. The exceptions are texts in which a mark reaches back over
what was given out already: a lone closing reasoning tag, the definition of a link's reference, a mark that closes more
than HELD_CHARS after it opened, a formula that begins like a price ($5 or), a table's row that begins inside a line,
and 1,500 characters of marked-up text without a sentence's end. Such a mark changes only what follows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from worker.text import SegmentText, is_speakable, join, respelt
from worker.text.characters import respell_quotes
from worker.text.directions import Actions
from worker.text.draft import Draft
from worker.text.language import language_of
from worker.text.lexicon import Lexicon
from worker.text.split import Splitter

_WORD_END = re.compile(r".*(?:(?=\s)|[^\W_](?=[\u2e80-\U0010ffff])|[\u2e80-\U0010ffff](?=[^\W_]))", re.DOTALL)
_UNSURE = re.compile(r"[\W_]{8}|»")  # it may become a segment that is not spoken, or a mark that is respelt


class OpenText:
    """A text that comes in pieces, cut anywhere.

    language: an English name such as "English", or None for that of the text's first segment under "Auto" (its
    script). languages: the voice card's, in its order. lexicon, actions: the voice's. Raises ValueError for a lexicon
    with an empty word.
    """

    def __init__(
        self,
        language: str | None,
        languages: Sequence[str],
        lexicon: Lexicon | Mapping[str, str],
        actions: Actions = "speak",
    ) -> None:
        self._language = language
        self._languages = tuple(languages)
        self._lexicon = lexicon if isinstance(lexicon, Lexicon) else Lexicon(lexicon)
        self._actions = actions
        self._segments: list[SegmentText] = []
        self._gaps: list[str] = []  # what stands before each segment, and before the one that is next
        self._next: SegmentText | None = None  # decided, while it is not known whether it is the last
        self._is_complete = False
        self._begin()

    def _begin(self) -> None:
        """Begin a part of the text: its start, or what follows a flush."""
        self._splitter = Splitter(self._language or "Auto")
        self._draft = Draft(self._language or "Auto", self._actions, self._splitter)
        self._raw = ""  # of this part, while the language is not known
        self._flat = ""  # the settled text of this part
        self._at = 0  # the end of the last decided segment in it
        self._undecided: list[str] = []  # segments before the first letter or digit
        self._follows: bool | None = None

    @property
    def segments(self) -> tuple[SegmentText, ...]:
        """The segments of which it is known that something speakable follows, or that a flush or the end does."""
        return tuple(self._segments)

    @property
    def language(self) -> str | None:
        """None until the first segment is decided, for a job that names none."""
        return self._language

    @property
    def is_complete(self) -> bool:
        """True once the text has ended."""
        return self._is_complete

    @property
    def has_more(self) -> bool | None:
        """Whether something speakable follows the last of `segments`; None while that is not known."""
        return False if self._is_complete else self._follows

    def feed(self, piece: str) -> None:
        """Add a piece of the text. Nothing is added to a text that has ended."""
        if self._is_complete:
            return
        for char in piece:
            if self._language is None:
                self._raw += char
            new = self._draft.feed(char)
            if new or self._draft.decided or self._draft.has_reached_back:
                self._add(new)

    def flush(self) -> None:
        """End a segment at this place of the text. A reasoning tag or a code fence that is open stays open."""
        if not self._is_complete:
            self._end_part()
            carried = self._draft.open_region()
            self._begin()
            self.feed(carried)

    def end(self) -> None:
        """End the text."""
        if not self._is_complete:
            self._end_part()
            self._is_complete = True

    def spoken(self, start: int, stop: int | None = None) -> str:
        """The spoken text from segment `start` to segment `stop`.

        Without `stop` also what follows the segments as far as nothing that can come changes it, up to a word's end.
        For speech that begins before a segment is decided. Every later value begins with the earlier ones.
        """
        if stop is not None:
            pieces = list(zip(self._gaps, self._segments, strict=False))[start:stop]
        else:
            segments = [*self._segments, self._next] if self._next else self._segments
            pieces = list(zip(self._gaps, segments, strict=False))[start:]
        text = "".join(gap + piece.spoken for gap, piece in pieces)
        if stop is None and (growing := self.growing):
            text += self._gap() + growing
        return text.removeprefix(" ")

    @property
    def growing(self) -> str:
        """What `spoken` gives of the text after the last decided segment."""
        found = _WORD_END.match(self._flat, self._at)
        if self._is_complete or found is None or self._undecided:
            return ""
        text = found[0].strip()
        if unsure := _UNSURE.search(text):
            text = text[: unsure.start()].strip()
        return self._lexicon.apply_settled(respell_quotes(text)) if is_speakable(text) else ""

    def _end_part(self) -> None:
        """Decide what is left of this part, again where its first segment decides the language."""
        language = self._language
        self._add(self._draft.end())
        if self._language == language:
            self._take(self._splitter.flush())
        if self._language != language:
            self._end_part()
            return
        self._give_next()

    def _add(self, settled: str) -> None:
        """Split more of the cleaned text. A mark that has reached back takes what was not given out."""
        if self._draft.has_reached_back:
            self._draft.has_reached_back = False
            self._splitter.flush()
            self._next, self._at = None, len(self._flat)
            del self._gaps[len(self._segments) :]
        self._flat += settled.replace("\n", " ")
        segments, decided = self._splitter.feed(settled), self._draft.decided
        self._draft.decided = None
        if decided and not segments:
            self._take(self._splitter.cut_after(decided), is_followed=True)
        else:
            self._take(segments)

    def _take(self, segments: list[str], *, is_followed: bool = False) -> None:
        """Take what the splitter decided. The first segment decides the language; then the text is fed again."""
        segments = [*self._undecided, *segments]
        if segments and not any(map(is_speakable, [*segments, self._splitter.rest])):
            self._undecided = segments  # `clean` leaves nothing of a text without letters
            return
        self._undecided = []
        for segment in segments:
            gap = self._gap()
            self._at = self._flat.find(segment, self._at) + len(segment)
            text = respelt(segment, self._lexicon)
            if not is_speakable(text.spoken):
                continue
            if self._language is None:
                self._language = language_of(text.written, self._languages)
                raw = self._raw
                self._begin()
                self.feed(raw)
                return
            self._give_next()
            self._next = text
            self._gaps.append(gap)
        if not self._lexicon.may_silence and (is_followed or is_speakable(self._splitter.rest)):
            self._give_next()
            self._follows = True

    def _give_next(self) -> None:
        if self._next is not None:
            self._segments.append(self._next)
            self._next = None

    def _gap(self) -> str:
        """What stands between the last decided segment and what follows it."""
        if self._at == 0 and self._segments:
            return join([self._segments[-1], SegmentText("x", "x")])[len(self._segments[-1].written) : -1]
        return " " if self._flat[self._at : self._at + 1] == " " else ""
