"""Draw what practice does in every world of synthetic learners.

    python experiments/world_curves.py --out docs/worlds.png

Forty learners' mean mastery of a concept that they practise ten times in a row and then leave for twenty exercises on
concepts of another topic; of the next concept of the topic, which needs it where the world has prerequisites; and of
one in the other topic. Three learners' own mastery of the practised concept lies behind, thin.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from lpr_lightning.cache import atomic_write
from lpr_lightning.draws import Draws
from lpr_lightning.simulators.knowledge_world import KnowledgeWorld
from lpr_lightning.simulators.selective_world import SelectiveWorld
from lpr_lightning.simulators.transfer_world import TransferWorld
from lpr_lightning.simulators.true_learners import GrowthWorld
from lpr_lightning.simulators.world_learners import WorldLearners
from lpr_lightning.types import Exercise

WORLDS = (GrowthWorld(), TransferWorld(), KnowledgeWorld(), SelectiveWorld())
PRACTISED, NEXT, OTHER = 1, 2, 8
"""Second and third concept of the first topic; fourth of the second."""
LINES = ((PRACTISED, "C0", "practised"), (NEXT, "C1", "next of the topic"), (OTHER, "0.5", "other topic"))
PATH = [PRACTISED] * 10 + [5, 6] * 10


def curves(learners: WorldLearners, count: int = 40) -> Tensor:
    """Return the mastery of every concept before and after every step of the path, [B, L + 1, N]."""
    rows = torch.arange(count)
    state, draws = learners.begin(rows), Draws.of(0, 0, rows)
    seen = [learners.mastery(state)]
    for step, concept in enumerate(PATH):
        asked = Exercise.of_concepts(torch.full_like(rows, concept))
        answer = learners.respond(learners.predict(state, asked), draws.at(step))
        state = learners.practise(state, asked, answer)
        seen.append(learners.mastery(state))
    return torch.stack(seen, 1)


def draw(path: Path) -> None:
    """Draw the worlds side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2), layout="constrained")
    axes = figure.subplots(1, len(WORLDS), sharey=True)
    for axis, kind in zip(axes, WORLDS):
        mastery = curves(kind.learners(num_concepts=10, num_items=50, num_learners=40))
        axis.plot(mastery[:3, :, PRACTISED].T, color="C0", linewidth=0.6, alpha=0.6)
        for concept, colour, label in LINES:
            axis.plot(mastery[:, :, concept].mean(0), color=colour, linewidth=2, label=label)
        axis.axvline(10, color="0.8", linestyle=":")
        axis.set(title=type(kind).__name__, xlabel="exercise", ylim=(0, 1))
    axes[0].set(ylabel="true mastery")
    axes[-1].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110, format="png")


def main(words: list[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("worlds.png"))
    out = parser.parse_args(words).out
    with atomic_write(out) as temporary:
        draw(temporary)
    print(out)


if __name__ == "__main__":
    main()
