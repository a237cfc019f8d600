"""Change the code in one place at a time, and see whether the tests notice.

    python experiments/mutation_testing.py --packages functional goals --out mutants
    python experiments/mutation_testing.py --packages functional --sample 200 --seed 0

A mutant swaps a comparison or an operator for its neighbour, adds one to a number, negates a condition or takes a minus
or a `not` away. Each is met by the doctests of its file and by the tests of its name (`tests/functional/test_zpd.py`
for `functional/zpd.py`), else by all tests of its package. Tests that pass with a mutant let it survive.

Everything is imported once; each mutant is a process forked from there, in which the code of the changed functions is
replaced. Interrupt it when you like: what is done is in `<out>/mutants.json`, and the same command goes on. Survivors
are listed, line and change, for somebody to read: each is a test more, or a change that changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib
import inspect
import json
import multiprocessing
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest
import torch

from lpr_lightning.cache import atomic_write

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("functional", "goals", "objectives", "simulators", "policies", "nets")
SECONDS = 60.0
"""A test that takes longer with a mutant has noticed it."""
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


def mutants_of(path: Path) -> Iterator[tuple[Mutant, ast.Module]]:
    """Yield every mutant of a file, with its tree."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = _left_out(tree)
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in left_out:
            continue
        for change in CHANGES:
            if change(copy.copy(node) if isinstance(node, ast.Constant) else copy.deepcopy(node)) is None:
                continue
            changed = copy.deepcopy(tree)
            target = next(one for place, one in enumerate(ast.walk(changed)) if place == number)
            done = change(target)
            yield Mutant(path, number, int(vars(target)["lineno"]), str(done)), ast.fix_missing_locations(changed)


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


def tests_of(path: Path) -> list[str]:
    """Return the file itself, for its doctests, and the tests that have its name, else those of its package."""
    folder = PROJECT / "tests" / path.parent.name
    named = [one for one in (folder / f"test_{path.stem}.py", folder / f"test_{path.stem}_net.py") if one.is_file()]
    return [str(path), *map(str, named or sorted(folder.glob("test_*.py")))]


def outcome(module: ModuleType, tree: ast.Module | None, tests: list[str]) -> str:
    """Run the tests in a forked process on a changed module: `killed`, `survived` or `too long`."""

    def met() -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if tree is not None:
            replace_code(module, tree)
        with Path(os.devnull).open("w", encoding="utf-8") as silent:
            sys.stdout = sys.stderr = silent
            os._exit(int(pytest.main([*tests, "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not data"])))

    process = multiprocessing.get_context("fork").Process(target=met)
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        return "too long"
    return "survived" if process.exitcode in (0, pytest.ExitCode.NO_TESTS_COLLECTED) else "killed"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", nargs="+", default=PACKAGES, choices=PACKAGES)
    parser.add_argument("--out", type=Path, default=Path("mutants"))
    parser.add_argument("--sample", type=int, help="this many mutants of each package, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = options.out / "mutants.json"
    done: dict[str, str] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    tally: dict[str, Counter[str]] = {}
    for package in options.packages:
        files = [one for one in sorted((PROJECT / "lpr_lightning" / package).glob("*.py")) if one.name != "__init__.py"]
        every = [(mutant, tree) for path in files for mutant, tree in mutants_of(path)]
        if options.sample is not None and options.sample < len(every):
            every = random.Random(options.seed).sample(every, options.sample)
        tally[package] = Counter()
        sound: set[Path] = set()
        for number, (mutant, tree) in enumerate(sorted(every, key=lambda one: (str(one[0].path), one[0].line)), 1):
            module = importlib.import_module(f"lpr_lightning.{package}.{mutant.path.stem}")
            tests = tests_of(mutant.path)
            if mutant.path not in sound and mutant.key not in done:
                if outcome(module, None, tests) != "survived":
                    sys.exit(f"the tests of {mutant.path.name} fail without any change")
                sound.add(mutant.path)
            if mutant.key not in done:
                done[mutant.key] = outcome(module, tree, tests)
                with atomic_write(kept) as temporary:
                    temporary.write_text(json.dumps(done, indent=0), encoding="utf-8")
            tally[package][done[mutant.key]] += 1
            print(f"\r{package}: {number}/{len(every)} {dict(tally[package])}", end="", file=sys.stderr, flush=True)
            if done[mutant.key] == "survived":
                print(f"\n{mutant.path.relative_to(PROJECT)}:{mutant.line}: {mutant.change}", flush=True)
    print("\n| package | mutants | noticed | share |\n|:--|--:|--:|--:|")
    for package, counts in tally.items():
        total = counts.total()
        print(f"| {package} | {total} | {total - counts['survived']} | {1 - counts['survived'] / max(total, 1):.2f} |")


if __name__ == "__main__":
    main()
