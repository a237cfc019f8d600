"""Change the code in one place at a time, and see whether the tests notice.

    python experiments/mutation_testing.py --packages functional goals --out mutants
    python experiments/mutation_testing.py --packages functional --sample 200 --seed 0
    python experiments/mutation_testing.py --sample 100 --again

A mutant swaps a comparison or an operator for its neighbour, adds one to a number, negates a condition or takes a minus
or a `not` away. Each is met by the tests (of these packages, of tasks and metrics; doctests too) that enter the changed
function, as one run of all of them has recorded: those of its package first, the quickest first, 150 at most. Tests
that pass with a mutant let it survive.

Tests are collected once; each mutant is a process forked from there, in which the code of the changed functions is
replaced. What lets it pass there meets it once more with test files that are read again. Interrupt it when you like:
what is done is in `<out>/mutants.json`, and the same command goes on; `--again` repeats what was not killed, after
tests were added. Survivors are listed, line and change, for somebody to read: each is a test more, or a change that
changes nothing, which goes into `mutation_testing.yaml` with its reason and counts no longer.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib
import inspect
import json
import math
import multiprocessing
import os
import pkgutil
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType

import pytest
import torch
import yaml

import lpr_lightning
from lpr_lightning.cache import atomic_write

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("functional", "goals", "objectives", "simulators", "policies", "nets")
SECONDS = 60.0
"""A test that takes longer with a mutant has noticed it."""
EQUIVALENT = Path(__file__).with_suffix(".yaml")
"""Changes that change nothing, with the reason."""
SOURCES = str(PROJECT / "lpr_lightning")
FLAGS = ("-q", "-p", "no:cacheprovider", "-m", "not slow and not data")
MOST = 150
"""Tests that a mutant meets at most."""
QUICK = (*PACKAGES, "tasks", "metrics")
"""Folders of tests that train nothing for long: all others are too slow for each mutant."""
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
Change = Callable[[ast.AST], str | None]
"""Changes a node in place; what it did, or None."""


@dataclass(frozen=True)
class Mutant:
    """A change of one file: which node in the order of `ast.walk`, and what becomes of it."""

    path: Path
    node: int
    line: int
    change: str
    kind: int = 0
    inside: str = ""
    """The function or method that it lies in."""
    which: int = 1
    """The how-manieth of its line with the same change."""

    @property
    def function(self) -> str:
        """The function or method by its file, as `recorded` names it."""
        return f"/{self.path.parent.name}/{self.path.name}:{self.inside}"

    @property
    def place(self) -> str:
        """The change by the text of its line, which stays when lines before it come or go."""
        code = self.path.read_text(encoding="utf-8").splitlines()[self.line - 1].strip()
        return f"{self.path.parent.name}/{self.path.name}: {code}: {self.change}: {self.which}"

    @property
    def key(self) -> str:
        """Under this name the outcome is kept; it holds the file's content."""
        content = hashlib.sha256(self.path.read_bytes()).hexdigest()[:8]
        return f"{self.path.relative_to(PROJECT)}:{self.line}:{self.node}:{self.change}:{content}"


def compared(node: ast.AST) -> str | None:
    """Swap the first comparison for its neighbour."""
    if not isinstance(node, ast.Compare) or type(node.ops[0]) not in COMPARISONS:
        return None
    before = type(node.ops[0])
    node.ops[0] = COMPARISONS[before]()
    return f"{before.__name__} to {COMPARISONS[before].__name__}"


def calculated(node: ast.AST) -> str | None:
    """Swap an operator for its counterpart."""
    if not isinstance(node, ast.BinOp | ast.AugAssign) or type(node.op) not in OPERATORS:
        return None
    before = type(node.op)
    node.op = OPERATORS[before]()
    return f"{before.__name__} to {OPERATORS[before].__name__}"


def counted(node: ast.AST) -> str | None:
    """Add one to a number; turn a truth value round."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, bool | int | float):
        return None
    before = node.value
    node.value = (not before) if isinstance(before, bool) else before + 1
    return f"{before} to {node.value}"


def negated(node: ast.AST) -> str | None:
    """Take the other branch; join conditions the other way; take a minus or a `not` away."""
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        node.test = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
        return "other branch"
    if isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return "and to or" if isinstance(node.op, ast.Or) else "or to and"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return None  # the number is changed anyway
        before = type(node.op).__name__
        node.op = ast.UAdd()
        return f"without {before}"
    return None


CHANGES: tuple[Change, ...] = (compared, calculated, counted, negated)


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out, inside = _left_out(tree), dict(_functions_of(tree))
    seen: Counter[tuple[int, str]] = Counter()
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in left_out:
            continue
        for kind, change in enumerate(CHANGES):
            done = change(copy.copy(node) if isinstance(node, ast.Constant) else copy.deepcopy(node))
            if done is not None:
                place = int(vars(node)["lineno"]), done
                seen[place] += 1
                yield Mutant(path, number, *place, kind, inside[id(node)], seen[place])


def changed(mutant: Mutant) -> ast.Module:
    """Return the tree of a mutant's file with its change."""
    tree = ast.parse(mutant.path.read_text(encoding="utf-8"))
    CHANGES[mutant.kind](next(one for number, one in enumerate(ast.walk(tree)) if number == mutant.node))
    return ast.fix_missing_locations(tree)


def _functions_of(node: ast.AST, name: str = "") -> Iterator[tuple[int, str]]:
    """Yield every node with the qualified name of the function or method that it lies in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _functions_of(child, f"{name}{child.name}.")
        elif isinstance(child, ast.FunctionDef):
            yield from ((id(one), name + child.name) for one in ast.walk(child))


def _left_out(tree: ast.Module) -> set[int]:
    """Return the nodes that are left as they are: annotations, decorators, messages, what no function holds."""
    found: list[ast.AST] = [one for one in tree.body if not isinstance(one, ast.FunctionDef | ast.ClassDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            found += [*node.decorator_list, *([node.returns] if node.returns else [])]
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            found.append(node.annotation)
        elif isinstance(node, ast.Raise):
            found.append(node)
        elif isinstance(node, ast.ClassDef):
            found += node.decorator_list
            found += [one for one in node.body if not isinstance(one, ast.FunctionDef | ast.ClassDef)]
    return {id(one) for part in found for one in ast.walk(part)}


def replace_code(module: ModuleType, tree: ast.Module) -> None:
    """Give every function of a module, and of its classes, the code that it has in `tree`."""
    whole = compile(tree, module.__name__, "exec")
    codes = {code.co_qualname: code for code in _codes(whole)}
    defaults = dict(_defaults(tree))
    for function in _functions(module):
        code = codes.get(function.__qualname__)
        if code is not None and len(code.co_freevars) == len(function.__code__.co_freevars):
            function.__code__ = code
        for number, one in enumerate(defaults.get(function.__qualname__, ())):
            if one is not None and function.__defaults__:
                before = function.__defaults__
                function.__defaults__ = (*before[:number], one, *before[number + 1 :])


def _defaults(node: ast.AST, name: str = "") -> Iterator[tuple[str, list[object]]]:
    """Yield the defaults of every function by its qualified name; None where one is no plain value."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _defaults(child, f"{name}{child.name}.")
        elif isinstance(child, ast.FunctionDef):
            values: list[object] = [one.value if isinstance(one, ast.Constant) else None for one in child.args.defaults]
            yield f"{name}{child.name}", values


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _functions(owner: object, depth: int = 0) -> Iterator[FunctionType]:
    """Yield the functions that a module or a class of it defines, behind whatever decorator."""
    home = owner.__name__ if isinstance(owner, ModuleType) else getattr(owner, "__module__", None)
    for value in vars(owner).values():
        if isinstance(value, type) and value.__module__ == home and depth < 3:
            yield from _functions(value, depth + 1)
        parts = (value, *(getattr(value, name, None) for name in ("fget", "__func__", "__wrapped__", "func")))
        for part in parts:
            inner = inspect.unwrap(part) if callable(part) and not isinstance(part, type) else part
            for one in (part, inner):
                if isinstance(one, FunctionType) and one.__module__ == home:
                    yield one


class Recorder:
    """Notes which functions of the packages each test enters, with its fixtures, and how long it takes."""

    def __init__(self) -> None:
        self.entered: dict[str, set[str]] = {}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def around(self, item: pytest.Item) -> Iterator[None]:
        """Note what a test enters; what the fixtures of a file enter counts for the test that is run first."""
        entered = self.entered.setdefault(item.nodeid, set())

        def trace(frame: FrameType, event: str, _: object) -> None:
            path = frame.f_code.co_filename
            if path.startswith(SOURCES):
                entered.add(f"{path[len(SOURCES) :]}:{outermost(frame.f_code.co_qualname)}")

        began = time.perf_counter()
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(None)
            self.seconds[item.nodeid] = time.perf_counter() - began

    def tests(self) -> dict[str, list[str]]:
        """Return the tests that enter each function, the quickest first."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.seconds, key=lambda one: self.seconds[one]):
            for function in self.entered[name]:
                found.setdefault(function, []).append(name)
        return found


def outermost(name: str) -> str:
    """Return the function or method that a qualified name lies in.

    >>> outermost("Rows.split.<locals>.<listcomp>")
    'Rows.split'
    """
    return name.partition(".<locals>")[0]


def recorded(kept: Path, items: Sequence[pytest.Item]) -> dict[str, list[str]]:
    """Return the tests that enter each function of the packages, from `kept` where sources and tests are the same."""
    sources = sorted([*(PROJECT / "lpr_lightning").rglob("*.py"), *(PROJECT / "tests").rglob("*.py")])
    content = hashlib.sha256(b"".join(one.read_bytes() for one in sources)).hexdigest()
    if kept.is_file():
        found: dict[str, dict[str, list[str]]] = json.loads(kept.read_text(encoding="utf-8"))
        if content in found:
            return found[content]

    def write() -> bool:
        recorder = Recorder()
        passed = passes(items, recorder.around)
        with atomic_write(kept) as temporary:
            temporary.write_text(json.dumps({content: recorder.tests()}), encoding="utf-8")
        return passed

    if not forked(write, None):
        sys.exit("the tests fail without any change")
    return recorded(kept, items)


def nearest(tests: list[str], package: str) -> list[str]:
    """Return the tests that a mutant of a package meets: those of the package first, `MOST` in all."""
    return sorted(tests, key=lambda one: f"/{package}/" not in one)[:MOST]


def equivalent() -> dict[str, str]:
    """Return the reasons of the changes that change nothing, by `Mutant.place`."""
    given = yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) if EQUIVALENT.is_file() else []
    return {f"{one['file']}: {one['code']}: {one['change']}: {one.get('which', 1)}": one["reason"] for one in given}


def interval(noticed: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share.

    >>> [round(one, 3) for one in interval(90, 100)]
    [0.826, 0.945]
    """
    share, z = noticed / total, 1.96
    middle, width = share + z * z / (2 * total), z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return (middle - width) / (1 + z * z / total), (middle + width) / (1 + z * z / total)


class Failures:
    """A plugin of pytest that knows whether a test has failed."""

    def __init__(self) -> None:
        self.any = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self.any = self.any or report.failed


def passes(items: Sequence[pytest.Item], around: Callable[[pytest.Item], AbstractContextManager[None]]) -> bool:
    """Run tests that pytest has collected, each within `around`, until one fails; return whether all pass."""
    failures = Failures()
    for number, item in enumerate(items):
        manager = item.config.pluginmanager
        if not manager.is_registered(failures):
            manager.register(failures)
        later = items[number + 1] if number + 1 < len(items) else None
        with around(item):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=later)
        if failures.any:
            return False
    return True


def forked(run: Callable[[], bool], seconds: float | None = SECONDS) -> bool | None:
    """Call `run` in a forked process that says nothing; return what it returns, None where it took too long."""

    def silently() -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os._exit(0 if run() else 1)

    process = multiprocessing.get_context("fork").Process(target=silently)
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode == 0


def outcome(module: ModuleType, tree: ast.Module, items: Sequence[pytest.Item]) -> str:
    """Run the tests in a forked process on a changed module: `killed`, `survived` or `too long`."""

    def met() -> bool:
        replace_code(module, tree)
        return passes(items, lambda _: nullcontext())

    passed = forked(met)
    return "too long" if passed is None else "survived" if passed else "killed"


def chosen(package: str, sample: int | None, seed: int) -> list[Mutant]:
    """Return the mutants of a package, or so many of them drawn at random."""
    files = [one for one in sorted((PROJECT / "lpr_lightning" / package).glob("*.py")) if one.name != "__init__.py"]
    every = [mutant for path in files for mutant in mutants_of(path)]
    if sample is not None and sample < len(every):
        every = random.Random(seed).sample(every, sample)
    return sorted(every, key=lambda one: (str(one.path), one.line))


def afresh(module: ModuleType, tree: ast.Module, tests: Sequence[str]) -> str:
    """Do the same with test files that are read again: what they compute when they are read meets the change too."""

    def met() -> bool:
        replace_code(module, tree)
        for name, one in list(sys.modules.items()):
            if str(getattr(one, "__file__", "")).startswith(str(PROJECT / "tests")):
                del sys.modules[name]
        return pytest.main([f"--rootdir={PROJECT}", *tests, "-x", *FLAGS]) == 0

    passed = forked(met) if tests else True
    return "too long" if passed is None else "survived" if passed else "killed"


class Run:
    """A plugin of pytest that meets the mutants in the place of a run of the collected tests."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Meet the mutants."""
        manager = session.config.pluginmanager
        with manager.getplugin("capturemanager").global_and_fixture_disabled():
            self.meet({item.nodeid: item for item in session.items})
        return True

    def meet(self, items: Mapping[str, pytest.Item]) -> None:
        """Meet the mutants of all packages by these tests; print survivors and the table."""
        kept = self.options.out / "mutants.json"
        done: dict[str, str] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        if self.options.again:
            done = {key: found for key, found in done.items() if found == "killed"}
        reasons, tests = equivalent(), recorded(self.options.out / "tests.json", list(items.values()))
        tally: dict[str, Counter[str]] = {}
        for package in self.options.packages:
            every = chosen(package, self.options.sample, self.options.seed)
            tally[package] = Counter()
            for number, mutant in enumerate(every, 1):
                if mutant.place in reasons:
                    tally[package]["equivalent"] += 1
                    continue
                if mutant.key not in done:
                    module = importlib.import_module(f"lpr_lightning.{package}.{mutant.path.stem}")
                    tree, met = changed(mutant), nearest(tests.get(mutant.function, []), package)
                    found = outcome(module, tree, [items[one] for one in met])
                    done[mutant.key] = afresh(module, tree, met) if found == "survived" else found
                    with atomic_write(kept) as temporary:
                        temporary.write_text(json.dumps(done, indent=0), encoding="utf-8")
                tally[package][done[mutant.key]] += 1
                print(f"\r{package}: {number}/{len(every)} {dict(tally[package])}", end="", file=sys.stderr, flush=True)
                if done[mutant.key] == "survived":
                    print(f"\n{mutant.path.relative_to(PROJECT)}:{mutant.line}: {mutant.place}", flush=True)
        print(table(tally))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", nargs="+", default=PACKAGES, choices=PACKAGES)
    parser.add_argument("--out", type=Path, default=Path("mutants"))
    parser.add_argument("--sample", type=int, help="this many mutants of each package, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="repeat those that were not killed")
    options = parser.parse_args()
    options.out = options.out.resolve()
    torch.set_num_threads(1)
    for one in pkgutil.walk_packages(lpr_lightning.__path__, "lpr_lightning."):
        if not one.name.endswith("__main__"):
            importlib.import_module(one.name)
    folders = [str(PROJECT / "tests" / one) for one in QUICK] + [f"{SOURCES}/{one}" for one in PACKAGES]
    sys.exit(pytest.main([f"--rootdir={PROJECT}", *folders, *FLAGS], plugins=[Run(options)]))


def table(tally: dict[str, Counter[str]]) -> str:
    """Return the table of the packages, with the share of changes that are noticed and its 95 % interval."""
    lines = [
        "",
        "| package | mutants | change nothing | noticed | share | 95 % interval |",
        "|:--|--:|--:|--:|--:|:--|",
    ]
    for package, counts in {**tally, "all": sum(tally.values(), Counter())}.items():
        total = counts.total() - counts["equivalent"]
        noticed = total - counts["survived"]
        low, high = interval(noticed, total) if total else (0.0, 1.0)
        share = f"{noticed / max(total, 1):.2f} | {low:.2f} to {high:.2f}"
        lines.append(f"| {package} | {counts.total()} | {counts['equivalent']} | {noticed} | {share} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
