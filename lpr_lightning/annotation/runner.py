"""Many questions at once: bounded concurrency, a result or a reason for each, a clean stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lpr_lightning.annotation.asker import SetAsideError, StoppedError
from lpr_lightning.annotation.budget import BudgetSpentError
from lpr_lightning.errors import checked

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Outcome(Generic[Result]):
    """What became of the items, by their place.

    Attributes:
        results: of those that are done.
        set_aside: why others never will be, as things stand.
        stopped: why the rest was not begun or finished; empty where nothing was left.
    """

    results: dict[int, Result] = field(default_factory=dict)
    set_aside: dict[int, SetAsideError] = field(default_factory=dict)
    stopped: str = ""


def run_all(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    workers: int = 8,
    stop: threading.Event | None = None,
    report: Callable[[Outcome[Result]], None] | None = None,
    outcome: Outcome[Result] | None = None,
) -> Outcome[Result]:
    """Do the work for each item, several at once.

    `SetAsideError` puts one item aside. `BudgetSpentError` and a stop end the run: what is under way ends its request
    and stores the answer, nothing new begins. Any other error does the same and is then raised.

    Args:
        items: what to work on, begun in this order.
        work: makes a result of an item; called in several threads.
        workers: how many at once.
        stop: ends the run when it is set.
        report: called in this thread after each item, and every half second.
        outcome: filled as the work goes on, so that what is done is known after an error too; a new one if not given.

    Raises:
        SettingError: less than one worker.
    """
    stop = stop or threading.Event()
    outcome = Outcome() if outcome is None else outcome
    failure: BaseException | None = None
    waiting = iter(range(len(items)))
    under_way: dict[Future[Result], int] = {}
    with ThreadPoolExecutor(checked("workers", workers, 1)) as pool:
        try:
            while True:
                while len(under_way) < workers and not (stop.is_set() or outcome.stopped):
                    place = next(waiting, None)
                    if place is None:
                        break
                    under_way[pool.submit(work, items[place])] = place
                if not under_way:
                    break
                done, _ = wait(under_way, timeout=0.5, return_when=FIRST_COMPLETED)
                for one in done:
                    place = under_way.pop(one)
                    try:
                        outcome.results[place] = one.result()
                    except SetAsideError as error:
                        outcome.set_aside[place] = error
                    except (BudgetSpentError, StoppedError) as error:
                        outcome.stopped = outcome.stopped or str(error)
                    except Exception as error:
                        failure = failure or error
                        outcome.stopped = outcome.stopped or str(error)
                        stop.set()
                if report is not None:
                    report(outcome)
        except BaseException:  # an interruption in this thread
            stop.set()
            raise
    if failure is not None:
        raise failure
    if not outcome.stopped and len(outcome.results) + len(outcome.set_aside) < len(items):
        outcome.stopped = "stopped"
    return outcome
