"""Rollouts made by hand: `from rollouts import made_rollout`."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.types import PAD, InteractionBatch, Rollout


def made_rollout(
    action: Tensor,
    num_concepts: int = 5,
    *,
    concept: Tensor | None = None,
    item: Tensor | None = None,
    correct: Tensor | None = None,
    predicted: Tensor | None = None,
    gain: Tensor | None = None,
    score_before: Tensor | None = None,
    score_after: Tensor | None = None,
    score_max: Tensor | None = None,
    mastery_before: Tensor | None = None,
    mastery_after: Tensor | None = None,
    targets: Tensor | None = None,
    wanted_length: Tensor | None = None,
    stopped: Tensor | None = None,
    learner: Tensor | None = None,
    group_size: int = 1,
    log_prob: Tensor | None = None,
) -> Rollout:
    """Return the rollout of `action` [B, L], -1 after each path's end; what is not given follows from the rest.

    An action is a concept of that number (`concept` [B, L, C]) at large, answered wrong, predicted at 0 and without
    gain. Mastery is 0 before and 1 after the path, every concept is a target, scores count targets of a mastery from
    0.5 on, the wanted length is L, no episode stopped early, and learners are numbered.
    """
    rows, steps = action.shape
    none = torch.zeros(rows, steps)
    before = torch.zeros(rows, num_concepts) if mastery_before is None else mastery_before
    after = torch.ones(rows, num_concepts) if mastery_after is None else mastery_after
    targets = torch.ones_like(before, dtype=torch.bool) if targets is None else targets
    return Rollout(
        session=InteractionBatch(
            concept=action[..., None] if concept is None else concept,
            item=torch.full_like(action, PAD) if item is None else item,
            correct=none if correct is None else correct,
            mask=action != PAD,
            learner=torch.arange(rows) if learner is None else learner,
        ),
        action=action,
        predicted=none if predicted is None else predicted,
        gain=none if gain is None else gain,
        score_before=((before >= 0.5) & targets).sum(1).float() if score_before is None else score_before,
        score_after=((after >= 0.5) & targets).sum(1).float() if score_after is None else score_after,
        score_max=targets.sum(1).float() if score_max is None else score_max,
        mastery_before=before,
        mastery_after=after,
        targets=targets,
        wanted_length=torch.full((rows,), steps) if wanted_length is None else wanted_length,
        stopped=torch.zeros(rows, dtype=torch.bool) if stopped is None else stopped,
        group_size=group_size,
        log_prob=log_prob,
    )


def cut_paths(path: Tensor, length: Tensor) -> Tensor:
    """Return paths [B, L] with -1 from `length` [B] on."""
    return path.masked_fill(torch.arange(path.shape[1]) >= length[:, None], PAD)
