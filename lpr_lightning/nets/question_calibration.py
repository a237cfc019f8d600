"""Calibration of a question net: a concept's vector is to give what the concept's questions give on average."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.ranks import mean_count
from lpr_lightning.types import InteractionBatch


class QuestionCalibration(nn.Module):
    """Losses of ExRec's second stage (eq. 14-17), against a frozen copy of the net from the end of the first.

    Differs from the paper:
    1. Question vectors that are learned by id get no gradient here.
    2. The questions drawn for a concept are the same for all learners of a batch; or all questions are taken.

    Args:
        net: What is calibrated; it is passed to every call, only the copy is held. Both share the table's map and
            given vectors.
        questions_per_concept: Questions drawn for a concept (paper: 20); None takes all of them (eq. 14).
        with_replacement: Draw with replacement, as the authors' code does.
        freeze_lstm: No gradients reach LSTM and answer vectors.
        joint: Add the loss of next answers (eq. 17).
    """

    remembered: Tensor

    def __init__(
        self,
        net: QuestionNet,
        questions_per_concept: int | None,
        with_replacement: bool,
        freeze_lstm: bool,
        joint: bool,
    ) -> None:
        super().__init__()
        self.questions_per_concept, self.with_replacement = questions_per_concept, with_replacement
        self.freeze_lstm, self.joint = freeze_lstm, joint
        self.frozen = copy.deepcopy(net).requires_grad_(False)
        self.frozen.table.share(net.table)
        self.register_buffer("remembered", torch.tensor(False))

    def remember(self, net: QuestionNet) -> None:
        """Take the weights of `net` as those of the end of the first stage."""
        self.frozen.copy_weights(net)
        self.remembered.fill_(True)

    def restore(self, net: QuestionNet) -> None:
        """Give `net` the weights that were remembered; where none were, remember its own."""
        if not bool(self.remembered):
            self.remember(net)
        net.copy_weights(self.frozen)

    def check(self, concept_names: Sequence[str]) -> None:
        """Refuse to draw more questions without replacement than there are on a concept that has any.

        Raises:
            SettingError: There are fewer.
        """
        wanted, available = self.questions_per_concept, self.frozen.table.count
        if wanted is None or self.with_replacement:
            return
        count = torch.where(available > 0, available, wanted)
        least = int(count.argmin())
        if int(count[least]) < wanted:
            allowed = f"at most {int(count[least])}, all that there are on {concept_names[least]!r}"
            advice = "Lower it, give null to take all of each concept, or draw with_replacement"
            raise SettingError("questions_per_concept", wanted, allowed, advice)

    def losses(
        self, net: QuestionNet, batch: InteractionBatch, draws: Draws, question_draws: Draws
    ) -> dict[str, Tensor]:
        """Return the loss of one random concept before each answer (eq. 16), and that of next answers (eq. 13).

        They are means over the answers of all ranks when ddp averages them.

        Args:
            net: The net.
            batch: Answer logs.
            draws: For the concepts, one row for each learner of the batch.
            question_draws: For the questions of each concept's group, one row for each group.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_lstm):
            trace = net.trace(batch)
        following, head = batch.mask[:, 1:], net.head
        hidden = trace.hidden[:, :-1][following]
        half = head.state_half(net.dropout(hidden))
        concept = net.table.draw(draws, following)
        target = self.targets(batch, hidden.detach(), net.table.group[concept], question_draws)
        asked = head.pairs(half, head.vector_half(net.table.concepts()), concept)
        count = mean_count(torch.tensor(len(concept), device=concept.device))
        losses = {"concepts": F.binary_cross_entropy_with_logits(asked, target, reduction="sum") / count}
        if self.joint:
            answer = head.pairs(half, head.vector_half(trace.vectors.detach()), trace.row[:, 1:][following])
            correct = batch.correct[:, 1:][following]
            losses["answers"] = F.binary_cross_entropy_with_logits(answer, correct, reduction="sum") / count
        return losses

    @torch.no_grad()
    def targets(self, batch: InteractionBatch, hidden: Tensor, group: Tensor, question_draws: Draws) -> Tensor:
        """Return what the frozen net predicts for the questions of groups [S] on average, [S].

        Args:
            batch: Answer logs.
            hidden: The net's own states before each answer, [S, H]: the frozen net's too where the LSTM is frozen.
            group: Group asked about in each state.
            question_draws: One row for each group.
        """
        if not self.freeze_lstm:
            hidden = self.frozen.trace(batch).hidden[:, :-1][batch.mask[:, 1:]]
        drawn = None
        if self.questions_per_concept is not None:
            drawn = self.frozen.table.sample(question_draws, self.questions_per_concept, self.with_replacement)
        return self.frozen.group_success(hidden, group[:, None], drawn)[:, 0]
