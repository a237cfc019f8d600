"""Episodes: the only way to meet a learner."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.protocols import Environment, Goal, Policy, Simulator
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, Rollout, State, TensorData, repeat_rows

ANSWERS, ACTIONS = 0, 1  # streams of random numbers of a step


@dataclass(frozen=True)
class Episode(TensorData):
    """Where learners are in their episodes: one row each.

    The learners' states; the goal's concepts [B, M], and all that steps were taken for so far, `targets` [B, N]; how
    they stand towards the goal (mean mastery, exam score, best score); the most steps, and the steps taken; whether the
    exam was full before the end (`stopped`), and whether the episode is over (`ended`).
    """

    request: PathRequest
    state: State
    concept: Tensor
    targets: Tensor
    mastery: Tensor
    score: Tensor
    best: Tensor
    limit: Tensor
    taken: Tensor
    stopped: Tensor
    ended: Tensor

    def __len__(self) -> int:
        return len(self.limit)


@dataclass(frozen=True)
class Step:
    """What happened at one step, one row for each episode; rows that had ended did nothing (action -1).

    `gain` and `passed` are what the step brought in mean mastery of the goal's concepts, and in exam score.
    """

    action: Tensor
    concept: Tensor
    item: Tensor
    response: Tensor
    predicted: Tensor
    gain: Tensor
    passed: Tensor


def start_episode(
    simulator: Simulator, goal: Goal, request: PathRequest, limit: Tensor, early_stop: bool = False
) -> Episode:
    """Return the episodes of requests before their first step; at most `limit` [B] steps are taken."""
    state = simulator.start(request)
    concept = goal.choose(simulator, state, request)
    standing = goal.assess(simulator, state, concept)
    targets = _marked(torch.zeros_like(request.targets), concept)
    never = torch.zeros_like(limit, dtype=torch.bool)
    episode = Episode(
        request, state, concept, targets, *standing, limit, taken=torch.zeros_like(limit), stopped=never, ended=never
    )
    return _judged(episode, early_stop)


def step_episode(
    simulator: Simulator, goal: Goal, episode: Episode, action: Tensor, draws: Draws | None, early_stop: bool = False
) -> tuple[Episode, Step]:
    """Let the learners take one step each, [B] actions; -1 ends an episode."""
    action = action.masked_fill(episode.ended, PAD)
    idle = action == PAD
    asked = simulator.actions.at(action)
    predicted = simulator.predict(episode.state, asked).masked_fill(idle, 0.0)
    response = simulator.respond(predicted, draws).masked_fill(idle, 0.0)
    state = simulator.practise(episode.state, asked, response)
    standing = goal.assess(simulator, state, episode.concept)
    gain, passed = standing.mastery - episode.mastery, standing.score - episode.score
    step = Step(action, asked.concept, asked.item, response, predicted, gain, passed)
    concept = episode.concept
    if goal.every_step:
        concept = goal.choose(simulator, state, episode.request)
        standing = goal.assess(simulator, state, concept)
    mastery, score, best = standing
    after = replace(
        episode,
        state=state,
        concept=concept,
        mastery=mastery,
        score=score,
        best=best,
        taken=episode.taken + (~idle).long(),
        ended=episode.ended | idle,
    )
    after = _judged(after, early_stop)
    if goal.every_step:
        targets = torch.where(after.ended[:, None], after.targets, _marked(after.targets, concept))
        after = replace(after, targets=targets)
    return after, step


def _judged(episode: Episode, early_stop: bool) -> Episode:
    """Return episodes that have ended where their exam is full, if that ends them, or their steps are used up."""
    stopped = episode.stopped
    if early_stop:
        stopped = stopped | (~episode.ended & (episode.score >= episode.best))
    return replace(episode, stopped=stopped, ended=episode.ended | stopped | (episode.taken >= episode.limit))


def request_draws(seed: int, step: int, request: PathRequest) -> Draws:
    """Return random numbers of requests: by their rows in the data, outside any split by their places in the batch."""
    place = torch.arange(len(request), device=request.row.device)
    return Draws.of(seed, step, torch.where(request.row < 0, -2 - place, request.row))


@torch.no_grad()
def rollout(
    simulator: Simulator,
    goal: Goal,
    request: PathRequest,
    policy: Policy,
    draws: Draws | None = None,
    group_size: int = 1,
    horizon: int | None = None,
    early_stop: bool = False,
    sample: bool = False,
    model: Simulator | None = None,
    report_mastery: bool = True,
    keep: bool = False,
) -> Rollout:
    """Let each learner of `request` (B) be taught `group_size` (K) times by a policy, and return what happened.

    A policy begins, acts, sees the answer, and acts again; the episode owns answers, scores and its end. Every history
    is read once, however many episodes start from it.

    Args:
        simulator: the learners.
        goal: what the episodes are for.
        request: histories, targets and wanted lengths.
        policy: what recommends.
        draws: random numbers of the requests [B], for answers and for a policy that samples; without them both are
            the likeliest.
        group_size: episodes of each request.
        horizon: most steps of every episode; None takes the wanted length of each request. Nothing is done where that
            is 0.
        early_stop: end an episode as soon as the exam is full, as in the public code of the KES protocol.
        sample: let the policy sample its actions by `draws` instead of taking the likeliest.
        model: what the policy may look into; default the simulator itself. Policies that search then plan on a model
            of the learners, while the learners answer.
        report_mastery: read the mastery of all concepts before and after. If False, `mastery_before` and
            `mastery_after` are [B, 0], and the scores are those of the episodes' first and last standing, which is
            the same; a goal that is chosen anew at each step is marked by the mastery of all concepts in any case.
        keep: keep what learning from an episode needs: `Rollout.states`, `goals`, `passed` and `vector`.
    """
    environment = Environment(simulator if model is None else model, goal)
    limit = request.length if horizon is None else (request.length > 0) * horizon
    episode = start_episode(simulator, goal, request, limit, early_stop)
    own = repeat_rows(policy.begin(environment, request), group_size)
    reads_mastery = report_mastery or goal.every_step
    mastery_before = simulator.mastery(episode.state) if reads_mastery else episode.score.new_empty(len(episode), 0)
    mastery_before = mastery_before.repeat_interleave(group_size, 0)
    episode = episode.repeat(group_size) if group_size > 1 else episode
    score_before = episode.score
    draws = None if draws is None else draws.fork(group_size)
    steps: list[Step] = []
    log_probs: list[Tensor] = []
    vectors: list[Tensor] = []
    states, goals = [own], [episode.concept]
    while not bool(episode.ended.all()):
        now = None if draws is None else draws.at(len(steps))
        act = policy.act(environment, own, episode.concept, now.at(ACTIONS) if now is not None and sample else None)
        answers = None if now is None else now.at(ANSWERS)
        if bool((act.action.masked_fill(episode.ended, PAD) == PAD).all()):
            break
        episode, step = step_episode(simulator, goal, episode, act.action, answers, early_stop)
        own = policy.see(environment, own, step.action, step.response)
        steps.append(step)
        if act.log_prob is not None:
            log_probs.append(act.log_prob.masked_fill(step.action == PAD, 0.0))
        if keep:
            states.append(own)
            goals.append(episode.concept)
            if act.vector is not None:
                vectors.append(act.vector)
    mastery_after, score_after = mastery_before, episode.score
    if reads_mastery:
        mastery_after = simulator.mastery(episode.state)
        score_before = goal.mark(mastery_before, episode.targets)
        score_after = goal.mark(mastery_after, episode.targets)
    action = _stacked([step.action for step in steps], episode.limit)
    return Rollout(
        session=_session(steps, action, episode.request),
        action=action,
        predicted=_stacked([step.predicted for step in steps], episode.score),
        gain=_stacked([step.gain for step in steps], episode.score),
        score_before=score_before,
        score_after=score_after,
        score_max=episode.targets.sum(1).to(score_after),
        mastery_before=mastery_before if report_mastery else mastery_before[:, :0],
        mastery_after=mastery_after if report_mastery else mastery_after[:, :0],
        targets=episode.targets,
        wanted_length=episode.request.length,
        stopped=episode.stopped,
        group_size=group_size,
        log_prob=torch.stack(log_probs, 1) if log_probs else None,
        passed=_stacked([step.passed for step in steps], episode.score) if keep else None,
        states=tuple(torch.stack(parts, 1) for parts in zip(*states, strict=True)) if keep else None,
        goals=torch.stack([_marked(torch.zeros_like(episode.targets), one) for one in goals], 1) if keep else None,
        vector=torch.stack(vectors, 1) if vectors else None,
    )


def _session(steps: list[Step], action: Tensor, request: PathRequest) -> InteractionBatch:
    if not steps:
        return InteractionBatch.empty(len(request), request.length.device, request.learner)
    return InteractionBatch(
        concept=torch.stack([step.concept for step in steps], 1),
        item=torch.stack([step.item for step in steps], 1),
        correct=torch.stack([step.response for step in steps], 1),
        mask=action != PAD,
        learner=request.learner,
    )


def _stacked(values: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(values, 1) if values else like.new_zeros(len(like), 0)


def _marked(targets: Tensor, concept: Tensor) -> Tensor:
    """Return `targets` [B, N] with the concepts [B, M] added."""
    wider = torch.cat([targets, torch.zeros_like(targets[:, :1])], 1)
    return wider.scatter(1, torch.where(concept < 0, targets.shape[1], concept), True)[:, :-1]
