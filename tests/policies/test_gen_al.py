"""Does GenAL teach as the language model says, keep the rules of a policy, and pay for no answer twice?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lpr_lightning.annotation import ChatEndpoint, Reply, Request, Retries, ScriptedServer
from lpr_lightning.checks import check_policy
from lpr_lightning.cli import names, registry
from lpr_lightning.cli.parsing import Parser
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.goals import Targets
from lpr_lightning.policies import PrerequisiteGraph
from lpr_lightning.policies.gen_al import GenAL, GenALSettings
from lpr_lightning.protocols import Environment, Policy
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout

CHAIN = [(0, 1), (1, 2), (2, 3)]


def numbers(text: str) -> list[int]:
    """Return the concepts that a numbered list names."""
    return [int(one) for one in re.findall(r"concept (\d+)", text)]


def part(text: str, head: str) -> str:
    """Return the paragraph of a message under a heading."""
    return text.partition(f"{head}\n")[2].partition("\n\n")[0]


def tutor(request: Request) -> Reply:
    """Profile a learner by what was right, and pick the lowest concept that was not."""
    user = request.messages[1].content
    if '{"profile"' in request.messages[0].content:
        right = re.findall(r"concept (\d+): right", user)
        return Reply(json.dumps({"profile": f"holds {' '.join(right) or 'nothing'} so far", "reflection": "go on"}))
    known = {int(one) for one in re.findall(r"concept (\d+): right", user)}
    known |= {int(one) for one in re.findall(r"\d+", part(user, "The learner:"))}
    candidates = numbers(part(user, "Candidates, by number:"))
    wanted = min((one for one in candidates if one not in known), default=candidates[0])
    return Reply(json.dumps({"reason": "it comes first", "choice": candidates.index(wanted) + 1}))


@pytest.fixture
def agent(tmp_path: Path) -> Callable[..., GenAL]:
    """Makes an agent that asks a server."""

    def made(url: str, every: int = 2, max_tokens: int | None = None, max_money: float | None = None) -> GenAL:
        client = ChatEndpoint("scripted", url, api_key_env=None)
        settings = GenALSettings(records=6, every=every, workers=3, attempts=2)
        graph = PrerequisiteGraph(CHAIN)
        place = str(tmp_path / "answers.db")
        return GenAL(client, place, settings, None, Retries(first=0.01), None, max_tokens, max_money, graph)

    return made


def taught(policy: GenAL, length: int = 6) -> list[list[int]]:
    """Return the paths of two learners."""
    ladder = Ladder(4)
    return rollout(ladder, Targets(), ladder.request(targets=[[2], [3]], length=length), policy).action.tolist()


def test_it_teaches_what_the_model_picks_and_reaches_the_top_of_the_ladder(agent: Callable[..., GenAL]) -> None:
    with ScriptedServer(tutor) as server:
        ladder = Ladder(4)
        request = ladder.request(targets=[[2], [3]], length=8)
        found = rollout(ladder, Targets(), request, agent(server.url))
    for path, target in zip(found.action.tolist(), (2, 3)):
        first = list(dict.fromkeys(path))
        assert first[: target + 1] == list(range(target + 1))  # what comes first in the chain, first
    assert bool((found.score_after > found.score_before).all())


def test_it_keeps_the_rules_of_a_policy(agent: Callable[..., GenAL]) -> None:
    ladder = Ladder(4)
    with ScriptedServer(tutor) as server:
        request = ladder.request(targets=[[0], [1, 2], [3]], length=4)
        check_policy(agent(server.url), Environment(ladder, Targets()), request)


def test_the_same_episode_asks_nothing_again(agent: Callable[..., GenAL]) -> None:
    with ScriptedServer(tutor) as server:
        policy = agent(server.url)
        first = taught(policy)
        asked = server.requests
        assert taught(policy) == first
        assert server.requests == asked > 0
        assert set(server.served.values()) == {1}


def test_a_profile_is_written_every_few_steps(agent: Callable[..., GenAL]) -> None:
    seen: list[str] = []

    def script(request: Request) -> Reply:
        seen.append(request.messages[0].content[:40])
        return tutor(request)

    with ScriptedServer(script) as server:
        ladder = Ladder(4)
        rollout(ladder, Targets(), ladder.request(targets=[[3]], length=6), agent(server.url, every=3))
    profiles = sum("global" in one for one in seen)
    assert (profiles, len(seen) - profiles) == (2, 6)


@pytest.mark.parametrize("answer", ["no JSON", '{"choice": 9}', '{"choice": true}', '{"choice": "1"}'])
def test_a_choice_that_is_none_makes_the_first_candidate_the_choice(answer: str, agent: Callable[..., GenAL]) -> None:
    def script(request: Request) -> Reply:
        return tutor(request) if "global" in request.messages[0].content[:40] else Reply(answer)

    with ScriptedServer(script) as server:
        policy = agent(server.url)
        assert taught(policy, length=2) == [[2, 2], [3, 3]]
    assert policy.counts["first candidate for want of a valid answer"] == 4


def test_a_spent_budget_is_an_error(agent: Callable[..., GenAL]) -> None:
    with ScriptedServer(tutor) as server:
        with pytest.raises(LPRError, match="gen_al: the budget of 1000 tokens is spent"):
            taught(agent(server.url, max_tokens=1000))
        with pytest.raises(SettingError, match="Give price_prompt"):
            agent(server.url, max_money=1)
    with pytest.raises(SettingError, match="every=0"):
        GenALSettings(every=0)


def test_concepts_have_the_names_of_the_data(agent: Callable[..., GenAL]) -> None:
    data = SyntheticLearners(num_learners=20, num_concepts=5)
    seen: list[str] = []

    def script(request: Request) -> Reply:
        seen.append(request.messages[1].content)
        return Reply('{"reason": "x", "choice": 1, "profile": "p", "reflection": "r"}')

    with ScriptedServer(script) as server:
        policy = agent(server.url)
        policy.connect(data)
        ladder = Ladder(5)
        rollout(ladder, Targets(), ladder.request(targets=[[1]], length=1), policy)
    assert f"1. {data.concept_names[1]}" in seen[1]


def test_a_configuration_can_name_it(tmp_path: Path) -> None:
    described = (
        "[{class_path: GenAL, init_args: {"
        "client: {class_path: ChatEndpoint, init_args: {model: m, api_key_env: null}}, "
        f"store: {tmp_path / 'a.db'}, settings: {{every: 3}}, max_tokens: 50, "
        "prerequisites: {class_path: PrerequisiteGraph, init_args: {edges: [[0, 1]]}}}}]"
    )
    with registry.allowed([]), names.understood():
        parser = Parser()
        parser.add_argument("--policies", type=list[Policy])
        (policy,) = parser.instantiate(parser.parse_args([f"--policies={described}"])).policies
    assert isinstance(policy, GenAL)
    assert policy.settings == GenALSettings(every=3)
    assert policy.prerequisites == PrerequisiteGraph([(0, 1)])
    assert not (tmp_path / "a.db").exists()  # opened with the first request
