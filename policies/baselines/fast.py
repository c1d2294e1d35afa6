"""Baseline C: FAST, a chunk's frequencies as few codes (Pertsch et al., arXiv 2501.09747), told one after the other.

A chunk's discrete cosine transform is rounded to whole numbers, the lowest frequency of all joints first; pairs that
are often neighbours become one code (byte pair encoding). The codes are fitted on our own actions, but every chunk has
a code: a number out of reach is written as its remainder, behind signs that each stand for a whole reach up or down.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.fft import dct, idct
from tokenizers import Tokenizer, models, trainers
from torch import Tensor, nn

from assets.errors import InputError
from policies.baselines.backbone import Decoder
from policies.baselines.tokens import IGNORED, Codes

# Chunks are short: the library's threads would do nothing but wait for each other.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

VOCABULARY = 1024
RESOLUTION = 25.0  # steps of a coefficient per standard deviation of an action: off by 1.5 mrad, as 256 bins are
FIRST = 0x4E00  # numbers are written as letters from here on: any that the library does not take apart


class FastCodes:
    """Chunks (steps, numbers) of normalized actions to codes and back.

    Attributes:
        steps, numbers: of a chunk.
        vocabulary: how many codes there are.
        counts: (vocabulary,) how many coefficients each code stands for.
    """

    def __init__(self, steps: int, numbers: int, reach: int, pairs: str) -> None:
        """Take codes that were fitted: `about` of them."""
        self.steps, self.numbers, self.reach, self._pairs = steps, numbers, reach, pairs
        try:
            self._bpe = Tokenizer.from_str(pairs)
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"FAST codes are damaged ({error}); take another checkpoint") from error
        self.vocabulary = self._bpe.get_vocab_size()
        self._values = [self._read(self._bpe.id_to_token(code) or "") for code in range(self.vocabulary)]
        self.counts = np.array([sum(not sign for _, sign in values) for values in self._values])

    @staticmethod
    def fit(chunks: np.ndarray, vocabulary: int = VOCABULARY) -> FastCodes:
        """Fit codes to normalized chunks (n, steps, numbers).

        Raises:
            InputError: there are none, or numbers that are not finite.
        """
        if not len(chunks):
            raise InputError("FAST codes: no actions to fit them to")
        whole = _transformed(chunks)
        reach = int(np.clip(np.abs(whole).max(), 1, vocabulary // 4))
        letters = [chr(FIRST + i) for i in range(2 * reach + 3)]
        bpe = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=letters, show_progress=False)
        bpe.train_from_iterator(_written(whole, reach), trainer)
        return FastCodes(chunks.shape[1], chunks.shape[2], reach, bpe.to_str())

    @property
    def about(self) -> dict[str, Any]:
        """What it takes to have the same codes again."""
        return {"steps": self.steps, "numbers": self.numbers, "reach": self.reach, "pairs": self._pairs}

    def encode(self, chunks: np.ndarray) -> list[list[int]]:
        """Return the codes of each of n chunks (n, steps, numbers).

        Raises:
            InputError: numbers that are not finite.
        """
        return [e.ids for e in self._bpe.encode_batch(_written(_transformed(chunks), self.reach))]

    def decode(self, codes: Sequence[int]) -> np.ndarray:
        """Return the chunk (steps, numbers) of some codes; too few leave zeros, too many are cut."""
        whole, carried = [], 0
        for value, sign in (read for code in codes for read in self._values[code]):
            carried += value
            if not sign:
                whole.append(carried)
                carried = 0
        size = self.steps * self.numbers
        filled = np.array((whole + [0] * size)[:size], np.float64).reshape(self.steps, self.numbers)
        return np.asarray(idct(filled / RESOLUTION, axis=0, norm="ortho"), np.float32)

    def _read(self, letters: str) -> list[tuple[int, bool]]:
        """Return what letters stand for: numbers, and signs (True) that say how much the next number is more."""
        wide = 2 * self.reach + 1
        places = [ord(letter) - FIRST for letter in letters]
        return [(p - self.reach, False) if p < wide else (wide if p == wide else -wide, True) for p in places]


def _transformed(chunks: np.ndarray) -> np.ndarray:
    """Return rounded coefficients (n, steps * numbers), int64, of chunks (n, steps, numbers): low frequencies first."""
    if not np.isfinite(chunks).all():
        raise InputError("FAST codes: an action holds a number that is not finite")
    coefficients = np.asarray(dct(np.asarray(chunks, np.float64), axis=1, norm="ortho"))
    return np.rint(RESOLUTION * coefficients).astype(np.int64).reshape(len(chunks), -1)


def _written(whole: np.ndarray, reach: int) -> list[str]:
    """Return whole numbers (n, m) as n words."""
    wide = 2 * reach + 1
    over = (whole + reach) // wide  # how many reaches up or down
    letters = np.array([chr(FIRST + i) for i in range(wide)])[whole - over * wide + reach]
    words = ["".join(row) for row in letters]
    for row in np.flatnonzero(over.any(1)):
        signs = (chr(FIRST + wide + int(n < 0)) * abs(int(n)) for n in over[row])
        words[row] = "".join(sign + letter for sign, letter in zip(signs, letters[row], strict=True))
    return words


class Fast(nn.Module):
    """The head: chunks as FAST codes."""

    def __init__(self, decoder: Decoder, fast: FastCodes) -> None:
        super().__init__()
        self.codes, self.fast = Codes(decoder, fast.vocabulary), fast
        self.longest = fast.steps * fast.numbers

    @property
    def decoder(self) -> Decoder:
        """What the codes are told by."""
        return self.codes.decoder

    def loss(self, context: Tensor, chunks: Tensor) -> dict[str, Tensor]:
        """Return the loss of normalized chunks (n, steps, numbers), the share of right codes, and codes in a chunk."""
        coded = [codes[: self.longest] for codes in self.fast.encode(chunks.detach().float().cpu().numpy())]
        longest = max(len(codes) for codes in coded)
        rows = torch.tensor([codes + [IGNORED] * (longest - len(codes)) for codes in coded], device=chunks.device)
        return self.codes.loss(context, rows) | {"codes": (rows != IGNORED).sum(1).float().mean()}

    def act(self, context: Tensor, noise: Tensor) -> Tensor:
        """Return the chunk (n, steps, numbers) of the likeliest codes, each after those before; noise has no part.

        A code that would say more than a chunk holds is never taken, so a chunk is complete when its numbers are.
        """
        counts = torch.from_numpy(self.fast.counts).to(noise.device)
        codes = torch.zeros(len(noise), 0, dtype=torch.long, device=noise.device)
        left = torch.full((len(noise),), self.fast.steps * self.fast.numbers, device=noise.device)
        while codes.shape[1] < self.longest and bool((left > 0).any()):
            logits = self.codes(context, codes)[:, -1]
            # A chunk that is complete goes on with codes that say nothing, or with the first; they are not read.
            fits = (counts <= left[:, None]) | (left == 0)[:, None]
            chosen = logits.masked_fill(~fits, -torch.inf).argmax(-1)
            left = (left - counts[chosen]).clamp(min=0)
            codes = torch.cat([codes, chosen[:, None]], dim=1)
        chunks = np.stack([self.fast.decode(row) for row in codes.tolist()])
        return torch.from_numpy(chunks).to(noise.device)
