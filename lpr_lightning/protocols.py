"""The protocols between packages: tracer, actions, simulator, goal, policy, task, data.

B learners or rows, A candidates, N concepts, M concepts of a goal, L path steps. Every call is batched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.questions import Questions
from lpr_lightning.types import Exercise, InteractionBatch, Interactions, PathRequest, Split, State, TensorData


@runtime_checkable
class Tracer(Protocol):
    """A model that follows a learner's knowledge; a call costs O(1) a step.

    `asked` is [B], one exercise a learner, or [B, A]: then predictions are [B, A] and states have B * A rows. States
    of B * G rows may be asked for the mastery of concepts [B, M], G states for each row of these.
    """

    num_concepts: int

    def initial_state(self, batch_size: int) -> State:
        """Return the state of learners without history."""
        ...

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole histories; padding changes nothing."""
        ...

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one real answer each; `correct` like `asked`, in [0, 1] (soft answers allowed)."""
        ...

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode, answered by the simulator: what practice does to a learner."""
        ...

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        ...

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the mastery of every concept [B, N], or of the concepts [B, M] only (none of them -1), [B * G, M]."""
        ...


@runtime_checkable
class Actions(Protocol):
    """What may be recommended, numbered from 0."""

    def __len__(self) -> int: ...

    def at(self, action: Tensor) -> Exercise:
        """Return the exercises of actions [...] int64; where an action is -1, nothing is asked."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Anything whose mastery can be read: a simulator or a tracer."""

    num_concepts: int

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the mastery of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        ...


@runtime_checkable
class Simulator(Learner, Protocol):
    """Learners that answer: states are passed in and returned, never kept, so that any state can be branched.

    Rows that are asked nothing stay as they are. Gradients flow through `predict` and `practise` to vectors and soft
    answers; the simulator's own weights are frozen.
    """

    @property
    def actions(self) -> Actions:
        """What may be recommended."""
        ...

    def start(self, request: PathRequest) -> State:
        """Return the learners' states after their histories."""
        ...

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the probability of success, [B] or [B, A]."""
        ...

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        """Return answers in [0, 1] of these probabilities; `draws` of the first axis, None for the likeliest answer."""
        ...

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode: [B] rows, or B * A rows where `asked` is [B, A]."""
        ...

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after an answer that a learner outside really gave; shapes as for `practise`."""
        ...


class Standing(NamedTuple):
    """How learners stand towards a goal, [B] each: mean mastery of its concepts, exam score, best possible score."""

    mastery: Tensor
    score: Tensor
    best: Tensor


@runtime_checkable
class Goal(Protocol):
    """What a path is for: the concepts, and the exam on them."""

    every_step: bool
    """Whether the concepts are chosen anew before each step."""

    def choose(self, learner: Learner, state: State, request: PathRequest) -> Tensor:
        """Return the concepts that count now, [B, M] int64, -1 where unused."""
        ...

    def assess(self, learner: Learner, state: State, concept: Tensor) -> Standing:
        """Return where B * G states stand on the concepts [B, M]; nothing is learned by it."""
        ...

    def mark(self, mastery: Tensor, counted: Tensor) -> Tensor:
        """Return the exam score [...] of mastery [..., N] on the concepts `counted` [..., N] bool."""
        ...

    def fit(self, log: Interactions) -> None:
        """Fit what depends on the answer logs of training learners."""
        ...


class Environment(NamedTuple):
    """What a policy may look into while it plans: a model of the learners, and the goal."""

    simulator: Simulator
    goal: Goal


class Act(NamedTuple):
    """What a policy does: an action for each row [B] int64 (-1 ends the path), and its log-probability if sampled."""

    action: Tensor
    log_prob: Tensor | None = None


@runtime_checkable
class Policy(Protocol):
    """Anything that recommends, step by step."""

    @property
    def name(self) -> str:
        """Under this name figures are logged."""
        ...

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the policy's own state before the first step; tensors with the requests on the first axis."""
        ...

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Choose the next action, given the goal's concepts [B, M]; sampled by `draws`, the likeliest without."""
        ...

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Return the policy's state after the answers [B] to its actions [B]; rows of action -1 have ended."""
        ...


@runtime_checkable
class Examples(Protocol):
    """Training or evaluation examples of one split, from which batches are drawn by index."""

    @property
    def sizes(self) -> Tensor:
        """The length of each example, by which batches are bucketed, [E] int64."""
        ...

    def batch(self, index: Tensor) -> TensorData:
        """Return the batch of the examples at `index` [B]."""
        ...


@runtime_checkable
class HasExamples(Protocol):
    """A loader whose batches are drawn from examples of known length."""

    @property
    def examples(self) -> Examples:
        """The examples."""
        ...


@runtime_checkable
class Task(Protocol):
    """Turns answer logs into examples: next-answer sequences, requests for paths, …

    The command line takes a class for a task only if its `examples` is annotated as here, the result included.
    """

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the examples of `split`; `log` holds that split's learners only."""
        ...


@runtime_checkable
class LearnerData(Protocol):
    """What modules and callbacks may ask of a datamodule."""

    num_concepts: int
    num_items: int
    task: Task

    @property
    def tasks(self) -> Mapping[str, Task]:
        """All tasks by name: `task` under the empty name, then those whose requests are tested apart."""
        ...

    @property
    def concept_names(self) -> list[str]:
        """Readable names, one for each concept number."""
        ...

    @property
    def concept_vocabulary(self) -> dict[str, int]:
        """Number of each concept by its raw and by its readable name."""
        ...

    @property
    def item_names(self) -> list[str]:
        """Raw names, one for each item number: the ids that files of question vectors use."""
        ...

    @property
    def item_concepts(self) -> Tensor:
        """Concepts of each item, [Q, C] int64, -1 where unused."""
        ...

    @property
    def prerequisites(self) -> Tensor | None:
        """Edges (needed, needing) between concepts, [E, 2] int64; None where there are none."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of the source files and of every option that changes the data."""
        ...

    @property
    def truth(self) -> Simulator | None:
        """The learners themselves where they are of known truth (synthetic), else None."""
        ...

    def interactions(self, split: Split) -> Interactions:
        """Return the answer logs of one split's learners (after `setup`)."""
        ...

    def examples(self, split: Split) -> Examples:
        """Return the examples that the task makes of one split's learners, all of them on every rank."""
        ...


@runtime_checkable
class HasQuestions(Protocol):
    """Data whose questions come in words."""

    @property
    def questions(self) -> Questions:
        """The questions, by item number; the text of one whose wording is unknown is empty."""
        ...

    def question_numbers(self, split: Split) -> Tensor:
        """Return the numbers [E] int64, ascending, of the questions with a text of one split."""
        ...


@runtime_checkable
class NewLearners(Protocol):
    """A datamodule with requests of learners that no model has seen."""

    @property
    def predict_learners(self) -> Sequence[str]:
        """Their names, by `PathRequest.row`."""
        ...


@runtime_checkable
class GivenOthers(Protocol):
    """A datamodule that can be given other prerequisites than those of its source, which true learners follow."""

    def with_own_prerequisites(self) -> LearnerData:
        """Return the same data with the prerequisites of their source."""
        ...


@runtime_checkable
class Connected(Protocol):
    """A part of a model, a task or a policy, that needs more of the data than sizes; a module keeps it in buffers."""

    def connect(self, data: LearnerData) -> None:
        """Take what is needed: as soon as a model is built, before examples are made, before policies are compared."""
        ...


@runtime_checkable
class HasEpisodes(Protocol):
    """A module whose learners can be taught by other policies too."""

    @property
    def simulator(self) -> Simulator:
        """The learners."""
        ...

    @property
    def goal(self) -> Goal:
        """What paths are for."""
        ...

    @property
    def early_stop(self) -> bool:
        """Whether an episode ends once its exam is full."""
        ...
