"""Practice logs look like those of learners who follow a course."""

from __future__ import annotations

import torch

from lpr_lightning.simulators.practice_logs import practice_log
from lpr_lightning.simulators.true_learners import TrueLearners

LEARNERS = TrueLearners(num_learners=200)
LOG = practice_log(LEARNERS, 40, 80, seed=0)


def test_every_learner_has_a_log_of_a_wanted_length() -> None:
    assert LOG.num_learners == 200
    assert LOG.lengths.min() >= 40
    assert LOG.lengths.max() <= 80
    assert LOG.learner.tolist() == list(range(200))


def test_items_belong_to_their_concepts() -> None:
    assert torch.equal(LEARNERS.item_concept[LOG.item.long()], LOG.concept[:, 0].long())
    assert len(set(LOG.item.tolist())) == 150


def test_the_seed_decides() -> None:
    assert torch.equal(LOG.correct, practice_log(LEARNERS, 40, 80, seed=0).correct)
    assert not torch.equal(LOG.concept[:1000], practice_log(LEARNERS, 40, 80, seed=1).concept[:1000])


def test_there_are_runs_and_they_are_longer_after_mistakes() -> None:
    batch = LOG.batch(torch.arange(200))
    concept, mask = batch.concept[..., 0], batch.mask[:, 1:]
    stays = concept[:, 1:] == concept[:, :-1]
    right = batch.correct[:, :-1] == 1
    assert 0.5 < stays[mask].float().mean() < 0.8
    assert stays[mask & ~right].float().mean() > stays[mask & right].float().mean() + 0.15


def test_prerequisites_come_first_by_and_large() -> None:
    level = LEARNERS.world.level[LOG.batch(torch.arange(200)).concept[..., 0].clamp_min(0)].float()
    assert level[:, 30:40].mean() > level[:, :10].mean() + 0.5


def test_practice_shows_in_the_answers() -> None:
    batch = LOG.batch(torch.arange(200))
    concept = batch.concept[..., 0]
    tried = torch.nn.functional.one_hot(concept.clamp_min(0), 30).cumsum(1).gather(2, concept.clamp_min(0)[..., None])
    tried = tried.squeeze(-1)
    first = batch.correct[batch.mask & (tried == 1)].mean()
    later = batch.correct[batch.mask & (tried == 4)].mean()
    assert later > first + 0.15
