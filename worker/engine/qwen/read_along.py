"""Text that is read along: one token with each frame, upstream's non_streaming_mode=False, also while it is written."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.engine.qwen.growing_tokens import GrowingTokens
from worker.engine.qwen.prompt import Prompter, Voice
from worker.engine.qwen.sampler import MIN_NEW_TOKENS

# A product's rounding depends on its shape. So a token is always embedded at the same place among this many rows,
# wherever the text was cut.
BLOCK = 8
NEVER = 2**62  # a frame


class ReadAlong:
    """The talker's input for a text that may be open: what `Prefill` has, but for text that comes later.

    resumed: [n, D], the embeddings of the resumed frames without their text; they follow the prompt. Read it under
    torch.inference_mode. Raises PromptError for a language or voice of another model.
    """

    def __init__(self, prompter: Prompter, language: str, voice: Voice, resumed: Tensor) -> None:
        self._prompter = prompter
        self._opening, self._reference = prompter.parts(language, voice)
        self._resumed = resumed
        self._tokens = GrowingTokens(prompter.tokenizer, prompter.plain)
        self._n_tokens = 0
        transcript = self._reference.transcript_ids
        # The text's embeddings, [D] each. The first are read beside the reference's frames, one more with each frame.
        self._rows = list(prompter.embed_text(transcript)) if transcript else []
        self._embeds: Tensor | None = None
        self.pad = prompter.pad[0]
        self.is_open = True

    def extend(self, text: str, is_end: bool) -> None:
        """Append text; at its end also the end of text. Raises PromptError for a text without words."""
        self._rows += self._embedded(self._tokens.extend(text, is_end))
        if is_end:
            self._rows.append(self._prompter.eos[0])
            self.is_open = False

    @property
    def is_ready(self) -> bool:
        """Whether all text that `embeds` needs has come."""
        return not self.is_open or len(self._rows) >= len(self._reference.codec) + len(self._resumed)

    @property
    def embeds(self) -> Tensor:
        """The talker's input before the next frame: [n_positions, D]."""
        if self._embeds is None:
            reference = self._reference
            n = min(len(self._rows), len(reference.codec))
            parts = [self._opening, reference.codec_padded[n:]]
            if n:
                parts.insert(1, torch.stack(self._rows[:n]) + reference.codec[:n])
            if len(self._resumed):
                parts.append(self._resumed + torch.stack([self.text(frame) for frame in range(len(self._resumed))]))
            self._embeds = torch.cat(parts)
        return self._embeds

    @property
    def n_positions(self) -> int:
        return len(self._opening) + len(self._reference.codec) + len(self._resumed)

    @property
    def n_trailing(self) -> int:
        """How many frames have text to read."""
        return max(0, len(self._rows) - len(self._reference.codec))

    def text(self, frame: int) -> Tensor:
        """What is added to a frame's input embedding: [D]."""
        return self._rows[len(self._reference.codec) + frame] if frame < self.n_trailing else self.pad

    @property
    def earliest_end(self) -> int:
        """The first frame that the end token may take the place of.

        While the text is open, never. Of a complete text those frames are barred too that may have been made while it
        was open: up to the one with which the last word is read. So the frames do not depend on when text came.
        """
        return NEVER if self.is_open else max(MIN_NEW_TOKENS, self.n_trailing - 1)

    def _embedded(self, ids: list[int]) -> list[Tensor]:
        first = self._n_tokens % BLOCK
        self._n_tokens += len(ids)
        padded = [0] * first + ids + [0] * (-(first + len(ids)) % BLOCK)
        rows = [row for n in range(0, len(padded), BLOCK) for row in self._prompter.embed_text(padded[n : n + BLOCK])]
        return rows[first : first + len(ids)]
