"""Episodes: the only way to meet a learner."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.protocols import Environment, Goal, Policy, Simulator
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, Rollout, repeat_rows

ANSWERS, ACTIONS = 0, 1  # streams of random numbers of a step


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
    """
    environment = Environment(simulator if model is None else model, goal)
    state = simulator.start(request)
    concept = goal.choose(simulator, state, request)
    mastery_before = simulator.mastery(state).repeat_interleave(group_size, 0)
    own = repeat_rows(policy.begin(environment, request), group_size)
    state, request = repeat_rows(state, group_size), request.repeat(group_size)
    concept = concept.repeat_interleave(group_size, 0)
    draws = None if draws is None else draws.fork(group_size)
    limit = request.length if horizon is None else (request.length > 0) * horizon
    targets = _marked(torch.zeros_like(request.targets), concept)
    standing = goal.assess(simulator, state, concept)
    full = standing.score >= standing.best
    stopped, ended = torch.zeros_like(full), torch.zeros_like(full)
    steps: list[_Step] = []
    for number in range(int(limit.max()) if len(request) else 0):
        stopped = stopped | (full & ~ended) if early_stop else stopped
        ended = ended | stopped | (number >= limit)
        now = None if draws is None else draws.at(number)
        act = policy.act(environment, own, concept, now.at(ACTIONS) if now is not None and sample else None)
        action = act.action.masked_fill(ended, PAD)
        ended = ended | (action == PAD)
        if bool(ended.all()):
            break
        asked = simulator.actions.at(action)
        predicted = simulator.predict(state, asked).masked_fill(ended, 0.0)
        response = simulator.respond(predicted, None if now is None else now.at(ANSWERS)).masked_fill(ended, 0.0)
        state = simulator.practise(state, asked, response)
        own = policy.see(environment, own, action, response)
        after = goal.assess(simulator, state, concept)
        log_prob = None if act.log_prob is None else act.log_prob.masked_fill(ended, 0.0)
        gain = after.mastery - standing.mastery
        steps.append(_Step(action, asked.concept, asked.item, response, predicted, gain, log_prob))
        if goal.every_step:
            concept = goal.choose(simulator, state, request)
            targets = _marked(targets, concept)
            after = goal.assess(simulator, state, concept)
        standing, full = after, after.score >= after.best
    mastery_after = simulator.mastery(state)
    return Rollout(
        session=_session(steps, request),
        action=_stacked([step.action for step in steps], request.length),
        predicted=_stacked([step.predicted for step in steps], mastery_after[:, 0]),
        gain=_stacked([step.gain for step in steps], mastery_after[:, 0]),
        score_before=goal.mark(mastery_before, targets),
        score_after=goal.mark(mastery_after, targets),
        score_max=targets.sum(1).to(mastery_after),
        mastery_before=mastery_before,
        mastery_after=mastery_after,
        targets=targets,
        wanted_length=request.length,
        stopped=stopped | (full & ~ended) if early_stop else stopped,
        group_size=group_size,
        log_prob=_log_prob(steps),
    )


@dataclass(frozen=True)
class _Step:
    """What happened to all rows at one step."""

    action: Tensor
    concept: Tensor
    item: Tensor
    response: Tensor
    predicted: Tensor
    gain: Tensor
    log_prob: Tensor | None


def _session(steps: list[_Step], request: PathRequest) -> InteractionBatch:
    if not steps:
        return InteractionBatch.empty(len(request), request.length.device, request.learner)
    action = torch.stack([step.action for step in steps], 1)
    return InteractionBatch(
        concept=torch.stack([step.concept for step in steps], 1),
        item=torch.stack([step.item for step in steps], 1),
        correct=torch.stack([step.response for step in steps], 1),
        mask=action != PAD,
        learner=request.learner,
    )


def _stacked(values: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(values, 1) if values else like.new_zeros(len(like), 0)


def _log_prob(steps: list[_Step]) -> Tensor | None:
    values = [step.log_prob for step in steps if step.log_prob is not None]
    return torch.stack(values, 1) if values else None


def _marked(targets: Tensor, concept: Tensor) -> Tensor:
    """Return `targets` [B, N] with the concepts [B, M] added."""
    wider = torch.cat([targets, torch.zeros_like(targets[:, :1])], 1)
    return wider.scatter(1, torch.where(concept < 0, targets.shape[1], concept), True)[:, :-1]
