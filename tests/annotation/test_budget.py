"""Is a budget never exceeded, and is what it allows used?"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from annotation_scripts import asker, questions, valid

from lpr_lightning.annotation import AnswerStore, Budget, BudgetSpentError, ConceptAnnotation, Prices, ScriptedServer
from lpr_lightning.annotation import Templates as Words
from lpr_lightning.annotation.runner import run_all
from lpr_lightning.annotation.store import Paid
from lpr_lightning.errors import SettingError


def test_a_request_counts_with_the_most_until_it_is_settled() -> None:
    budget = Budget(Prices(1.0, 10.0), tokens=100)
    budget.reserve(40, 30)
    with pytest.raises(BudgetSpentError, match="the budget of 100 tokens is spent"):
        budget.reserve(90, 11)
    budget.settle((40, 30), (40, 10))
    assert (budget.tokens, budget.money) == (50, 140e-6)
    budget.reserve(25, 25)


def test_one_waits_for_what_another_really_takes() -> None:
    budget = Budget(tokens=100)
    budget.reserve(50, 40)
    done = threading.Event()

    def second() -> None:
        budget.reserve(50, 30)
        done.set()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    assert not done.wait(0.1)
    budget.settle((50, 40), (10, 10))
    assert done.wait(5)
    assert budget.tokens == 20


def test_money_needs_prices() -> None:
    assert Budget(tokens=5).money is None
    with pytest.raises(SettingError, match="Give price_prompt and price_answer"):
        Budget(money=1.0)
    with pytest.raises(SettingError, match="both prices or neither"):
        Prices(1.0)


@pytest.mark.parametrize("workers", [1, 4])
def test_it_stops_cleanly_and_more_of_it_goes_on(workers: int, tmp_path: Path) -> None:
    prices = Prices(2.0, 8.0)
    done = []
    with ScriptedServer(valid) as server:
        for money in (0.0, 0.012, 0.016, None):
            with AnswerStore(tmp_path / "a.db") as store:
                one = asker(server.url, store, Budget(prices, money=money, already=store.paid()))
                outcome = run_all(questions(8), ConceptAnnotation(one, Words()), workers)
                assert one.budget.money == pytest.approx(store.paid().money)
                assert money is None or store.paid().money <= money
                assert bool(outcome.stopped) == (money is not None)
                assert not outcome.set_aside
                done.append(len(outcome.results))
        assert done[0] == 0
        assert done == sorted(done)
        assert done[1] > 0
        assert done[3] == 8
        assert server.requests == 24  # none was paid for twice
        assert set(server.served.values()) == {1}


def test_what_was_paid_before_counts(tmp_path: Path) -> None:
    budget = Budget(tokens=100, already=Paid(3, 95, 0.0))
    with pytest.raises(BudgetSpentError, match="95"):
        budget.reserve(3, 3)
