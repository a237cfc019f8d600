"""Does the table know its questions, draw fairly, and fit a state dict of any map?"""

from __future__ import annotations

import torch

from lpr_lightning.draws import Draws
from lpr_lightning.nets.question_table import QuestionTable, Tabulated
from lpr_lightning.types import Exercise

MAP = torch.tensor([[0, -1], [0, 1], [1, -1], [3, 0], [3, -1]])
"""Concept 0 has questions 0, 1, 3; concept 1 has 1, 2; concept 2 none; concept 3 has 3, 4."""
OF = {0: {0, 1, 3}, 1: {1, 2}, 2: set(), 3: {3, 4}}


def table(**options: bool) -> QuestionTable:
    torch.manual_seed(0)
    made = QuestionTable(5, 4, size=6, **options)
    made.attach(MAP, item_vectors=torch.randn(5, 6), concept_vectors=torch.randn(4, 6))
    return made


def test_it_knows_the_questions_of_each_concept() -> None:
    made = table()
    assert {group: set(made.questions_of(group).tolist()) for group in OF} == OF
    assert made.count.tolist() == [3, 2, 0, 2]


def test_a_group_has_the_questions_of_all_its_concepts_once() -> None:
    made = QuestionTable(5, 4, size=6)
    made.attach(MAP, group=torch.tensor([0, 0, 2, 3]))
    assert sorted(made.questions_of(0).tolist()) == [0, 1, 2, 3]
    assert made.count.tolist() == [4, 0, 0, 2]


def test_a_learned_question_is_its_own_vector_and_its_concepts_mean() -> None:
    made = table()
    assert made.own is not None
    assert made.base is not None
    torch.nn.init.normal_(made.own)
    torch.testing.assert_close(made.items(torch.tensor([1]))[0], made.own[1] + (made.base[0] + made.base[1]) / 2)
    torch.testing.assert_close(made.concepts()[1], made.items(torch.tensor([1, 2])).mean(0))
    torch.testing.assert_close(made.concepts()[2], made.base[2])


def test_a_question_without_answers_is_what_its_concepts_are() -> None:
    made = table()
    assert made.base is not None
    torch.testing.assert_close(made.items(torch.tensor([0, 2])), made.base[:2])


def test_given_vectors_are_neither_learned_nor_changed() -> None:
    made = table(given_items=True, given_concepts=True)
    assert not list(made.parameters())
    assert made.item_vectors is not None
    assert torch.equal(made.items(torch.tensor([3]))[0], made.item_vectors[3])
    means = table(given_items=True, learned_queries=True)
    torch.testing.assert_close(means.concepts()[3], means.items(torch.tensor([3, 4])).mean(0))
    assert [name for name, _ in means.named_parameters()] == ["shift"]
    (gradient,) = torch.autograd.grad(means.concepts().sum(), list(means.parameters()))
    assert bool((gradient == 1).all())


def test_the_mean_follows_the_weights() -> None:
    made = table()
    assert made.own is not None
    with torch.no_grad():
        before = made.concepts().clone()
        made.own.add_(1)
        torch.testing.assert_close(made.concepts(), before + (made.count > 0)[:, None])


def test_draws_with_replacement_are_fair_and_of_the_concept() -> None:
    drawn = table().sample(Draws.of(0, 0, torch.arange(4)), 3000, True)
    for group, expected in OF.items():
        assert set(drawn[group].tolist()) == (expected or {-1})
        for question in expected:
            assert abs(float((drawn[group] == question).float().mean()) - 1 / len(expected)) < 0.04


def test_draws_without_replacement_never_repeat() -> None:
    made = table()
    for seed in range(20):
        drawn = made.sample(Draws.of(seed, 0, torch.arange(4)), 2, False)
        assert all(len(set(drawn[g].tolist())) == 2 and set(drawn[g].tolist()) <= OF[g] for g in (0, 1, 3))
        assert drawn[2].tolist() == [-1, -1]


def test_concepts_are_drawn_evenly_among_those_with_questions() -> None:
    draws, mask = Draws.of(0, 0, torch.arange(60)), torch.ones(60, 100, dtype=torch.bool)
    share = torch.bincount(table().draw(draws, mask), minlength=4) / 6000
    assert float((share - torch.tensor([1, 1, 0, 1]) / 3).abs().max()) < 0.03
    made = QuestionTable(5, 4, size=6)
    made.attach(MAP, group=torch.tensor([0, 0, 2, 3]))
    share = torch.bincount(made.draw(draws, mask), minlength=4) / 6000
    assert float((share - torch.tensor([0.25, 0.25, 0, 0.5])).abs().max()) < 0.03


def test_a_learners_concepts_do_not_depend_on_the_batch() -> None:
    made, mask = table(), torch.arange(6) < torch.tensor([4, 6, 0, 2])[:, None]
    everyone = made.draw(Draws.of(0, 7, torch.arange(4)), mask)
    assert everyone.shape == (12,)
    assert torch.equal(made.draw(Draws.of(0, 7, torch.tensor([1, 3])), mask[[1, 3]]), everyone[4:])
    assert torch.equal(made.draw(Draws.of(0, 7, torch.tensor([3])), mask[[3], :2]), everyone[10:])
    assert not torch.equal(made.draw(Draws.of(0, 8, torch.arange(4)), mask), everyone)


def test_a_state_dict_of_any_map_fits() -> None:
    made, empty = table(given_items=True), QuestionTable(5, 4, size=6, given_items=True)
    assert not empty.connected
    empty.load_state_dict(made.state_dict())
    assert empty.connected
    for name, value in made.state_dict().items():
        assert torch.equal(empty.state_dict()[name], value)


def mixed() -> Exercise:
    """Questions, an unknown question, concepts at large, nothing, and a question again."""
    concept = torch.tensor([[3, -1], [0, -1], [3, -1], [0, 1], [-1, -1], [3, -1]])
    return Exercise(concept, torch.tensor([4, -1, 5, -1, -1, 4]))


def expected_vectors(made: QuestionTable) -> torch.Tensor:
    concepts, question = made.concepts(), made.items(torch.tensor(4))
    both, none = (concepts[0] + concepts[1]) / 2, torch.zeros(6)
    return torch.stack([question, concepts[0], concepts[3], both, none, question])


def test_what_is_no_known_question_is_its_concepts() -> None:
    made, asked = table(), mixed()
    torch.testing.assert_close(made.vectors(asked), expected_vectors(made))
    distinct, row = made.distinct(asked)
    assert distinct.shape == (5,)
    torch.testing.assert_close(made.vectors(distinct)[row], expected_vectors(made))
    given = Exercise(asked.concept, asked.item, torch.randn(6, 6))
    assert made.vectors(given) is given.vector


def test_tabulated_values_are_those_of_the_vectors() -> None:
    made, asked = table(), mixed()
    values = Tabulated(made, lambda vectors: vectors.square() + 1, list)
    expected = expected_vectors(made).square() + 1
    for chosen in (list(range(6)), [0, 5], [0, 4], [1, 2, 4], [3], []):
        some = asked.select(torch.tensor(chosen, dtype=torch.int64))
        with torch.no_grad():
            rows, index = values.find(some)
        torch.testing.assert_close(rows[index], expected[chosen])
        rows, index = values.find(some)
        torch.testing.assert_close(rows[index], expected[chosen])


def test_values_are_computed_once_unless_they_are_trained() -> None:
    made, asked, heights = table(), mixed(), []

    def function(vectors: torch.Tensor) -> torch.Tensor:
        heights.append(len(vectors))
        return 2 * vectors

    values = Tabulated(made, function, list)
    questions, concepts = (asked.select(torch.tensor(rows)) for rows in ([0, 4, 5], [1, 2]))
    with torch.no_grad():
        for _ in range(2):
            values.find(questions)
            values.find(concepts)
    assert heights == [6, 5]
    assert values.find(questions)[0].requires_grad
    assert heights == [6, 5, 2]


def parts(width: int = 3) -> QuestionTable:
    """Given vectors of another width, mapped, on top of the concepts' base, under a shift of each question's own."""
    torch.manual_seed(0)
    made = QuestionTable(5, 4, 6, True, given_size=width, learned_base=True, learned_own=True)
    made.attach(MAP, item_vectors=torch.randn(5, width))
    torch.nn.init.normal_(made.own)  # type: ignore[arg-type]
    return made


def test_a_question_is_the_sum_of_its_parts() -> None:
    made = parts()
    assert made.own is not None
    assert made.base is not None
    assert made.map is not None
    assert made.item_vectors is not None
    one, two = (made.map @ made.item_vectors[row] for row in (1, 4))
    expected = torch.stack([one + made.own[1] + (made.base[0] + made.base[1]) / 2, two + made.own[4] + made.base[3]])
    torch.testing.assert_close(made.items(torch.tensor([[1, 4]])), expected[None])
    torch.testing.assert_close(made.concepts()[3], made.items(torch.tensor([3, 4])).mean(0))
    torch.testing.assert_close(made.concepts()[2], made.base[2])


def test_what_is_not_kept_goes_without_its_own_part() -> None:
    made, kept = parts(), torch.tensor([True, False, True, False, True])
    assert made.own is not None
    item, own = torch.tensor([0, 1, 3]), made.own[torch.tensor([0, 1, 3])]
    expected = made.items(item) - own * torch.tensor([0.0, 1.0, 1.0])[:, None]
    torch.testing.assert_close(made.items(item, kept), expected)
    asked = Exercise(torch.tensor([[0, -1], [0, 1], [3, 0]]), item)
    torch.testing.assert_close(made.vectors(asked, kept), expected)


def test_given_concepts_are_mapped_and_on_top_of_their_base() -> None:
    made = QuestionTable(5, 4, 6, True, True, given_size=3, learned_base=True)
    given = torch.randn(4, 3)
    made.attach(MAP, item_vectors=torch.randn(5, 3), concept_vectors=given)
    assert made.map is not None
    assert made.base is not None
    torch.testing.assert_close(made.concepts(), given @ made.map.T + made.base)
    with torch.no_grad():
        made.map.mul_(2)
    torch.testing.assert_close(made.concepts(), given @ made.map.T + made.base)


def test_tabulated_values_follow_every_part() -> None:
    made = parts().requires_grad_(False)
    values, asked = Tabulated(made, lambda vectors: vectors + 1, list), Exercise(MAP[:, :1], torch.arange(5))
    for part in (made.own, made.base, made.map):
        assert part is not None
        rows, index = values.find(asked)
        before = rows[index].clone()
        torch.testing.assert_close(before, made.items(asked.item) + 1)
        part.add_(0.5)
        rows, index = values.find(asked)
        torch.testing.assert_close(rows[index], made.items(asked.item) + 1)
        assert not torch.equal(rows[index], before)
