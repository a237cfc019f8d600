"""Predictions along logs, against one learner and one prefix at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.functional.open_loop import Followed, OpenLoop, follow_logs, open_loop_auc
from lpr_lightning.models.dkt import DKT
from lpr_lightning.models.performance_factors import PerformanceFactors
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import PAD, Exercise, InteractionBatch

HORIZON, STRIDE, CONCEPTS = 4, 3, 5


def logs(rows: int = 6, steps: int = 13) -> InteractionBatch:
    """Return logs of different lengths, some answers on two concepts."""
    generator = torch.Generator().manual_seed(0)
    length = torch.tensor([13, 1, 7, 4, 12, 9])[:rows]
    mask = torch.arange(steps) < length[:, None]
    concept = torch.randint(CONCEPTS, (rows, steps, 2), generator=generator)
    concept[..., 1] = torch.where(torch.rand(rows, steps, generator=generator) < 0.7, PAD, concept[..., 1])
    concept[..., 1] = torch.where(concept[..., 1] == concept[..., 0], PAD, concept[..., 1])
    return InteractionBatch(
        concept.masked_fill(~mask[..., None], PAD),
        torch.randint(9, (rows, steps), generator=generator).masked_fill(~mask, PAD),
        (torch.rand(rows, steps, generator=generator) < 0.6).float() * mask,
        mask,
        torch.arange(rows) + 20,
    )


def tracer_of(kind: str) -> Tracer:
    torch.manual_seed(1)
    tracer = DKT(CONCEPTS, 4, 4).eval() if kind == "dkt" else PerformanceFactors(CONCEPTS, gate=False).eval()
    with torch.no_grad():
        for weight in tracer.parameters():
            weight.copy_(torch.randn_like(weight))
    return tracer


def followed(tracer: Tracer, batch: InteractionBatch) -> Followed:
    return follow_logs(tracer, tracer.initial_state(len(batch)), batch, HORIZON, STRIDE)


@pytest.mark.parametrize("kind", ["dkt", "factors"])
@torch.no_grad()
def test_matches_one_learner_and_one_prefix_at_a_time(kind: str) -> None:
    tracer, batch = tracer_of(kind), logs()
    found = followed(tracer, batch)
    answers = {
        (int(learner), round(float(p), 5)) for learner, p in zip(found.answers.learner, found.answers.probability)
    }
    expected, rows = set(), 0
    for row in range(len(batch)):
        one = batch.select(torch.tensor([row]))
        for seen in range(1, int(one.lengths)):
            state = tracer.encode(one.first(torch.tensor([seen])))
            expected.add((20 + row, round(float(tracer.predict(state, one.asked(seen))), 5)))
            if seen % STRIDE:
                continue
            (place,) = ((found.open_loop.learner == 20 + row) & (found.open_loop.seen == seen)).nonzero().flatten()
            rows += 1
            later = state
            for step in range(HORIZON):
                there = seen + step < int(one.lengths)
                assert bool(found.open_loop.mask[place, step]) == there
                if not there:
                    assert float(found.open_loop.ahead[place, step]) == float(found.open_loop.frozen[place, step]) == 0
                    continue
                asked = one.asked(seen + step)
                soft = tracer.predict(later, asked)
                assert float(found.open_loop.ahead[place, step]) == pytest.approx(float(soft), abs=1e-5)
                frozen = float(tracer.predict(state, asked))
                assert float(found.open_loop.frozen[place, step]) == pytest.approx(frozen, abs=1e-5)
                assert torch.equal(found.open_loop.concept[place, 1 + step], one.concept[0, seen + step])
                assert float(found.open_loop.correct[place, 1 + step]) == float(one.correct[0, seen + step])
                later = tracer.practise(later, asked, soft)
            assert torch.equal(found.open_loop.concept[place, 0], one.concept[0, seen - 1])
    assert answers == expected
    assert rows == len(found.open_loop) > 5
    assert len(found.answers) == int((batch.lengths - 1).sum())


def test_answers_behind_the_prefix_are_not_seen() -> None:
    """One prefix of three answers: whatever comes after it, the predictions stay."""
    tracer, batch = tracer_of("dkt"), logs(1)
    other = replace(batch, correct=torch.cat([batch.correct[:, :3], 1 - batch.correct[:, 3:]], 1))
    first, second = (followed(tracer, one).open_loop.select(torch.tensor([0])) for one in (batch, other))
    assert int(first.seen) == 3
    assert torch.equal(first.ahead, second.ahead)
    assert not torch.equal(first.correct, second.correct)


def test_padding_changes_nothing() -> None:
    tracer, batch = tracer_of("dkt"), logs()
    noise = replace(
        batch,
        concept=torch.where(batch.mask[..., None], batch.concept, 2),
        correct=torch.where(batch.mask, batch.correct, 1.0),
    )
    first, second = followed(tracer, batch), followed(tracer, noise)
    torch.testing.assert_close(first.answers.probability, second.answers.probability)
    torch.testing.assert_close(first.open_loop.ahead, second.open_loop.ahead)


def test_logs_without_a_second_answer_give_nothing() -> None:
    tracer, batch = tracer_of("dkt"), logs().first(torch.ones(6, dtype=torch.int64))
    found = followed(tracer, batch)
    assert len(found.answers) == len(found.open_loop) == 0
    assert found.open_loop.ahead.shape == (0, HORIZON)


def test_by_hand() -> None:
    """0.5 + 0.1 for each practised step of a learner: after two answers that taught 0.3 each the next are 1.1, 1.2."""

    class Grows:
        def observe(
            self, state: tuple[torch.Tensor, ...], asked: Exercise, correct: torch.Tensor
        ) -> tuple[torch.Tensor]:
            return (state[0] + 0.3,)

        def practise(
            self, state: tuple[torch.Tensor, ...], asked: Exercise, correct: torch.Tensor
        ) -> tuple[torch.Tensor]:
            return (state[0] + 0.1,)

        def predict(self, state: tuple[torch.Tensor, ...], asked: Exercise) -> torch.Tensor:
            return (state[0] if asked.item.dim() == 1 else state[0][:, None]).expand(asked.shape)

    batch = logs(1).first(torch.tensor([4]))
    found = follow_logs(Grows(), (torch.tensor([0.5]),), batch, horizon=3, stride=2)
    torch.testing.assert_close(found.answers.probability, torch.tensor([0.8, 1.1, 1.4]))
    torch.testing.assert_close(found.open_loop.frozen, torch.tensor([[1.1, 1.1, 0.0]]))
    torch.testing.assert_close(found.open_loop.ahead, torch.tensor([[1.1, 1.2, 0.0]]))


def test_auc_is_that_of_pairs_on_the_same_prefixes() -> None:
    generator = torch.Generator().manual_seed(3)
    rows, horizon = 40, 5
    ahead = torch.randint(6, (rows, horizon), generator=generator) / 6
    correct = (torch.rand(rows, 1 + horizon, generator=generator) < 0.5).float()
    mask = torch.arange(horizon) < torch.randint(1, horizon + 1, (rows, 1), generator=generator)
    concept, learner = torch.zeros(rows, 1 + horizon, 1).long(), torch.arange(rows) // 4
    found = open_loop_auc(OpenLoop(ahead, ahead, concept, correct, mask, learner, learner), [1, 4], resamples=20)
    for step, (auc, low, high) in found.items():
        pairs = [
            (ahead[a, step - 1] > ahead[b, step - 1]).item() + 0.5 * (ahead[a, step - 1] == ahead[b, step - 1]).item()
            for a in range(rows)
            for b in range(rows)
            if mask[a, 3] and mask[b, 3] and correct[a, step] == 1 and correct[b, step] == 0
        ]
        assert auc == pytest.approx(sum(pairs) / len(pairs))
        assert low < auc < high
