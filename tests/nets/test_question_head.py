"""Is the factorised head the plain one, in value and gradient, for any shape of block?"""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.nets import question_head
from lpr_lightning.nets.question_head import QuestionHead


def plain(head: QuestionHead, state: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Return the logit of each pair, one at a time, by the formula."""
    rows = []
    for one in state:
        for other in vector:
            first = torch.relu(head.state_layer.weight @ one + head.state_layer.bias)
            second = torch.relu(head.vector_layer.weight @ other + head.vector_layer.bias)
            joint = torch.relu(head.joint.weight @ torch.cat([first, second]) + head.joint.bias)
            rows.append(head.output.weight[0] @ joint + head.output.bias[0])
    return torch.stack(rows).view(len(state), len(vector))


@pytest.mark.parametrize(("states", "vectors"), [(3, 7), (1, 1), (5, 2), (0, 4)])
@pytest.mark.parametrize("block", [1, 4, 128])
def test_the_grid_is_the_plain_head(states: int, vectors: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question_head, "CPU_ROWS", block)
    torch.manual_seed(0)
    head, state, vector = QuestionHead(6, 4, 9), torch.randn(states, 6), torch.randn(vectors, 4)
    with torch.no_grad():
        grid = head.logits(head.state_half(state)[None], head.vector_half(vector))[0]
        assert grid.shape == (states, vectors)
        if states:
            torch.testing.assert_close(grid, plain(head, state, vector), rtol=0, atol=1e-5)
    with_gradients = head.logits(head.state_half(state)[None], head.vector_half(vector))[0]
    torch.testing.assert_close(with_gradients.detach(), grid, rtol=0, atol=1e-5)


def test_the_papers_width_is_equal_to_1e_5() -> None:
    torch.manual_seed(0)
    head, state, vector = QuestionHead(300, 768, 1200), torch.randn(4, 300), torch.randn(50, 768)
    with torch.no_grad():
        grid = head.logits(head.state_half(state)[None], head.vector_half(vector))[0].sigmoid()
        whole = head(state[:, None].expand(-1, 50, -1), vector.expand(4, -1, -1)).sigmoid()
    assert float((grid - whole).abs().max()) < 1e-5


def test_pairs_have_the_plain_gradient() -> None:
    torch.manual_seed(0)
    head = QuestionHead(6, 4, 9).double()
    state, vector, row = torch.randn(5, 6).double(), torch.randn(3, 4).double(), torch.tensor([0, 2, 2, 1, 0])
    sides = []
    for logit in (
        head.pairs(head.state_half(state), head.vector_half(vector), row),
        head(state, vector[row]),
        head.logits(head.state_half(state)[None], head.vector_half(vector))[0].gather(1, row[:, None])[:, 0],
        head.logits(head.state_half(state)[:, None], head.vector_half(vector), row[:, None])[:, 0, 0],
    ):
        sides.append((logit, *torch.autograd.grad(logit.sigmoid().sum(), list(head.parameters()))))
    for other in sides[1:]:
        for one, two in zip(sides[0], other):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("rows", "states", "asked"), [(3, 2, 5), (4, 1, 1), (2, 7, 3), (0, 2, 1), (2, 0, 3)])
@pytest.mark.parametrize("block", [1, 4, 7, 128])
def test_each_row_is_asked_about_its_own_vectors(
    rows: int, states: int, asked: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question_head, "CPU_ROWS", block)
    torch.manual_seed(0)
    head, state, vector = QuestionHead(6, 4, 9), torch.randn(rows, states, 6), torch.randn(8, 4)
    row = torch.randint(8, (rows, asked))
    logit = head.logits(head.state_half(state), head.vector_half(vector), row)
    assert logit.shape == (rows, states, asked)
    for number in range(rows if states else 0):
        expected = plain(head, state[number], vector[row[number]])
        torch.testing.assert_close(logit[number], expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        blocks = head.logits(head.state_half(state), head.vector_half(vector), row)
    torch.testing.assert_close(blocks, logit.detach(), rtol=0, atol=1e-5)
