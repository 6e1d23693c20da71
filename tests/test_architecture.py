"""The rules of docs/architecture.md that the code itself can be asked about."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import autoseg

PACKAGE = Path(autoseg.__file__).parent
ROOMS = [
    "version", "words", "errors", "processes", "files", "locks", "json_file", "sheet", "digests", "machine",
    "hands", "pool", "parts", "part_notes", "labels", "plan", "settings", "report_folder", "run", "timings",
    "imaging", "dataset", "metrics", "flags", "notations", "options", "figures", "network", "cluster_members",
    "cluster", "planning", "phantom", "data", "inference", "training", "evaluation", "report", "steps", "cli",
    "__main__",
]  # fmt: skip
DOORS = {
    "SimpleITK": "imaging",
    "matplotlib": "figures",
    "batchgenerators": "data",
    "skimage": "figures",  # and metrics, which take skeletons
    "pydicom": "imaging",  # and where an object is written with it
    "highdicom": "inference",
    "distributed": "cluster",
    "contourpy": "inference",
    "onnx": "inference",
    "onnxruntime": "inference",
}
ALSO = {("inference/outputs/rtstruct.py", "pydicom"), ("metrics/cldice.py", "skimage")}
MODULES = sorted(file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py") if file.name != "__init__.py")
each_module = pytest.mark.parametrize("module", MODULES)


def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    """Return the room of a file, "data/cache.py" -> "data"."""
    return module.split("/")[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of every import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node that runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from outside_functions(node)


def test_every_room_is_in_the_order_and_the_order_names_no_other() -> None:
    assert {room_of(module) for module in MODULES} == set(ROOMS)


def test_every_room_is_installed_and_what_it_needs_beside_its_modules() -> None:
    setup = configparser.ConfigParser()
    setup.read(PACKAGE.parent / "setup.cfg", encoding="utf-8")
    folders = {
        "autoseg",
        *(".".join(file.parent.relative_to(PACKAGE.parent).parts) for file in PACKAGE.glob("*/**/__init__.py")),
    }
    assert {*setup["options"]["packages"].split()} - {"autoseg_plans"} == folders
    shipped = dict(setup["options.package_data"])
    for file in (f for f in PACKAGE.rglob("*") if f.is_file() and f.suffix not in (".py", ".pyc")):
        folder = next(parent for parent in file.parents if (parent / "__init__.py").is_file())
        room = ".".join(folder.relative_to(PACKAGE.parent).parts)
        inside = file.relative_to(folder)
        assert any(inside.match(pattern.strip()) for pattern in shipped[room].split(",")), file


@each_module
def test_a_module_imports_only_from_rooms_before_its_own(module: str) -> None:
    own = ROOMS.index(room_of(module))
    rooms = {name.split(".")[1] for name in imports(tree_of(module)) if name.startswith("autoseg.")}
    assert {room for room in rooms if ROOMS.index(room) > own} == set()


@each_module
def test_a_heavy_library_has_one_door(module: str) -> None:
    heavy = {name.split(".")[0] for name in imports(tree_of(module))} & set(DOORS)
    wrong = {library for library in heavy if DOORS[library] != room_of(module)}
    assert {library for library in wrong if (module, library) not in ALSO} == set()


@each_module
def test_simpleitk_is_imported_inside_functions(module: str) -> None:
    found = [node for node in outside_functions(tree_of(module)) if isinstance(node, ast.Import | ast.ImportFrom)]
    at_import = [name for node in found for name in imports(node)]
    assert not [name for name in at_import if name.startswith("SimpleITK")]


@each_module
def test_only_the_command_line_prints_and_one_module_reads_the_environment(module: str) -> None:
    names = [node.id for node in ast.walk(tree_of(module)) if isinstance(node, ast.Name)]
    attributes = [node.attr for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute)]
    assert room_of(module) == "cli" or "print" not in names
    assert module == "machine.py" or {"environ", "environb", "getenv", "putenv"}.isdisjoint([*names, *attributes])


@each_module
def test_what_must_hold_is_raised_not_asserted(module: str) -> None:
    assert not [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.Assert)]


@each_module
def test_nothing_is_unpickled(module: str) -> None:
    tree = tree_of(module)
    assert not {name.split(".")[0] for name in imports(tree)} & {"pickle", "dill", "shelve", "joblib", "marshal"}
    loads = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load"]
    assert all("allow_pickle=False" in ast.unparse(call) for call in loads)
    assert "torch.load" not in ast.unparse(tree)


@each_module
def test_no_file_is_much_longer_than_300_lines(module: str) -> None:
    lines = len((PACKAGE / module).read_text(encoding="utf-8").splitlines())
    assert lines <= (400 if module == "cli/app.py" else 310)


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("autoseg.training.loop", ["SimpleITK"]),  # a cached run is trained where SimpleITK is not installed
        # --help answers at once
        ("autoseg.cli.app", ["torch", "numpy", "SimpleITK", "matplotlib", "pandas", "skimage"]),
        ("autoseg.steps.predict", ["matplotlib", "skimage"]),  # but for a preview
        ("autoseg.imaging.volumes", ["torch", "SimpleITK"]),  # so that worker processes start fast
    ],
)
def test_importing_a_module_does_not_import(module: str, unwanted: list[str]) -> None:
    code = f"import sys, {module}; print(*(name for name in {unwanted} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_architecture_tells_of_every_room_in_their_order_and_of_no_file_that_is_not_there() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("| room |") :]
    told = [name for name in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) if name in ROOMS]
    assert told == [room for room in ROOMS if room != "__main__"]
    files = re.findall(r"`((?:autoseg|tests|docs)/[\w./]+)`", text)
    assert [name for name in files if not (PACKAGE.parent / name).exists()] == []


def test_the_architecture_lists_every_module_with_its_first_line(request: pytest.FixtureRequest) -> None:
    page = PACKAGE.parent / "docs" / "architecture.md"
    text = page.read_text(encoding="utf-8")
    start, end = "<!-- modules -->\n", "<!-- end of modules -->"
    lines = []
    for module in sorted(MODULES, key=lambda module: (ROOMS.index(room_of(module)), module)):
        first = (ast.get_docstring(tree_of(module)) or "").split("\n")[0]
        lines.append(f"- `{module}`: {first}\n")
    listed = text[: text.index(start) + len(start)] + "".join(lines) + text[text.index(end) :]
    if request.config.getoption("--rewrite-docs"):
        page.write_text(listed, encoding="utf-8")
    assert listed == page.read_text(encoding="utf-8")
