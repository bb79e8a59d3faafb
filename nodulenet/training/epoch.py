"""Which findings an epoch uses, in which order and in which batches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nodulenet.errors import UsageError
from nodulenet.seeds import generator

Rows = npt.NDArray[np.int64]


class EpochOrder:
    """The rows of every epoch, from the seed and the epoch's number alone.

    Batches of an epoch differ by one row at most: 65 findings in batches of 32 are 22, 22 and 21,
    not 32, 32 and a last batch of one, whose statistics no normalization could use. So there are
    two shapes at most, every finding is used, and the number of steps is as ever.

    Args:
        positive: (n,) bool, who is positive.
        batch_size: rows a batch at most.
        seed: of the order and of what is drawn.
        negatives_per_positive: an epoch has all positives and so many negatives each, drawn
            anew; None for all.
        balanced_batches: half of every batch is positive, half negative. An epoch uses each of
            the more frequent kind once, and the others in fresh permutations as often as is needed.
        hard: rows of negatives that were hard, and the share of the drawn negatives that is
            taken from them, as far as there are so many; the rest is drawn from the others.

    Raises:
        UsageError: options that contradict each other, or balancing without both kinds.
    """

    def __init__(
        self,
        positive: npt.NDArray[np.bool_],
        *,
        batch_size: int,
        seed: int,
        negatives_per_positive: float | None = None,
        balanced_batches: bool = False,
        hard: tuple[Rows, float] | None = None,
    ) -> None:
        self._batch_size, self._seed, self._balanced = batch_size, seed, balanced_batches
        self._positives, self._negatives = np.flatnonzero(positive), np.flatnonzero(~positive)
        fewest = min(len(self._positives), len(self._negatives))
        if balanced_batches and (not fewest or batch_size < 2):
            raise UsageError(
                f"balanced batches of {batch_size} from {len(self._positives)} positives and "
                f"{len(self._negatives)} negatives; expected both, and at least 2 a batch"
            )
        if negatives_per_positive is None and hard is not None:
            raise UsageError("hard negatives without negatives_per_positive, which draws them")
        if negatives_per_positive is not None and balanced_batches:
            raise UsageError("balanced_batches and negatives_per_positive contradict each other")
        if negatives_per_positive is None:
            self._drawn = len(self._negatives)
        else:
            wanted = round(negatives_per_positive * len(self._positives))
            self._drawn = min(max(1, wanted), len(self._negatives))
        hard_rows, share = hard if hard is not None else (np.empty(0, np.int64), 0.0)
        self._hard = np.intersect1d(hard_rows, self._negatives)
        self._others = np.setdiff1d(self._negatives, self._hard)
        self._from_hard = min(round(share * self._drawn), len(self._hard))
        # Where the others are too few, more of the hard ones stand in.
        self._from_hard = max(self._from_hard, self._drawn - len(self._others))
        self._kept: tuple[int, Rows] | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Negatives and positives in one epoch, repeated ones counted as often as they are used."""
        if self._balanced:
            most = max(len(self._positives), len(self._negatives))
            return most, most
        return self._drawn, len(self._positives)

    def __len__(self) -> int:
        """Batches an epoch."""
        if self._balanced:
            return -(-self.counts[0] // (self._batch_size // 2))
        return -(-sum(self.counts) // self._batch_size)

    def rows(self, epoch: int) -> Rows:
        """All rows of an epoch in the order in which they are used."""
        kept = self._kept
        if kept is None or kept[0] != epoch:
            random = generator(self._seed, "shuffle", epoch)
            kept = self._kept = (
                epoch,
                self._balanced_rows(random) if self._balanced else self._plain_rows(random),
            )
        return kept[1]

    def batch(self, epoch: int, index: int) -> Rows:
        """The rows of one batch."""
        rows = self.rows(epoch)
        first, end = (self._start(i, len(rows)) for i in (index, index + 1))
        return rows[first:end]

    def _start(self, index: int, count: int) -> int:
        # Pairs stay together in balanced batches.
        unit = 2 if self._balanced else 1
        small, larger = divmod(count // unit, len(self))
        return unit * (index * small + min(index, larger))

    def _plain_rows(self, random: np.random.Generator) -> Rows:
        hard = random.permutation(self._hard)[: self._from_hard]
        others = random.permutation(self._others)[: self._drawn - self._from_hard]
        return random.permutation(np.concatenate([self._positives, hard, others]))

    def _balanced_rows(self, random: np.random.Generator) -> Rows:
        most = self.counts[0]
        kinds = []
        for rows in (self._positives, self._negatives):
            rounds = -(-most // len(rows))
            kinds.append(np.concatenate([random.permutation(rows) for _ in range(rounds)])[:most])
        return np.stack(kinds, axis=1).reshape(-1)
