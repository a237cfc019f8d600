"""Graph-enhanced planning with privileged knowledge state distillation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter

from torch import Tensor

from lpr_lightning.bases.on_policy import OnPolicyAgent, Played
from lpr_lightning.bases.staged import Stage
from lpr_lightning.bases.step_agent import Candidates, Part, needed_simulator
from lpr_lightning.draws import Draws
from lpr_lightning.errors import checked
from lpr_lightning.functional.policy_gradient import entropy
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built, built_each
from lpr_lightning.nets.action_nets import ConceptNetwork, NetSettings, Observation
from lpr_lightning.nets.encoders import Session
from lpr_lightning.nets.privileged_session import DistilledCodes, PrivilegedSession
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Act, Environment, Simulator
from lpr_lightning.types import PathRequest, State


class GEPKSD(OnPolicyAgent):
    """Recommends by an actor-critic that first knows the learner, then does without (GEPKSD, Li et al. 2024).

    An actor and a critic read the session's answers, the goal and a code of each concept. In stage 1, `teacher`, the
    code is made of the true mastery, z; in stage 2, `student`, of the answers, z', with the loss of the actor-critic
    and `distil_weight` times |z' - z|^2. A fitted agent looks into no learner. Steps return `{"request", "rollout"}`.

    Differs from the paper:
    1. Codes are made by messages along prerequisites, instead of a graph convolution over node2vec vectors.
    2. z' is distilled in both stages, so that no student begins untrained, by a weight that does not grow.
    3. The actor's loss trains z, the critic's and the distillation z' and the GRU; advantages are standardised.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner; its actions are recommended.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: how the answers are read; default `Session`.
        reward: what a step is worth; default `AttainableGain`.
        net: the networks of actor, critic and codes; default `ConceptNetwork`, which needs concepts as actions.
        code_size: numbers of each concept in a code (paper: 2).
        teacher_epochs: of stage 1 (paper: 30 % of the episodes).
        distil_weight: weight of the distillation.
        group_size: episodes of each request.
        trace: lambda of the generalised advantages, from 0 to 1.
        entropy_weight: weight of the entropy bonus.
        discount: gamma, from 0 to 1.
        candidates: which actions may be taken: `all`, on the `targets`, or on their `closure`.
        repeats: whether again within an episode.
        learning_rate: of Adam, for the actor and z.
        critic_learning_rate: of Adam, for the critic, the GRU and z'.
        max_grad_norm: gradients are clipped to this norm.

    Raises:
        SettingError: a setting is out of range, or no simulator is given.
    """

    encoder: PrivilegedSession
    monitor = ("val/selection", "max")

    def __init__(
        self,
        num_concepts: int | None = None,
        simulator: Simulator | None = None,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] = (),
        early_stop: bool = False,
        encoder: Session | None = None,
        reward: StepReward | None = None,
        net: NetSettings | None = None,
        code_size: int = 2,
        teacher_epochs: int = 1,
        distil_weight: float = 1.0,
        group_size: int = 4,
        trace: float = 1.0,
        entropy_weight: float = 0.01,
        discount: float = 1.0,
        candidates: Candidates = "all",
        repeats: bool = True,
        learning_rate: float = 1e-3,
        critic_learning_rate: float = 1e-3,
        max_grad_norm: float = 1.0,
    ) -> None:
        settings = arguments(locals())
        wanted, learners = built_each(objectives, Objective), needed_simulator(simulator)
        watching = PrivilegedSession(built(encoder, Session))
        super().__init__(
            *(num_concepts, learners, goal, wanted, early_stop, watching, reward),
            *(discount, candidates, repeats, max_grad_norm),
        )
        self.save_hyperparameters(settings)
        self.teacher_epochs = checked("teacher_epochs", teacher_epochs, 1)
        self.distil_weight = checked("distil_weight", distil_weight, 0.0)
        self.entropy_weight = checked("entropy_weight", entropy_weight, 0.0)
        chosen = built(net, NetSettings) or ConceptNetwork()
        coded = chosen if isinstance(chosen, ConceptNetwork) else ConceptNetwork()
        self.codes = DistilledCodes(coded, self.sizes, checked("code_size", code_size, 1))
        self.sizes = self.codes.sizes
        self.start_actor(chosen, group_size, trace, learning_rate, critic_learning_rate)

    def stages(self) -> Sequence[Stage]:
        """Return teacher and student."""
        one = partial(Stage, step=self.improve, select=itemgetter("learning_effect"))
        return [one("teacher", epochs=self.teacher_epochs), one("student")]

    def parts(self) -> Mapping[str, Part]:
        """Return the critic with what reads answers, the actor, and what reads the mastery."""
        critic, actor = super().parts().values()
        critic = Part([*critic.weights, *self.codes.of_answers.parameters()], critic.rate)
        return {"critic": critic, "actor": actor, "teacher": Part(list(self.codes.of_mastery.parameters()), actor.rate)}

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Look at the mastery while there is something to learn from it."""
        self.encoder.looks = self.training or self.stage_number == 0
        return super().begin(environment, request)

    def log_prob(self, seen: Observation) -> Tensor:
        """Return the actor's log-probabilities, [..., A]."""
        return super().log_prob(self.codes(seen, self.stage_number == 0))

    def value(self, seen: Observation) -> Tensor:
        """Return the critic's values of states, [...]."""
        return super().value(self.codes(seen, self.stage_number == 0))

    def choose(self, seen: Observation, allowed: Tensor, draws: Draws | None) -> Act:
        """Return sampled actions, or the likeliest."""
        return super().choose(self.codes(seen, self.stage_number == 0), allowed, draws)

    def learn(self, played: Played) -> dict[str, Tensor]:
        """Take a step of the critic and of z', one of z in stage 1, and one of the actor."""
        seen = played.recall()
        error = played.mean((self.value(seen) - played.returns).square())
        apart = played.mean(self.codes.distance(seen))
        self.descend_part("critic", error + self.distil_weight * apart)
        seen = seen._replace(vector=seen.vector.detach())
        log_prob = self.log_prob(seen)
        spread = played.mean(entropy(log_prob))
        loss = -played.mean(played.chosen(log_prob) * played.advantage) - self.entropy_weight * spread
        if self.stage_number == 0:
            self.descend_part("teacher", loss, retain_graph=True)
        self.descend_part("actor", loss)
        return {"loss": loss, "entropy": spread, "loss_critic": error, "loss_distil": apart}
