"""Whether a simulator follows the rules that searches, rollouts and policies count on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.checks.rules import (
    ALONE,
    SEED,
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
from lpr_lightning.errors import checked
from lpr_lightning.goals import Targets
from lpr_lightning.protocols import Goal, Simulator
from lpr_lightning.types import PAD, Exercise, PathRequest, State, repeat_rows, select_rows


@torch.no_grad()
def check_simulator(simulator: Simulator, request: PathRequest, goal: Goal | None = None, steps: int = 4) -> None:
    """Let a simulator's learners follow random paths and see that it follows the rules.

    1. ranges: shapes fit; probabilities, answers and mastery are in [0, 1], exam scores between 0 and the best;
    2. determinism: the same draws give the same answers and states, and so does doing without draws;
    3. no state leak: `practise` and `observe` change no state that they are given, nor what comes of it later;
    4. reading: mastery and goals change nothing;
    5. nothing asked: rows that are asked nothing stay as they are;
    6. history masks: neither the length of the padding nor what stands under it matters;
    7. batch independence: a learner alone fares as in company, answers at random included;
    8. candidates: A exercises at once, [B, A], are as one after another;
    9. some concepts: mastery of some concepts is that of all, gathered.

    Args:
        simulator: what is checked.
        request: at least two learners, best with histories of different lengths; eight are enough.
        goal: what is assessed on the way; default the targets of the requests.
        steps: length of the random paths, at least 2.

    Raises:
        BrokenRule: names the rule, what was found and what to do.
        SettingError: there are too few learners or steps.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> check_simulator(Ladder(3), Ladder(3).request(targets=[[0], [1, 2]], length=3))
    """
    need_two("request", len(request))
    checked("steps", steps, 2)
    rows = torch.arange(len(request), device=request.length.device)
    draws = Draws.of(SEED, 0, rows)
    path = draws.at(0).integers(len(simulator.actions), steps)
    trial = _Trial(simulator, goal or Targets(), request, path, draws.at(1))
    _check_ranges(trial)
    _check_determinism(trial)
    for name, move in (("practise", simulator.practise), ("observe", simulator.observe)):
        _check_no_leak(trial, name, move)
        _check_nothing_asked(trial, name, move)
    _check_reading(trial)
    _check_history_masks(trial)
    _check_batch_independence(trial)
    _check_candidates(trial)
    _check_some_concepts(trial)


@dataclass(frozen=True)
class _Trial:
    """Learners, the actions [B, L] that they follow, and their draws."""

    simulator: Simulator
    goal: Goal
    request: PathRequest
    path: Tensor
    draws: Draws | None

    def asked(self, step: int) -> Exercise:
        return self.simulator.actions.at(self.path[:, step])

    def alone(self, row: int) -> _Trial:
        index = torch.tensor([row], device=self.path.device)
        draws = None if self.draws is None else self.draws.select(index)
        return replace(self, request=self.request.select(index), path=self.path[index], draws=draws)

    def answers(self, state: State, asked: Exercise, step: int) -> tuple[Tensor, Tensor]:
        """Return probabilities and answers."""
        probability = self.simulator.predict(state, asked)
        return probability, self.simulator.respond(probability, None if self.draws is None else self.draws.at(step))

    def read(self, state: State) -> list[Tensor]:
        """Return the mastery, and where the learners stand."""
        concept = self.goal.choose(self.simulator, state, self.request)
        return [self.simulator.mastery(state), *self.goal.assess(self.simulator, state, concept)]

    def walk(self, reading: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Return answers, their probabilities and what can be read at the end; and what can be read on the way."""
        state = self.simulator.start(self.request)
        moved: list[Tensor] = []
        read: list[Tensor] = []
        for step in range(self.path.shape[1]):
            read += self.read(state) if reading else []
            probability, answer = self.answers(state, self.asked(step), step)
            state = self.simulator.practise(state, self.asked(step), answer)
            moved += [probability, answer]
        return moved + self.read(state), read

    def follow(self) -> list[Tensor]:
        """Return everything that shows."""
        moved, read = self.walk(reading=True)
        return moved + read


def _check_ranges(trial: _Trial) -> None:
    rule, rows, simulator = "ranges", len(trial.request), trial.simulator
    state = simulator.start(trial.request)
    need_rows(rule, "start", state, rows)
    for step in range(trial.path.shape[1]):
        _check_standing(trial, state)
        probability, answer = trial.answers(state, trial.asked(step), step)
        need_probabilities(rule, "predict", probability, (rows,))
        need_probabilities(rule, "respond", answer, (rows,))
        need_rows(rule, "observe", simulator.observe(state, trial.asked(step), answer), rows)
        state = simulator.practise(state, trial.asked(step), answer)
        need_rows(rule, "practise", state, rows)
    _check_standing(trial, state)


def _check_standing(trial: _Trial, state: State) -> None:
    rule, rows = "ranges", len(trial.request)
    need_probabilities(rule, "mastery", trial.simulator.mastery(state), (rows, trial.simulator.num_concepts))
    concept = trial.goal.choose(trial.simulator, state, trial.request)
    some = trial.simulator.mastery(state, concept.clamp_min(0))
    need_probabilities(rule, "mastery of some concepts", some, tuple(concept.shape))
    _, mean, score, best = trial.read(state)
    need_probabilities(rule, "assess", mean, (rows,))
    shaped = score.shape == best.shape == (rows,)
    need(rule, shaped, f"assess gave scores {tuple(score.shape)} of {tuple(best.shape)}", "return [B] each")
    inside = bool(((score >= 0) & (score <= best)).all())
    need(rule, inside, f"an exam scored {score.tolist()} of {best.tolist()}", "score from 0 to the best possible")


def _check_determinism(trial: _Trial) -> None:
    advice = "take every random number from the draws that respond is given"
    need("determinism", same(trial.follow(), trial.follow()), "the same draws gave two different runs", advice)
    likeliest = replace(trial, draws=None)
    need("determinism", same(likeliest.follow(), likeliest.follow()), "two runs without draws differ", advice)


def _check_no_leak(trial: _Trial, name: str, move: Move) -> None:
    rule, asked, other = "no state leak", trial.asked(0), trial.asked(1)
    state = trial.simulator.start(trial.request)
    before, (probability, answer) = copied(state), trial.answers(state, asked, 0)
    after = move(state, asked, answer)
    first = copied(after)
    need(rule, same(state, before), f"{name} changed the state it was given", "return new tensors")
    move(after, other, answer)
    move(state, other, answer)
    again = trial.simulator.predict(state, asked), *move(state, asked, answer)
    unmoved = same((probability, *first), again)
    need(rule, unmoved, f"{name} came out differently after other steps", "store nothing outside the state")


def _check_nothing_asked(trial: _Trial, name: str, move: Move) -> None:
    state = trial.simulator.start(trial.request)
    idle = torch.arange(len(trial.request), device=trial.path.device) % 2 == 0
    asked = trial.simulator.actions.at(trial.path[:, 1].masked_fill(idle, PAD))
    after = move(state, asked, torch.ones_like(idle, dtype=torch.float32))
    stayed = same(select_rows(after, idle), select_rows(state, idle))
    need("nothing asked", stayed, f"{name} changed a row that was asked nothing", "go by Exercise.asked")


def _check_reading(trial: _Trial) -> None:
    rule, advice = "reading", "compute from the state, and store nothing"
    state = trial.simulator.start(trial.request)
    before = copied(state)
    trial.read(state)
    need(rule, same(state, before), "mastery or a goal changed the state", advice)
    (read, _), (unread, _) = trial.walk(reading=True), trial.walk(reading=False)
    need(rule, same(read, unread), "reading mastery or a goal changed the answers after it", advice)


def _check_history_masks(trial: _Trial) -> None:
    rule, advice, history = "history masks", "go by history.mask alone", trial.request.history
    plain, longer, filled = (
        replace(trial, request=replace(trial.request, history=one)).follow()
        for one in (history, padded(history), padded(history, 0, 1.0))
    )
    need(rule, close(plain, longer), "longer padding of the history changed the learners", advice)
    need(rule, close(plain, filled), "what stands under the history's mask changed the learners", advice)


def _check_batch_independence(trial: _Trial) -> None:
    together = trial.follow()
    for row in range(min(len(trial.request), ALONE)):
        alike = close(trial.alone(row).follow(), [part[row : row + 1] for part in together])
        found = f"learner {row} alone fares otherwise than among {len(trial.request)}"
        need("batch independence", alike, found, "let no row depend on another (normalisation, shared padding)")


def _check_candidates(trial: _Trial) -> None:
    rule, simulator, (rows, count) = "candidates", trial.simulator, trial.path.shape
    path = trial.path.clone()
    path[0, -1] = PAD
    state, every = simulator.start(trial.request), simulator.actions.at(path)
    probability, answer = trial.answers(state, every, 0)
    need_probabilities(rule, "predict", probability, (rows, count))
    need_probabilities(rule, "respond", answer, (rows, count))
    flat = simulator.actions.at(path.flatten())
    repeated = repeat_rows(state, count)
    singly = simulator.predict(repeated, flat).view(rows, count)
    going = path >= 0
    need(rule, close([probability[going]], [singly[going]]), "predict differs from one by one", "treat [B, A] as B * A")
    for name, move in (("practise", simulator.practise), ("observe", simulator.observe)):
        after = move(state, every, answer)
        need_rows(rule, name, after, rows * count)
        alike = close(after, move(repeated, flat, answer.flatten()))
        need(rule, alike, f"{name} differs from one by one", "return rows b * A + a for candidate a of learner b")


def _check_some_concepts(trial: _Trial) -> None:
    rule, simulator, (rows, _) = "some concepts", trial.simulator, trial.path.shape
    concept = trial.path % simulator.num_concepts
    for copies in (1, 2):
        state = repeat_rows(simulator.start(trial.request), copies)
        if copies > 1:
            asked = simulator.actions.at(trial.path[:, :1].expand(-1, copies).flatten())
            state = simulator.practise(state, asked, torch.arange(rows * copies, device=concept.device) % 2.0)
        wanted = simulator.mastery(state).gather(1, concept.repeat_interleave(copies, 0))
        found = simulator.mastery(state, concept)
        need(rule, found.shape == wanted.shape, f"mastery gave {tuple(found.shape)}", f"return {tuple(wanted.shape)}")
        need(rule, close([found], [wanted]), "they differ from mastery of all", "gather, or compute the same")
