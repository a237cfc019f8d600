"""Greedy and beam search for the likeliest path of a network that says one concept after another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.types import PAD, State

Step = Callable[[State, Tensor, int], tuple[Tensor, State]]
"""Takes a state (first axis: rows), the concept before [R] and the number of the step; returns logits [R, N], state."""


def search_path(
    step: Step, state: State, last: Tensor, length: int, width: int = 1, no_repeat: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the likeliest paths [B, L] that a beam of `width` finds (1 is greedy) and their log-probabilities [B].

    Args:
        step: the network.
        state: its states after the histories, tensors whose first axis is B.
        last: last concept of each history, [B]; -1 where there is none.
        length: L.
        width: partial paths kept at each step.
        no_repeat: never take a concept twice in a path.

    Raises:
        SettingError: `width` is below 1, or a path without repeats would need more concepts than there are.

    >>> table = torch.tensor([[0.1, 0.5, 0.4], [0.9, 0.05, 0.05], [0.0, 1.0, 0.0]]).log()
    >>> chain = lambda state, before, step: (table[before], state)
    >>> search_path(chain, (torch.zeros(1, 1),), torch.tensor([0]), 2)[0]
    tensor([[1, 0]])
    >>> search_path(chain, (torch.zeros(1, 1),), torch.tensor([0]), 2, width=3, no_repeat=True)
    (tensor([[1, 0]]), tensor([-0.7985]))
    """
    checked("beam_width", width, 1, advice="1 is greedy decoding")
    rows = len(last)
    state = tuple(part.repeat_interleave(width, 0) for part in state)
    last = last.repeat_interleave(width)
    path = last.new_full((rows * width, length), PAD)
    score = state[0].new_full((rows, width), -torch.inf)
    score[:, 0] = 0.0
    first = torch.arange(rows, device=last.device)[:, None] * width
    for number in range(length):
        logit, state = step(state, last, number)
        chance = logit.log_softmax(-1)
        if no_repeat and number:
            if number >= chance.shape[1]:
                raise SettingError("no_repeat", no_repeat, f"at most {chance.shape[1]} steps, the number of concepts")
            chance = chance.scatter(1, path[:, :number], -torch.inf)
        total = (score.view(-1, 1) + chance).view(rows, width * chance.shape[1])
        score, chosen = total.topk(width, dim=1)
        origin = (first + chosen // chance.shape[1]).flatten()
        last = (chosen % chance.shape[1]).flatten()
        path = path[origin]
        path[:, number] = last
        state = tuple(part[origin] for part in state)
    return path.view(rows, width, length)[:, 0], score[:, 0]
