"""What may be spent on answers, and what has been."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from lpr_lightning.annotation.store import Paid
from lpr_lightning.errors import LPRError, SettingError, checked_or_none


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in whatever currency; None where it is not known.

    Args:
        prompt: of what is sent.
        answer: of what comes back.

    Raises:
        SettingError: one is below 0, or one alone is given.
    """

    prompt: float | None = None
    answer: float | None = None

    def __post_init__(self) -> None:
        checked_or_none("price_prompt", self.prompt, 0.0)
        checked_or_none("price_answer", self.answer, 0.0)
        if (self.prompt is None) != (self.answer is None):
            raise SettingError("prices", (self.prompt, self.answer), "both prices or neither")

    def cost(self, prompt_tokens: float, answer_tokens: float) -> float | None:
        """Return what so many tokens cost.

        >>> Prices(2.5, 10.0).cost(1_000_000, 100_000), Prices().cost(5, 5)
        (3.5, None)
        """
        if self.prompt is None or self.answer is None:
            return None
        return (self.prompt * prompt_tokens + self.answer * answer_tokens) / 1e6


class BudgetSpentError(LPRError):
    """The next request could go beyond the budget."""

    def __init__(self, name: str, limit: float, spent: float) -> None:
        self.name = name
        super().__init__(f"the budget of {limit:g} {name} is spent ({spent:g}, and the next request could exceed it)")


class Budget:
    """Limits of tokens and money that are never exceeded: a request that could exceed them is not sent.

    A request counts with the most that it can take until its answer is there, then with what it took. What earlier runs
    paid for, by `already`, counts too. Several threads may use it.

    Args:
        prices: of a million tokens.
        tokens: the most tokens, sent and received together; None for no limit.
        money: the most money, in the prices' currency; None for no limit.
        already: what has been paid for before.

    Raises:
        SettingError: a limit below 0, or one of money without prices.
    """

    def __init__(
        self,
        prices: Prices | None = None,
        tokens: int | None = None,
        money: float | None = None,
        already: Paid | None = None,
    ) -> None:
        self.prices = prices or Prices()
        self.limits: dict[str, float | None] = {
            "tokens": checked_or_none("budget_tokens", tokens, 0),
            "money": checked_or_none("budget_money", money, 0.0),
        }
        if money is not None and self.prices.prompt is None:
            advice = "Give price_prompt and price_answer"
            raise SettingError("budget_money", money, "a limit of what has prices", advice)
        self._settled = threading.Condition()
        already = already or Paid(0, 0, 0.0)
        self._spent = {"tokens": float(already.tokens), "money": already.money}
        self._reserved = {"tokens": 0.0, "money": 0.0}

    @property
    def tokens(self) -> int:
        """Tokens so far, of all runs."""
        return int(self._spent["tokens"])

    @property
    def money(self) -> float | None:
        """Money so far, of all runs; None where prices are not known."""
        return None if self.prices.prompt is None else self._spent["money"]

    def reserve(self, prompt_tokens: int, answer_tokens: int) -> None:
        """Put aside what a request may take at most; wait where that depends on what others under way will take.

        Raises:
            BudgetSpentError: it could exceed a limit whatever the others take.
        """
        most = self._amounts(prompt_tokens, answer_tokens)
        with self._settled:
            while name := self._exceeded(most, self._reserved):
                if self._exceeded(most, {}):
                    raise BudgetSpentError(name, self.limits[name] or 0.0, self._spent[name])
                self._settled.wait()
            for name, amount in most.items():
                self._reserved[name] += amount

    def settle(self, reserved: tuple[int, int], took: tuple[int, int]) -> None:
        """Exchange what was put aside for what a request took; tokens sent and received in each."""
        before, after = self._amounts(*reserved), self._amounts(*took)
        with self._settled:
            for name in self._spent:
                self._reserved[name] -= before[name]
                self._spent[name] += after[name]
            self._settled.notify_all()

    def _exceeded(self, most: dict[str, float], reserved: dict[str, float]) -> str:
        """Return the limit that a request may go beyond, or an empty text."""
        for name, limit in self.limits.items():
            if limit is not None and self._spent[name] + reserved.get(name, 0.0) + most[name] > limit + 1e-9:
                return name
        return ""

    def _amounts(self, prompt_tokens: int, answer_tokens: int) -> dict[str, float]:
        money = self.prices.cost(prompt_tokens, answer_tokens)
        return {"tokens": float(prompt_tokens + answer_tokens), "money": money or 0.0}
