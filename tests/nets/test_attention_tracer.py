"""The attention net gives the same predictions whichever way it is run, and none from what comes later."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.nets.attention_tracer import AttentionTracer
from lpr_lightning.nets.history_attention import HistoryAttention
from lpr_lightning.types import Exercise, InteractionBatch


def net(window: int = 50, layers: int = 2) -> AttentionTracer:
    torch.manual_seed(0)
    made = AttentionTracer(5, 9, width=8, num_layers=layers, num_heads=2, window=window, dropout=0.3).double().eval()
    for name, weight in made.named_parameters():
        if name.endswith(("first_value", "distance", "difficulty.weight")):
            torch.nn.init.normal_(weight)
    return made


def log(rows: int = 3, steps: int = 12) -> InteractionBatch:
    generator = torch.Generator().manual_seed(1)
    concept = torch.randint(5, (rows, steps, 2), generator=generator)
    concept[..., 1] = torch.where(torch.rand(rows, steps, generator=generator) < 0.5, -1, concept[..., 1])
    item = torch.randint(-1, 9, (rows, steps), generator=generator)
    correct, mask = torch.rand(rows, steps, generator=generator, dtype=torch.float64), torch.ones(rows, steps) > 0
    return InteractionBatch(concept, item, correct, mask, torch.arange(rows))


@torch.no_grad()
def test_attention_equals_a_plain_sum_over_earlier_answers() -> None:
    torch.manual_seed(0)
    one = HistoryAttention(width=4, num_heads=1, window=3, dropout=0.0).double()
    torch.nn.init.normal_(one.distance)
    torch.nn.init.normal_(one.first_value)
    question, interaction = torch.randn(2, 1, 6, 4, dtype=torch.float64)
    keys, values = one.remember(question, interaction)
    found = one.whole(keys, values)
    for step in range(6):
        scores = [float(keys[0, step] @ one.first_key) / 2]
        seen: list[Tensor] = [one.first_value]
        for earlier in range(max(step - 3, 0), step):
            score = float(keys[0, step] @ keys[0, earlier]) / 2
            scores.append(score + float(one.distance[0, step - earlier - 1]))
            seen.append(values[0, earlier])
        weights = [math.exp(score) for score in scores]
        expected = sum(weight * value for weight, value in zip(weights, seen)) / sum(weights)
        torch.testing.assert_close(found[0, step], one.output(expected))


@pytest.mark.parametrize("window", [1, 3, 12, 50])
@pytest.mark.parametrize("layers", [1, 3])
@torch.no_grad()
def test_steps_equal_the_whole_log_inside_and_beyond_the_window(window: int, layers: int) -> None:
    tracer, batch = net(window, layers), log()
    whole, state = tracer.logits(batch).sigmoid(), tracer.initial_state(3)
    for step in range(12):
        torch.testing.assert_close(tracer.predict(state, batch.asked(step)), whole[:, step])
        state = tracer.observe(state, batch.asked(step), batch.correct[:, step])


@pytest.mark.parametrize("window", [1, 3, 50])
@torch.no_grad()
def test_one_pass_over_padded_logs_gives_the_state_that_steps_give(window: int) -> None:
    tracer, batch = net(window), log()
    lengths = torch.tensor([12, 0, 5])
    encoded = tracer.encode(replace(batch, mask=torch.arange(12) < lengths[:, None]))
    for row, length in enumerate(lengths.tolist()):
        state, one = tracer.initial_state(1), batch.select(torch.tensor([row]))
        for step in range(length):
            state = tracer.observe(state, one.asked(step), one.correct[:, step])
        for part, other in zip(encoded, state):
            torch.testing.assert_close(part[row], other[0])


@torch.no_grad()
def test_nothing_is_seen_of_an_answer_before_it_is_predicted() -> None:
    tracer, batch = net(), log()
    for step in (0, 4, 11):
        changed = batch.correct.clone()
        changed[:, step:] = 1 - changed[:, step:]
        before, after = tracer.logits(batch), tracer.logits(replace(batch, correct=changed))
        assert torch.equal(before[:, : step + 1], after[:, : step + 1])
        assert step == 11 or not torch.allclose(before[:, step + 1 :], after[:, step + 1 :])


@torch.no_grad()
def test_mastery_is_the_success_on_questions_of_mean_difficulty() -> None:
    tracer, batch = net(), log()
    state = tracer.encode(batch)
    every = torch.arange(5).expand(3, -1)
    torch.testing.assert_close(tracer.mastery(state), tracer.predict(state, Exercise.of_concepts(every)))
