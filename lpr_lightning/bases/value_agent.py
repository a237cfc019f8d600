"""What agents have in common that act by values of single actions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor

from lpr_lightning.bases.off_policy import OffPolicyAgent
from lpr_lightning.bases.step_agent import Part
from lpr_lightning.draws import Draws
from lpr_lightning.errors import checked, checked_positive
from lpr_lightning.functional.q_learning import explored, greedy
from lpr_lightning.functional.schedules import LinearSchedule
from lpr_lightning.nets.action_nets import ActionNet, Observation
from lpr_lightning.nets.targets import follow, target_of
from lpr_lightning.protocols import Act


class ValueAgent(OffPolicyAgent):
    """An agent that takes the action of the greatest value, or explores, with a target network that is copied.

    A subclass calls `start_values` in its constructor, and gives `values`.
    """

    net: ActionNet
    target: ActionNet
    exploration: LinearSchedule
    target_every: int
    rate: float

    def start_values(
        self, net: ActionNet, exploration: LinearSchedule, target_every: int, learning_rate: float
    ) -> None:
        """Take the network and how it is trained."""
        self.net, self.target, self.exploration = net, target_of(net), exploration
        self.target_every = checked("target_every", target_every, 1)
        self.rate = checked_positive("learning_rate", learning_rate)

    @abstractmethod
    def values(self, net: ActionNet, seen: Observation) -> Tensor:
        """Return the values of all actions, [..., A]."""

    def parts(self) -> Mapping[str, Part]:
        """Return the critic, with the encoder."""
        return {"critic": Part([*self.net.parameters(), *self.encoder.parameters()], self.rate)}

    def choose(self, seen: Observation, allowed: Tensor, draws: Draws | None) -> Act:
        """Return the best actions, others at the exploration's rate."""
        value = self.values(self.net, seen)
        self.refuse_non_finite("a value", value)
        best = greedy(value, allowed)
        if draws is None:
            return Act(best)
        epsilon = self.exploration(self.global_step)
        return Act(explored(best, allowed, draws.at(0).uniform(), draws.at(1).uniform(), epsilon))

    def count_step(self) -> None:
        """Count the batch; copy the weights to the target network when it is time."""
        super().count_step()
        if self.global_step % self.target_every == 0:
            follow(self.target, self.net)
