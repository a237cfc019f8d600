"""More requests than the logs hold: shorter histories and other learners' targets."""

from __future__ import annotations

from dataclasses import replace

import torch

from lpr_lightning.types import PAD, PathRequest


def vary_requests(request: PathRequest, share: float, generator: torch.Generator) -> PathRequest:
    """Return the requests, a `share` of them with the history cut at a random place and another row's targets.

    A cut history has between none and all of its answers left; targets come from a random row of the same batch. The
    result is on the request's device; `generator` must be too. `row` becomes -1 where a request was changed.

    >>> from lpr_lightning.types import InteractionBatch
    >>> rows = torch.arange(2)
    >>> right = torch.ones(2, 3)
    >>> history = InteractionBatch(right[..., None].long(), right.long(), right, right.bool(), rows)
    >>> request = PathRequest(history, torch.eye(2).bool(), torch.tensor([5, 5]), rows, rows)
    >>> vary_requests(request, 1.0, torch.Generator().manual_seed(0)).row
    tensor([-1, -1])
    """
    count, device = len(request), request.length.device
    changed = torch.rand(count, generator=generator, device=device) < share
    other = torch.randint(count, (count,), generator=generator, device=device)
    part = torch.rand(count, generator=generator, device=device)
    history = request.history
    length = torch.where(changed, (part * (history.lengths + 1)).long(), history.lengths)
    mask = history.mask & (torch.arange(history.mask.shape[1], device=device) < length[:, None])
    return replace(
        request,
        history=replace(
            history,
            concept=torch.where(mask[..., None], history.concept, PAD),
            item=torch.where(mask, history.item, PAD),
            correct=torch.where(mask, history.correct, 0.0),
            mask=mask,
        ),
        targets=torch.where(changed[:, None], request.targets[other], request.targets),
        row=torch.where(changed, PAD, request.row),
    )
