"""Laws of the package as a whole: who may import whom, what an import may cost, how errors end."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = "gan3d_ns"
REPOSITORY = Path(__file__).parent.parent

# What each room may import of the package, beside itself and `errors`. The main line runs
# field_components -> fields -> model_components -> models -> pipelines -> engine -> method_configs.
RENDERING = {"cameras", "field_components", "fields", "model_components"}
MAY_IMPORT: dict[str, set[str]] = {
    "": set(),
    "cameras": set(),
    "data": {"cameras"},
    "discriminators": {"field_components"},
    "field_components": set(),
    "fields": {"field_components"},
    "model_components": RENDERING - {"model_components"},
    "models": RENDERING | {"viewer"},
    "viewer": RENDERING | {"models"},
    "exporter": RENDERING | {"data", "models"},
    "metrics": RENDERING | {"data", "exporter", "models"},
    "pipelines": RENDERING | {"data", "discriminators", "exporter", "metrics", "models", "viewer"},
    "engine": RENDERING | {"data", "discriminators", "exporter", "metrics", "models", "pipelines", "viewer"},
}
MAY_IMPORT["scripts"] = set(MAY_IMPORT) - {""}
MAY_IMPORT["method_configs"] = set(MAY_IMPORT) - {"", "scripts", "exporter"}


def package_folder(name: str) -> Path:
    """Return the folder that Python imports package `name` from, wherever the installation put it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def source_files() -> Iterator[tuple[str, Path]]:
    """Yield (dotted module name, file) for each module of the installed package."""
    folders = {PACKAGE: package_folder(PACKAGE)}
    # In an editable installation method_configs lies beside the package.
    folders[f"{PACKAGE}.method_configs"] = package_folder(f"{PACKAGE}.method_configs")
    seen = set()
    for prefix, folder in folders.items():
        for file in sorted(folder.rglob("*.py")):
            parts = [prefix, *file.relative_to(folder).with_suffix("").parts]
            name = ".".join(parts).removesuffix(".__init__")
            if name not in seen:
                seen.add(name)
                yield name, file


MODULES = dict(source_files())


def room_of(module: str) -> str:
    """Return the room of a dotted module name; the package's own top-level modules live in room ""."""
    parts = module.split(".")
    if len(parts) > 1 and (module in MODULES) and (len(parts) > 2 or MODULES[module].name == "__init__.py"):
        return parts[1]
    return ""


def imported_modules(name: str, file: Path) -> Iterator[tuple[str, int]]:
    """Yield (dotted module of this package, line number) for each import statement in `file`."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, base] if base else anchor)
            # `from package import module` imports the module.
            found = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names]
        else:
            continue
        for module in found:
            if module == PACKAGE or module.startswith(f"{PACKAGE}."):
                yield module, node.lineno


def test_every_room_has_a_rule() -> None:
    rooms = {room_of(module) for module in MODULES}
    assert rooms <= set(MAY_IMPORT), f"rooms without a rule: {sorted(rooms - set(MAY_IMPORT))}"


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name: str) -> None:
    room = room_of(name)
    forbidden = [
        f"line {line}: {module}"
        for module, line in imported_modules(name, MODULES[name])
        if room_of(module) not in MAY_IMPORT[room] | {room, ""}
    ]
    assert not forbidden, f"{name} (room {room!r}) imports {forbidden}; it may use {sorted(MAY_IMPORT[room])}"


def test_nothing_imports_method_configs() -> None:
    importers = [
        f"{name}:{line}"
        for name, file in MODULES.items()
        if room_of(name) != "method_configs"
        for module, line in imported_modules(name, file)
        if module.startswith(f"{PACKAGE}.method_configs")
    ]
    assert not importers


def test_rooms_form_no_cycle() -> None:
    uses: dict[str, set[str]] = {}
    for name, file in MODULES.items():
        used = {room_of(module) for module, _ in imported_modules(name, file)}
        uses.setdefault(room_of(name), set()).update(used - {room_of(name), ""})
    while uses:
        leaves = {room for room, used in uses.items() if not used & set(uses)}
        assert leaves, f"a cycle of rooms among {uses}"
        uses = {room: used for room, used in uses.items() if room not in leaves}


def bound_names(tree: ast.AST) -> set[str]:
    """Every name that a module binds anywhere."""
    names = {"__file__", "__name__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


@pytest.mark.parametrize("name", MODULES)
def test_every_name_is_bound(name: str) -> None:
    """ruff and pyright cannot look for this here: they take jaxtyping's shapes, which are strings, for names."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    known = bound_names(tree) | set(dir(builtins))
    loose = [
        f"line {node.lineno}: {node.id}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id not in known
    ]
    assert not loose, f"{name} uses names that it never binds: {loose}"


def test_nothing_calls_cuda() -> None:
    calls = [
        f"{name}:{node.lineno}"
        for name, file in MODULES.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
    ]
    assert not calls, f"tensors follow their inputs, use .to(device): {calls}"


def test_every_room_is_installed() -> None:
    """A room missing from the list in pyproject.toml would be missing from the wheel."""
    pyproject = REPOSITORY / "pyproject.toml"
    listed = set(tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    rooms = {f"{PACKAGE}.{file.parent.name}" for file in (REPOSITORY / PACKAGE).glob("*/__init__.py")}
    assert listed == rooms | {PACKAGE, f"{PACKAGE}.method_configs"}


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300)


def test_the_package_itself_is_light() -> None:
    result = run_python("import sys, gan3d_ns; print(*sys.modules)")
    assert result.returncode == 0, result.stderr
    assert not {"torch", "numpy", "nerfstudio", "viser"} & set(result.stdout.split())


# nerfstudio's own import loads every plugin; without their entry points it is the bare host to compare with.
IMPORT_COST = """
import gc, importlib.metadata, json, sys, time
entry_points = importlib.metadata.entry_points
def without_plugins(**query):
    if query.get("group", "").startswith("nerfstudio."):
        return importlib.metadata.EntryPoints(())
    return entry_points(**query)
importlib.metadata.entry_points = without_plugins
import nerfstudio.configs.method_configs
before = set(sys.modules)
assert not any(name.startswith("gan3d_ns.") for name in before)
gc.freeze()  # a collection may fall into this time, which should not walk nerfstudio's objects
start = time.process_time()
import gan3d_ns.method_configs.gof
seconds = time.process_time() - start
import torch
print(json.dumps({"seconds": seconds, "cuda": torch.cuda.is_initialized(), "new": sorted(set(sys.modules) - before)}))
"""


def test_registering_the_methods_is_light() -> None:
    """The methods cost under 0.3 s of CPU beyond nerfstudio itself and touch nothing compiled for a GPU.

    The best of three fresh interpreters counts: the first may be writing bytecode.
    """
    report = {}
    for _ in range(3):
        result = run_python(IMPORT_COST)
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout.splitlines()[-1])
        if report["seconds"] < 0.3:
            break
    compiled = ("tinycudann", "gsplat", "nerfacc", "torch.utils.cpp_extension")
    assert not [name for name in report["new"] if name.startswith(compiled)]
    assert not report["cuda"], "importing a method initialised CUDA"
    assert report["seconds"] < 0.3
