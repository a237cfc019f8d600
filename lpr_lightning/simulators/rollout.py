"""Letting learners follow paths."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.types import PAD, PathRequest, Rollout, Simulator, SimulatorState


def repeat_state(state: SimulatorState, count: int) -> SimulatorState:
    """Return every learner's state `count` times, copies side by side."""
    return tuple(part.repeat_interleave(count, 0) for part in state) if count > 1 else state


@torch.no_grad()
def rollout(
    simulator: Simulator,
    request: PathRequest,
    path: Tensor,
    group_size: int = 1,
    early_stop: bool = False,
    state: SimulatorState | None = None,
) -> Rollout:
    """Let each learner of `request` (B) follow its `group_size` paths (`path` [B * K, L], -1 after the end).

    Every history is read once, however many paths start from it. With `early_stop` a path ends as soon as the
    learner's exam is full, as in the public code of the KES protocol; the steps after it are cut off. `state` may
    hold the learners' states where the caller has them already.
    """
    if path.shape[0] != len(request) * group_size:
        raise SettingError(
            "path", tuple(path.shape), f"{len(request) * group_size} rows", "group_size paths for each request"
        )
    state = simulator.start(request) if state is None else state
    mastery_before = simulator.mastery(state).repeat_interleave(group_size, 0)
    before, maximum = simulator.exam(state, request.targets)
    targets = request.targets.repeat_interleave(group_size, 0)
    before, maximum = before.repeat_interleave(group_size, 0), maximum.repeat_interleave(group_size, 0)
    state = repeat_state(state, group_size)
    path = path.clone()
    full = before >= maximum
    responses, predictions = [], []
    for step in range(path.shape[1]):
        if early_stop:
            path[full, step:] = PAD
        state, response, predicted = simulator.step(state, path[:, step])
        responses.append(response)
        predictions.append(predicted)
        if early_stop:
            full = full | (simulator.exam(state, targets)[0] >= maximum)
    after, _ = simulator.exam(state, targets)
    nothing = before.new_zeros(len(before), 0)
    return Rollout(
        path=path,
        response=torch.stack(responses, 1) if responses else nothing,
        predicted=torch.stack(predictions, 1) if predictions else nothing,
        score_before=before,
        score_after=after,
        score_max=maximum,
        mastery_before=mastery_before,
        mastery_after=simulator.mastery(state),
        targets=targets,
        wanted_length=request.length.repeat_interleave(group_size, 0),
        learner=request.learner.repeat_interleave(group_size, 0),
        group_size=group_size,
    )
