"""The rules that the code keeps about itself, where no linter does."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "receiver").rglob("*.py"))}
CORE = {name: path for name, path in MODULES.items() if name.startswith("receiver/core/")}
TESTS = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "tests").rglob("*.py"))}

PRIVATE = re.compile(r"([a-z]+[.])*_[A-Za-z]\w*")
"""A private name, or the dotted path to one, as ``monkeypatch.setattr`` takes it."""
OF_NAMED_TUPLES = {"_asdict", "_fields", "_replace"}
"""Methods of named tuples, which are public in spite of their underscore."""
PATCHES = {"setattr", "delattr", "getattr", "patch", "object"}
"""The last word of a call that replaces or reads an attribute by its name."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def imports_of(path: Path) -> set[str]:
    """The full name of every module that is imported, wherever in the file; a relative one begins with a dot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def functions_where(broken: Callable[[Function], bool]) -> list[str]:
    return [
        f"{name}: {node.name}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, Function) and broken(node)
    ]


def test_the_rules_look_at_the_package() -> None:
    assert "receiver/core/status.py" in CORE
    assert len(MODULES) > len(CORE) > 3


def test_the_core_imports_the_standard_library_only_and_nothing_that_reads_or_writes() -> None:
    forbidden = {"asyncio", "http", "io", "logging", "os", "pathlib", "socket", "sqlite3", "subprocess", "urllib"}
    allowed = sys.stdlib_module_names - forbidden
    imported = {(name, module) for name, path in CORE.items() for module in imports_of(path)}

    assert {
        (name, module)
        for name, module in imported
        if module.partition(".")[0] not in allowed and not module.startswith("receiver.core.")
    } == set()


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name for name, path in MODULES.items() if text_of(path) and not ast.get_docstring(ast.parse(text_of(path)))
    ]

    assert silent == []


def test_every_function_is_annotated() -> None:
    def is_bare(node: Function) -> bool:
        named = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        bare = {each.arg for each in named if each.annotation is None}
        return node.returns is None or not bare <= {"self", "cls"}

    assert functions_where(is_bare) == []


def private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and text of every private name of somebody else's that is imported, read, replaced or parametrised."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=name):
                names = {name} - OF_NAMED_TUPLES
            case ast.ImportFrom(names=imported):
                names = {alias.name for alias in imported}
            case ast.Constant(value=str(name)) if name.startswith("receiver."):
                names = {name}
            case ast.Tuple(elts=[ast.Name(), ast.Constant(value=str(name))]):
                names = {name}
            case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called), args=arguments) if called in PATCHES:
                names = {
                    each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)
                }
            case _:
                continue
        yield from ((node.lineno, name) for name in names if PRIVATE.fullmatch(name) and not name.endswith("__"))


def test_tests_use_public_names_only() -> None:
    """A private name may change whenever behaviour does not."""
    found = [
        f"{file}:{line}: {name}"
        for file, path in TESTS.items()
        for line, name in private_names(ast.parse(text_of(path)))
    ]

    assert found == []


@pytest.mark.parametrize(
    "statement",
    [
        "store._rows(session)",
        "from receiver.events.store import _rows",
        "monkeypatch.setattr(store, '_rows', None)",
        "monkeypatch.setattr('receiver.events.store._rows', None)",
        "mock.patch('receiver.events.store._rows')",
        "mock.patch.object(store, '_rows')",
        "getattr(store, '_rows')",
        "parametrize('broken', [(store, '_rows')])",
        "parametrize('broken', ['receiver.events.store._rows'])",
    ],
)
def test_the_rule_of_public_names_sees_every_way_to_a_private_one(statement: str) -> None:
    assert len({line for line, _ in private_names(ast.parse(statement))}) == 1


@pytest.mark.parametrize("statement", ["self._rows", "row._replace(text='')", "receiver.__file__", "{'_rows': 1}"])
def test_the_rule_of_public_names_leaves_others_alone(statement: str) -> None:
    assert list(private_names(ast.parse(statement))) == []


def test_nobody_imports_from_a_conftest() -> None:
    """Fixtures are requested by name; whatever is imported stands in tests/support."""
    imported = re.compile(r"^\s*(from|import)\b.*\bconftest\b", re.MULTILINE)

    assert [name for name, path in TESTS.items() if imported.search(text_of(path))] == []
