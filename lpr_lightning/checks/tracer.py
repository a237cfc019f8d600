"""Whether a tracer follows the rules that simulators, agents and reports count on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.checks.rules import (
    ALONE,
    SEED,
    TOLERANCE,
    BrokenRule,
    Move,
    close,
    copied,
    need,
    need_probabilities,
    need_rows,
    need_two,
    padded,
    same,
)
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import PAD, Exercise, InteractionBatch, State, keep_rows, repeat_rows

CANDIDATES = 3
UNKNOWN = 10**9
"""Number of a question that no tracer knows."""


@torch.no_grad()
def check_tracer(tracer: Tracer, batch: InteractionBatch) -> None:
    """See that a tracer follows the rules; a module must be in evaluation mode.

    1. ranges: shapes fit, states have rows first, probabilities and mastery are in [0, 1];
    2. determinism: the same history gives the same state;
    3. no state leak: `observe` and `practise` change no state that they are given;
    4. padding: neither the length of the padding nor what stands under it matters;
    5. batch independence: a learner alone is traced as in company;
    6. step = encode: the answers of a history, observed one by one, give what the whole history gives;
    7. soft answers: an answer may be any number in [0, 1], and counts as such;
    8. candidates: A exercises at once, [B, A], are as one after another;
    9. some concepts: mastery of some concepts is that of all, gathered;
    10. unknown question: a question that the tracer does not know is asked by its concepts.

    Args:
        tracer: what is checked.
        batch: histories of at least two learners, best of different lengths; eight are enough.

    Raises:
        BrokenRule: names the rule, what was found and what to do.
        SettingError: there are too few learners or no answers.

    >>> from lpr_lightning.nets.dkt import DKTNet
    >>> from lpr_lightning.types import Interactions
    >>> log = Interactions.from_lists([[(0, 1), (1, 0)], [(1, 1)]])
    >>> check_tracer(DKTNet(2, 4, 4).eval(), log.batch(torch.arange(2)))
    """
    need_two("batch", len(batch))
    if not bool(batch.mask.any()):
        raise SettingError("batch", "no answers", "histories with answers")
    draws = Draws.of(SEED, 0, torch.arange(len(batch), device=batch.learner.device))
    concept = draws.integers(tracer.num_concepts, CANDIDATES)
    trial = _Trial(tracer, batch, Exercise.of_concepts(concept))
    _check_ranges(trial)
    _check_determinism(trial)
    _check_padding(trial)
    _check_batch_independence(trial)
    _check_steps(trial)
    for name, move in (("observe", tracer.observe), ("practise", tracer.practise)):
        _check_no_leak(trial, name, move)
        _check_soft_answers(trial, name, move)
        _check_candidates(trial, name, move)
    _check_some_concepts(trial)
    _check_unknown_question(trial)


@dataclass(frozen=True)
class _Trial:
    """A tracer, histories, and the exercises [B, A] that are asked after them."""

    tracer: Tracer
    batch: InteractionBatch
    every: Exercise

    @property
    def one(self) -> Exercise:
        """The first exercises, [B]."""
        return Exercise(self.every.concept[:, 0], self.every.item[:, 0])

    def shown(self, state: State) -> list[Tensor]:
        """Return what states show."""
        return [self.tracer.mastery(state), self.tracer.predict(state, self.every)]


def _check_ranges(trial: _Trial) -> None:
    rule, tracer, rows = "ranges", trial.tracer, len(trial.batch)
    answer = torch.ones(rows, device=trial.batch.correct.device)
    encoded = tracer.encode(trial.batch)
    states = {
        "initial_state": tracer.initial_state(rows),
        "encode": encoded,
        "observe": tracer.observe(encoded, trial.one, answer),
        "practise": tracer.practise(encoded, trial.one, answer),
    }
    for name, state in states.items():
        need_rows(rule, name, state, rows)
        need_probabilities(rule, "mastery", tracer.mastery(state), (rows, tracer.num_concepts))
        need_probabilities(rule, "predict", tracer.predict(state, trial.one), (rows,))
        need_probabilities(rule, "predict", tracer.predict(state, trial.every), (rows, CANDIDATES))


def _check_determinism(trial: _Trial) -> None:
    first, second = (trial.shown(trial.tracer.encode(trial.batch)) for _ in range(2))
    need("determinism", same(first, second), "the same histories gave two different states", "call eval() before")


def _check_padding(trial: _Trial) -> None:
    rule, advice = "padding", "go by the mask alone"
    plain, longer, filled = (
        trial.shown(trial.tracer.encode(one)) for one in (trial.batch, padded(trial.batch), padded(trial.batch, 0, 1.0))
    )
    need(rule, close(plain, longer), "longer padding changed the states", advice)
    need(rule, close(plain, filled), "what stands under the mask changed the states", advice)


def _check_batch_independence(trial: _Trial) -> None:
    together = trial.shown(trial.tracer.encode(trial.batch))
    for row in range(min(len(trial.batch), ALONE)):
        index = torch.tensor([row], device=trial.batch.learner.device)
        alone = replace(trial, batch=trial.batch.select(index), every=trial.every.select(index))
        alike = close(alone.shown(trial.tracer.encode(alone.batch)), [part[index] for part in together])
        found = f"learner {row} alone is traced otherwise than among {len(trial.batch)}"
        need("batch independence", alike, found, "let no row depend on another (normalisation, shared padding)")


def _check_steps(trial: _Trial) -> None:
    tracer, batch = trial.tracer, trial.batch
    state = tracer.initial_state(len(batch))
    for step in range(batch.mask.shape[1]):
        after = tracer.observe(state, _harmless(batch, step), batch.correct[:, step])
        state = keep_rows(state, after, batch.mask[:, step])
    alike = close(trial.shown(state), trial.shown(tracer.encode(batch)))
    found = "answers observed one by one give another state than encode"
    need("step = encode", alike, found, "let both compute the same (positions, windows, first answers)")


def _harmless(batch: InteractionBatch, step: int) -> Exercise:
    """Return what was asked at a step, concept 0 where the history has ended."""
    asked = batch.asked(step)
    return replace(asked, concept=asked.concept.masked_fill(~batch.mask[:, step, None], 0))


def _check_no_leak(trial: _Trial, name: str, move: Move) -> None:
    state = trial.tracer.encode(trial.batch)
    before = copied(state)
    first = copied(move(state, trial.one, torch.ones_like(trial.one.item).float()))
    need("no state leak", same(state, before), f"{name} changed the state it was given", "return new tensors")
    again = move(state, trial.one, torch.ones_like(trial.one.item).float())
    need("no state leak", same(first, again), f"{name} came out differently again", "store nothing outside the state")


def _check_soft_answers(trial: _Trial, name: str, move: Move) -> None:
    rule, state, rows = "soft answers", trial.tracer.encode(trial.batch), len(trial.batch)
    wrong, half, right = (
        trial.tracer.mastery(move(state, trial.one, torch.full_like(trial.batch.correct[:, :1], answer).squeeze(1)))
        for answer in (0.0, 0.5, 1.0)
    )
    need_probabilities(rule, "mastery", half, (rows, trial.tracer.num_concepts))
    matters = (right - wrong).abs() > TOLERANCE
    rounded = (((half - wrong).abs() == 0) | ((half - right).abs() == 0)) & matters
    found = f"{name} took an answer of 0.5 for 0 or 1"
    need(rule, not bool(rounded.all() and matters.any()), found, "weight both answers by it, do not round it")


def _check_candidates(trial: _Trial, name: str, move: Move) -> None:
    rule, tracer, every, rows = "candidates", trial.tracer, trial.every, len(trial.batch)
    state = tracer.encode(trial.batch)
    repeated, flat = repeat_rows(state, CANDIDATES), every.flat()
    singly = tracer.predict(repeated, flat).view(rows, CANDIDATES)
    need(rule, close([tracer.predict(state, every)], [singly]), "predict differs from one by one", "ask each by itself")
    answer = (torch.arange(rows * CANDIDATES, device=flat.item.device) % 2).float()
    after = move(state, every, answer.view(rows, CANDIDATES))
    need_rows(rule, name, after, rows * CANDIDATES)
    expected = tracer.mastery(move(repeated, flat, answer))
    alike = close([tracer.mastery(after)], [expected])
    need(rule, alike, f"{name} differs from one by one", "return rows b * A + a for candidate a of learner b")


def _check_some_concepts(trial: _Trial) -> None:
    rule, tracer, concept = "some concepts", trial.tracer, trial.every.concept[..., 0]
    state = tracer.encode(trial.batch)
    after = tracer.observe(state, trial.every, torch.ones_like(concept).float())
    for states, copies in ((state, 1), (after, CANDIDATES)):
        wanted = tracer.mastery(states).gather(1, concept.repeat_interleave(copies, 0))
        found = tracer.mastery(states, concept)
        need(rule, found.shape == wanted.shape, f"mastery gave {tuple(found.shape)}", f"return {tuple(wanted.shape)}")
        need(rule, close([found], [wanted]), "they differ from mastery of all", "gather, or compute the same")


def _check_unknown_question(trial: _Trial) -> None:
    rule, advice, tracer = "unknown question", "go by Exercise.concept where the item is not known", trial.tracer
    state, one = tracer.encode(trial.batch), trial.one
    answer = torch.ones_like(one.item).float()
    shown: list[list[Tensor]] = []
    for item in (PAD, UNKNOWN):
        asked = replace(one, item=torch.full_like(one.item, item))
        try:
            shown.append([tracer.predict(state, asked), tracer.mastery(tracer.observe(state, asked, answer))])
        except (IndexError, RuntimeError) as error:
            raise BrokenRule(rule, f"item {item} raised {type(error).__name__}: {error}", advice) from error
    need(rule, close(*shown), "it is answered otherwise than its concepts", advice)
