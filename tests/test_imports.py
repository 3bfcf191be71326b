"""Data flows one way: a package imports only what stands before it, at the top of a module or inside a function."""

import ast
from pathlib import Path

import breakascene

ROOT = Path(breakascene.__file__).parent
ORDER = (
    "errors", "files", "paths", "hub", "data", "rendering", "provenance", "segmentation", "models", "toybox",
    "training", "generation", "exporting", "evaluation", "pilot", "toybox.pretraining", "studio", "cli", "__main__",
    "__init__",
)  # fmt: skip


def package_of(module: str) -> str:
    """The entry of ORDER that a dotted module below breakascene belongs to."""
    return max((name for name in ORDER if module == name or module.startswith(f"{name}.")), key=len)


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules below breakascene that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    below = {name.removeprefix("breakascene.") for name in names if name.startswith("breakascene.")}
    return below & known


def test_no_package_imports_one_that_stands_after_it():
    files = modules()
    wrong = [
        f"{module} imports {other}"
        for module, path in files.items()
        for other in imports(path, set(files))
        if ORDER.index(package_of(other)) > ORDER.index(package_of(module))
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_there_are_no_import_cycles():
    files = modules()
    graph = {module: imports(path, set(files)) - {module} for module, path in files.items()}
    done, path = set(), []

    def visit(module):
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for other in sorted(graph[module]):
                if not module.startswith(f"{other}."):  # a package's own __init__ is not a dependency of its modules
                    visit(other)
            done.add(path.pop())

    for module in sorted(graph):
        visit(module)


def test_every_module_has_a_place_in_the_order():
    assert all(any(module == name or module.startswith(f"{name}.") for name in ORDER) for module in modules())
