"""One command compares policies of paths, goes on where it was stopped, and reports a method that fails."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lpr_lightning.annotation import Reply, Request, ScriptedServer
from lpr_lightning.models.ppo import PPO

SMALL = ["--data.num_learners=40", "--data.num_concepts=10", "--trainer.max_epochs=1"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.limit_train_batches=1"]


@pytest.fixture
def script(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_paths", project / "experiments" / "compare_paths.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_paths"] = module
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


def command(out: Path, *words: str) -> list[str]:
    few = ["--lengths", "3", "--learners", "8", "--resamples", "5", "--epochs", "1"]
    return ["--out", str(out), *few, *words, "--", *SMALL, *QUIET]


def figures(out: Path, name: str) -> dict[tuple[str, str, str, str], str]:
    with (out / name).open(newline="", encoding="utf-8") as file:
        return {
            (row["protocol"], row["method"], row["judge"], row["figure"]): row["value"] for row in csv.DictReader(file)
        }


def test_one_command_compares_goes_on_and_reports_what_fails(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, judges = tmp_path / "out", ["--judges", "performance_factors"]
    rules = ["random", "targets_in_turn", "chain_search"]

    def broken(self: PPO) -> None:
        raise RuntimeError("the machine is on fire")

    with monkeypatch.context() as patch:
        patch.setattr(PPO, "prepare", broken)
        with pytest.raises(SystemExit, match="1"):
            script.main(command(out, *judges, "--methods", *rules, "multitask_lstm", "ppo"))
    first = figures(out, "paths.csv")
    assert first["default", "ppo", "failed", "RuntimeError: the machine is on fire"] == ""
    assert "Failed: ppo: RuntimeError: the machine is on fire" in (out / "paths.md").read_text(encoding="utf-8")
    assert ("default", "multitask_lstm", "truth", "effect") in first  # the others have their rows

    capsys.readouterr()
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.suffix in (".safetensors", ".ckpt")}
    script.main(command(out, *judges, "--methods", *rules, "multitask_lstm", "ppo"))
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("== ")]
    measured = [line for line in said if " by " in line]
    assert measured == ["== ppo by state space", "== ppo by performance factors", "== ppo by truth"]

    found = figures(out, "paths.csv")
    assert {method for _, method, _, _ in found} == {*rules, "multitask_lstm", "ppo", "oracle", "state_space"}
    judged = {judge for _, method, judge, _ in found if method == "ppo"}
    assert judged == {"state_space", "performance_factors", "truth", "fit"}
    assert not any(judge != "truth" for _, method, judge, _ in found if method == "oracle")
    assert float(found["default", "chain_search", "state_space", "share"]) == pytest.approx(1)
    assert float(found["default", "oracle", "truth", "share"]) == pytest.approx(1)
    assert float(found["default", "oracle", "truth", "effect"]) > float(found["default", "random", "truth", "effect"])
    assert -1 <= float(found["default", "state_space", "truth", "rank_fidelity"]) <= 1
    assert float(found["default", "ppo", "fit", "parameters"]) > 1000
    assert (out / "paths.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "paths.md").read_text(encoding="utf-8")
    assert "Failed" not in text
    assert "Rank fidelity of state_space" in text


def test_protocols_change_simulator_and_exam_for_all(script: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script.main(command(out, "--judges", "dkt", "--protocols", "dlpr", "gehrl", "--methods", "random", "actor_critic"))
    found = figures(out, "paths.csv")
    assert {protocol for protocol, _, _, _ in found} == {"dlpr", "gehrl"}
    assert {judge for _, _, judge, _ in found} >= {"dkt", "dkt, another seed", "truth"}
    own = [float(found[protocol, "random", "dkt", "effect"]) for protocol in ("dlpr", "gehrl")]
    assert own[0] != own[1]
    assert len(list((out / "fits").glob("dkt_*"))) == 2  # one simulator, and the other seed


def test_advantages_share_one_measure_and_a_radar(script: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    variants = ["EpsilonIndicator", "DrGRPO", "without_zpd"]
    script.main(command(out, "--study", "advantages", "--judges", "--variants", *variants))
    found = figures(out, "advantages.csv")
    for name in variants:
        assert 0 <= float(found["default", name, "front", "zpd"]) <= 1
        assert float(found["default", name, "front", "hypervolume"]) >= 0
        assert -5 < float(found["default", name, "truth", "effect"]) <= 1
    effects = {found["default", name, "state_space", "effect"] for name in variants}
    assert len(effects) > 1  # another advantage trains another policy
    assert (out / "advantages.png").read_bytes().startswith(b"\x89PNG")
    assert "| without_zpd |" in (out / "advantages.md").read_text(encoding="utf-8")


def test_a_prompting_agent_joins_where_there_is_an_endpoint(script: ModuleType, tmp_path: Path) -> None:
    def first(request: Request) -> Reply:
        asked = '{"profile"' in request.messages[0].content
        return Reply(json.dumps({"profile": "p", "reflection": "r"} if asked else {"reason": "r", "choice": 1}))

    out = tmp_path / "out"
    with ScriptedServer(first) as server:
        words = ["--methods", "gen_al", "--endpoint", server.url, "--model", "scripted", "--judges"]
        script.main(command(out, *words))
        asked = server.requests
        script.main(command(out, *words))
        assert server.requests == asked > 0
    assert ("default", "gen_al", "truth", "effect") in figures(out, "paths.csv")


def test_what_cannot_work_is_named_before_any_fit(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["--methods", "wishful_thinking"],
        ["--methods", "gen_al"],
        ["--data", "assist09"],
        ["--judges", "nobody"],
        ["--lengths", "0"],
    ):
        with pytest.raises(SystemExit):
            script.main(["--out", str(tmp_path / "out"), *words])
        assert words[0].lstrip("-") in capsys.readouterr().err
    with pytest.raises(SystemExit, match="long enough"):
        script.main(["--out", str(tmp_path / "out"), "--", "--data.num_learners=20", "--data.num_concepts=3"])
    assert not (tmp_path / "out").exists()
