"""Whether a simulator keeps the rules that searches, roll-outs and policies count on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, Simulator, SimulatorState

SEED = 20
TOLERANCE = 1e-4


class SimulatorError(LPRError):
    """A simulator breaks one of the rules of the `Simulator` protocol.

    >>> raise SimulatorError("no state leak", "step changed the state it was given", "return new tensors")
    Traceback (most recent call last):
        ...
    lpr_lightning.simulators.check.SimulatorError: the simulator breaks the rule 'no state leak': step changed the state it was given. To mend it: return new tensors.
    """  # noqa: E501

    def __init__(self, rule: str, found: str, advice: str) -> None:
        self.rule = rule
        super().__init__(f"the simulator breaks the rule {rule!r}: {found}. To mend it: {advice}.")


@torch.no_grad()
def check_simulator(simulator: Simulator, request: PathRequest, steps: int = 4) -> None:
    """Let a simulator's learners follow random paths and see that it keeps the rules; it is re-seeded on the way.

    1. ranges: shapes fit, probabilities are in [0, 1], exam scores finite and no better than the best possible;
    2. determinism: the same seed gives the same answers and states;
    3. no state leak: stepping leaves the state it was given as it was, and later steps from it as they were;
    4. exams: exams and mastery leave the state and the random numbers as they are;
    5. padding steps: rows with concept -1 keep their state and answer 0;
    6. history masks: neither the length of the padding nor what stands under it matters;
    7. batch independence: a learner alone fares as in company. Of a simulator that answers at random, only the start
       and the first probability are compared, since company shifts the draws.

    Args:
        simulator: What is checked.
        request: At least two learners, best with histories of different lengths; eight are enough.
        steps: Length of the random paths, at least 2.

    Raises:
        SimulatorError: Names the broken rule, what was seen and what to do.
        SettingError: If there are too few learners or steps.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> check_simulator(Ladder(3), Ladder(3).request(targets=[[0], [1, 2]], length=3))
    """
    if len(request) < 2:
        raise SettingError("request", f"{len(request)} learners", "at least two learners")
    if steps < 2:
        raise SettingError("steps", steps, "a whole number of at least 2")
    generator = torch.Generator().manual_seed(SEED)
    path = torch.randint(simulator.num_concepts, (len(request), steps), generator=generator).to(request.length.device)
    _check_ranges(simulator, request, path)
    _check_determinism(simulator, request, path)
    _check_no_leak(simulator, request, path)
    _check_exams(simulator, request, path)
    _check_padding_steps(simulator, request, path)
    _check_history_masks(simulator, request, path)
    _check_batch_independence(simulator, request, path)


def _check_ranges(simulator: Simulator, request: PathRequest, path: Tensor) -> None:
    rule, rows, concepts = "ranges", len(request), simulator.num_concepts
    simulator.seed(SEED)
    state = simulator.start(request)
    for part in state:
        _need(
            rule, part.shape[:1] == (rows,), f"start gave {tuple(part.shape)} for {rows} learners", "put learners first"
        )
    for step in range(path.shape[1] + 1):
        mastery = simulator.mastery(state)
        score, best = simulator.exam(state, request.targets)
        _need(rule, mastery.shape == (rows, concepts), f"mastery gave {tuple(mastery.shape)}", "return [B, N]")
        _need(rule, _within(mastery), f"mastery is {_span(mastery)}", "return probabilities")
        _need(rule, score.shape == best.shape == (rows,), f"exam gave {tuple(score.shape)}", "return two tensors [B]")
        _need(rule, bool(score.isfinite().all()), f"exam scores are {_span(score)}", "return finite scores")
        above = float((score - best).max())
        _need(rule, above <= TOLERANCE, f"an exam scored {above:.3g} above the best possible", "return (score, best)")
        if step == path.shape[1]:
            return
        state, answer, probability = simulator.step(state, path[:, step])
        for name, part in (("answers", answer), ("probabilities", probability)):
            _need(rule, part.shape == (rows,), f"step gave {name} {tuple(part.shape)}", "return [B]")
            _need(rule, _within(part), f"step gave {name} {_span(part)}", "keep them in [0, 1]")


def _check_determinism(simulator: Simulator, request: PathRequest, path: Tensor) -> None:
    first, second = (_follow(simulator, request, path, SEED) for _ in range(2))
    same = all(torch.equal(one, other) for one, other in zip(first, second))
    _need("determinism", same, "the same seed gave two different runs", "draw from a generator that seed() restarts")


def _check_no_leak(simulator: Simulator, request: PathRequest, path: Tensor) -> None:
    rule = "no state leak"
    state = simulator.start(request)
    before = _copy(state)
    simulator.seed(SEED)
    first = simulator.step(state, path[:, 0])
    _need(
        rule, _equal(state, before), "step changed the state it was given", "return new tensors, change none in place"
    )
    simulator.step(first[0], path[:, 1])
    simulator.step(state, path[:, 1])
    simulator.seed(SEED)
    again = simulator.step(state, path[:, 0])
    same = _equal((*first[0], *first[1:]), (*again[0], *again[1:]))
    _need(rule, same, "a step came out differently after other steps", "keep everything in the state passed in")


def _check_exams(simulator: Simulator, request: PathRequest, path: Tensor) -> None:
    rule, runs = "exams", []
    for examined in (False, True):
        simulator.seed(SEED)
        state = simulator.start(request)
        seen: list[Tensor] = []
        for step in range(8):
            if examined:
                before = _copy(state)
                simulator.exam(state, request.targets)
                simulator.mastery(state)
                _need(
                    rule, _equal(state, before), "exam or mastery changed the state", "read the state, change nothing"
                )
            state, answer, probability = simulator.step(state, path[:, step % path.shape[1]])
            seen += [*state, answer, probability]
        runs.append(tuple(seen))
    _need(
        rule, _equal(*runs), "an exam changed the answers after it", "draw no random numbers and learn nothing in exams"
    )


def _check_padding_steps(simulator: Simulator, request: PathRequest, path: Tensor) -> None:
    rule = "padding steps"
    state, _, _ = simulator.step(simulator.start(request), path[:, 0])
    idle = torch.arange(len(request), device=path.device) % 2 == 0
    new, answer, _ = simulator.step(state, torch.where(idle, PAD, path[:, 1]))
    kept = all(torch.equal(after[idle], part[idle]) for after, part in zip(new, state))
    _need(rule, kept, "a row with concept -1 changed its state", "keep the rows of concept -1 as they are")
    _need(rule, not bool(answer[idle].any()), "a row with concept -1 answered", "answer 0 where the concept is -1")


def _check_history_masks(simulator: Simulator, request: PathRequest, path: Tensor) -> None:
    rule, advice = "history masks", "go by history.mask alone"
    plain, padded, filled = (
        _follow(simulator, replace(request, history=history), path, SEED)
        for history in (request.history, _padded(request.history, PAD, 0.0), _padded(request.history, 0, 1.0))
    )
    _need(rule, _close(plain, padded), "longer padding of the history changed the learners", advice)
    _need(rule, _close(plain, filled), "what stands under the history's mask changed the learners", advice)


def _check_batch_independence(simulator: Simulator, request: PathRequest, path: Tensor) -> None:
    simulator.seed(SEED)
    once, twice = (_follow(simulator, request, path) for _ in range(2))
    certain = all(torch.equal(one, other) for one, other in zip(once, twice))
    together = once if certain else _start(simulator, request, path)
    for row in range(min(len(request), 8)):
        index = torch.tensor([row], device=path.device)
        one = (request.select(index), path[index])
        alone = _follow(simulator, *one) if certain else _start(simulator, *one)
        same = _close(alone, [part[index] for part in together])
        found = f"learner {row} alone fares otherwise than among {len(request)}"
        _need("batch independence", same, found, "let no row depend on another (normalisation, shared padding)")


def _need(rule: str, good: bool, found: str, advice: str) -> None:
    if not good:
        raise SimulatorError(rule, found, advice)


def _follow(simulator: Simulator, request: PathRequest, path: Tensor, seed: int | None = None) -> list[Tensor]:
    """Return everything that shows while learners follow `path`, each with the learner on the first axis."""
    if seed is not None:
        simulator.seed(seed)
    state = simulator.start(request)
    seen = [simulator.mastery(state), simulator.exam(state, request.targets)[0]]
    for concept in path.unbind(1):
        state, answer, probability = simulator.step(state, concept)
        seen += [answer, probability, simulator.mastery(state), *simulator.exam(state, request.targets)]
    return seen


def _start(simulator: Simulator, request: PathRequest, path: Tensor) -> list[Tensor]:
    """Return what shows before chance has its say."""
    state = simulator.start(request)
    mastery, (score, best) = simulator.mastery(state), simulator.exam(state, request.targets)
    return [mastery, score, best, simulator.step(state, path[:, 0])[2]]


def _padded(history: InteractionBatch, concept: int, correct: float) -> InteractionBatch:
    """Return `history` with three more places, and `concept` and `correct` in every place that the mask leaves out."""
    rows, device = len(history), history.mask.device
    mask = torch.cat([history.mask, torch.zeros(rows, 3, dtype=torch.bool, device=device)], 1)

    def fill(values: Tensor, value: float) -> Tensor:
        longer = torch.cat([values, values.new_full((rows, 3, *values.shape[2:]), value)], 1)
        return torch.where(mask.view(*mask.shape, *[1] * (longer.dim() - 2)), longer, value)

    return replace(
        history,
        concept=fill(history.concept, concept),
        item=fill(history.item, concept),
        correct=fill(history.correct, correct),
        mask=mask,
    )


def _copy(state: SimulatorState) -> SimulatorState:
    return tuple(part.clone() for part in state)


def _equal(state: SimulatorState, other: SimulatorState) -> bool:
    return len(state) == len(other) and all(torch.equal(one, two) for one, two in zip(state, other))


def _close(seen: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.allclose(one, two, rtol=0.0, atol=TOLERANCE) for one, two in zip(seen, other))


def _within(values: Tensor) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _span(values: Tensor) -> str:
    return f"from {float(values.min()):.3g} to {float(values.max()):.3g}"
