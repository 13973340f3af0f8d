"""The rules that the code keeps about itself, where no linter does."""

import ast
import sys
from collections.abc import Callable
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "receiver"
MODULES = {path.relative_to(PACKAGE.parent).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
CORE = {name: path for name, path in MODULES.items() if name.startswith("receiver/core/")}

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
