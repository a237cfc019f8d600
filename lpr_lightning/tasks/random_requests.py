"""Requests for paths by unseen learners with random histories and random targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.protocols import Examples
from lpr_lightning.types import PAD, InteractionBatch, Interactions, PathRequest, Split


@dataclass(frozen=True)
class RandomRequests:
    """Draws targets and histories uniformly from all concepts; no real learner is behind a request.

    The protocol of SRC (AAAI 2023). Its histories are answered by the simulator; here, where a request is made before
    any simulator is known, a concept is answered rightly with its success rate in the split's log (over all answers
    where the log does not hold it). Items are unknown (-1), and so is the learner.

    Args:
        targets: number of distinct target concepts.
        initial_length: number of answers in the history; a concept may come again.
        length: wanted path length.
        train, val, test: number of requests of each split.

    >>> log = Interactions.from_lists([[(0, 1), (1, 0), (2, 1)]])
    >>> request = RandomRequests(targets=2, train=5).examples(log, "train", 3, seed=0).batch(torch.arange(5))
    >>> request.history.concept.shape, request.targets.sum(1)
    (torch.Size([5, 10, 1]), tensor([2, 2, 2, 2, 2]))

    Raises:
        SettingError: an argument is out of its range, or there are fewer concepts than targets.
    """

    targets: int = 3
    initial_length: int = 10
    length: int = 10
    train: int = 5000
    val: int = 500
    test: int = 1000

    def __post_init__(self) -> None:
        numbers = {"targets": self.targets, "length": self.length}
        for name, value in (numbers | {"train": self.train, "val": self.val, "test": self.test}).items():
            checked(name, value, 1)
        checked("initial_length", self.initial_length, 0)

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the requests of one split; the same for the same seed, others in every split."""
        if self.targets > num_concepts:
            raise SettingError("targets", self.targets, f"at most the number of concepts, {num_concepts}")
        count = {"train": self.train, "val": self.val, "test": self.test}[split]
        generator = torch.Generator().manual_seed(3 * seed + ("train", "val", "test").index(split))
        target = torch.rand(count, num_concepts, generator=generator).topk(self.targets).indices
        concept = torch.randint(num_concepts, (count, self.initial_length), generator=generator)
        chance = torch.rand(count, self.initial_length, generator=generator)
        correct = chance < success_rate(log, num_concepts).cpu()[concept]
        device = log.offsets.device
        targets = torch.zeros(count, num_concepts, dtype=torch.bool).scatter(1, target, True)
        return UnseenRequests(concept.to(device), correct.float().to(device), targets.to(device), self.length)


@dataclass(frozen=True)
class UnseenRequests:
    """Requests of unseen learners: `concept` [E, T] int64 with `correct` [E, T] answers, and `targets` [E, N] bool."""

    concept: Tensor
    correct: Tensor
    targets: Tensor
    length: int

    @property
    def sizes(self) -> Tensor:
        """Number of answers of each history, [E] int64."""
        return torch.full((len(self.concept),), self.concept.shape[1], device=self.concept.device)

    def batch(self, index: Tensor) -> PathRequest:
        """Return the requests at `index` [B]."""
        concept = self.concept[index]
        unseen = torch.full_like(index, PAD)
        history = InteractionBatch(
            concept=concept[..., None],
            item=torch.full_like(concept, PAD),
            correct=self.correct[index],
            mask=torch.ones_like(concept, dtype=torch.bool),
            learner=unseen,
        )
        return PathRequest(history, self.targets[index], torch.full_like(index, self.length), unseen, index)


def success_rate(log: Interactions, num_concepts: int) -> Tensor:
    """Return the share of right answers of each concept, [N]; over all answers (.5 of none) where it has none.

    >>> success_rate(Interactions.from_lists([[(0, 1), (0, 0), (1, 1), (1, 1)]]), 3)
    tensor([0.5000, 1.0000, 0.7500])
    """
    used = log.concept != PAD
    concept = log.concept[used].long()
    right = log.correct[:, None].expand_as(used)[used].float()
    answers = torch.bincount(concept, minlength=num_concepts).float()
    overall = right.mean() if len(right) else torch.tensor(0.5, device=right.device)
    rate = torch.bincount(concept, weights=right, minlength=num_concepts).float() / answers.clamp_min(1)
    return torch.where(answers > 0, rate, overall)
