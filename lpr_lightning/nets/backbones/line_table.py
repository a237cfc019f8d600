"""Which tokens may follow where a path may only be spelt out of concepts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LineTable(nn.Module):
    """A tree of the tokens that concepts are written by, as tables.

    A path begins at place 0, where any concept or the end may follow; within a concept only what some concept goes on
    with; after its last token it is at place 0 again. `column` [U] int64, all tokens there are, in order; `allowed`
    [P, U] bool; `following` [P, U] int64, the next place. Not part of checkpoints: it follows from names and tokenizer.

    Args:
        lines: the tokens of each concept; none is the beginning of another.
        end: the token that ends a path.

    >>> table = LineTable([[5, 7], [5, 8], [6]], end=2)
    >>> table.column[table.allowed[0]].tolist(), table.column[table.allowed[1]].tolist()
    ([2, 5, 6], [7, 8])
    """

    column: Tensor
    allowed: Tensor
    following: Tensor

    def __init__(self, lines: Sequence[Sequence[int]], end: int) -> None:
        super().__init__()
        places: list[dict[int, int]] = [{}]
        for line in lines:
            place = 0
            for token in line[:-1]:
                if token not in places[place]:
                    places[place][token] = len(places)
                    places.append({})
                place = places[place][token]
            places[place][line[-1]] = 0
        places[0][end] = 0
        tokens = sorted({token for place in places for token in place})
        number = {token: column for column, token in enumerate(tokens)}
        allowed = torch.zeros(len(places), len(tokens), dtype=torch.bool)
        following = torch.zeros(len(places), len(tokens), dtype=torch.int64)
        for place, ways in enumerate(places):
            for token, after in ways.items():
                allowed[place, number[token]] = True
                following[place, number[token]] = after
        self.register_buffer("column", torch.tensor(tokens), persistent=False)
        self.register_buffer("allowed", allowed, persistent=False)
        self.register_buffer("following", following, persistent=False)

    def after(self, place: Tensor, choice: Tensor) -> Tensor:
        """Return the places after choosing columns, [R]."""
        return self.following[place, choice]

    def places(self, choice: Tensor) -> Tensor:
        """Return the place at which each of the columns `choice` [R, S] was chosen, [R, S]."""
        place = torch.zeros_like(choice[:, 0])
        found = []
        for step in range(choice.shape[1]):
            found.append(place)
            place = self.after(place, choice[:, step])
        return torch.stack(found, 1)
