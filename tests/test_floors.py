"""The architecture of kwise, as a test: which module stands on which floor, and what no module may do.

The tables below are the document. A new top-level module or package fails `test_every_module_has_a_floor`
until it is placed here on purpose.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "kwise"

# An import may only point to a lower floor. Within one package (`models/disk.py` -> `models/answer.py`) it is
# free, as long as no cycle arises.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("atomic", "checks", "nearest", "scan", "types", "seeding", "nn"),  # 0: nouns and bricks
    ("fourier",),  # 1: ground
    ("coordinates", "gridding", "operator", "coils"),  # 2: ground
    (
        "sampling",
        "simulate",
        "phantom",
        "phenotypes",
        "metrics",
        "image_metrics",
        "uncertainty",
    ),  # 3: physics and pure measures
    ("data", "models"),  # 4: never see each other
    ("tasks",),  # 5
    ("checkpoint", "training", "evaluate", "predict", "report"),  # 6: verbs
    ("recipes", "serve", "study"),  # 7: compositions
    ("cli", "__main__"),  # 8: the command line
    ("__init__",),  # 9: the twenty names a newcomer needs; nobody imports from it but the version
)

# The only imports between different neighbours of one floor: (who, whom).
SIDEWAYS = {
    ("types", "checks"),
    ("types", "scan"),
    ("scan", "checks"),
    ("operator", "gridding"),
    ("coils", "gridding"),
    ("coils", "operator"),
    ("simulate", "sampling"),
    ("phantom", "phenotypes"),  # the names of phenotypes, and the density of muscle
    ("uncertainty", "phenotypes"),
    ("training", "checkpoint"),
    ("evaluate", "checkpoint"),
    ("predict", "checkpoint"),
    ("predict", "report"),
    ("__main__", "cli"),
}

# Who may never import whom, on top of the floors, directly or through another module of kwise.
FORBIDDEN: dict[str, set[str]] = {
    "nn": {name for floor in FLOORS for name in floor} - {"nn"},
    "models": {"data", "sampling", "simulate", "phantom", "metrics", "image_metrics", "tasks"},
    "tasks": {"data", "models", "sampling", "simulate"},
    "training": {"data", "models", "simulate"},
    "evaluate": {"data", "models", "simulate"},
    "report": {"torch", "models"},
}

# Libraries that only some modules may import.
RESERVED: dict[str, set[str]] = {
    "torch.fft": {"fourier"},
    "h5py": {"data"},
    "ismrmrd": {"data", "serve"},  # serve: the stream protocol
    "nibabel": {"data"},
    "pydicom": {"data"},
    "highdicom": {"data"},
    "pyarrow": {"data"},
    "matplotlib": {"report", "viewer"},
    "jsonargparse": {"cli", "recipes"},  # recipes: typed overrides
    "argparse": {"cli"},
}

# Libraries that take seconds to import, so they may only be imported inside functions.
LAZY = ("monai", "matplotlib", "nibabel", "sklearn", "lightning", "skimage", "pandas", "highdicom", "pyarrow")

# Global random state: nobody draws from it, nobody sets it. numpy's own generator objects are allowed.
GLOBAL_RANDOM = (
    "random.",
    "numpy.random.",
    "torch.manual_seed",
    "torch.seed",
    "torch.random.",
    "torch.set_rng_state",
)
OWN_GENERATORS = ("numpy.random.default_rng", "numpy.random.Generator", "torch.random.fork_rng")
# These draw from the global state unless a generator is handed in. The first values of a model's weights are
# left to torch, as in torch.nn: nn.Parameter(torch.randn(...)). Whoever builds a model seeds it inside
# torch.random.fork_rng, which puts the global state back: only there may torch.manual_seed stand.
NEEDS_GENERATOR = ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson")

VAGUE_NAMES = {"utils", "util", "common", "helpers", "misc"}
LONGEST_FILE, LONGEST_FUNCTION = 300, 60


class Module:
    """One source file, parsed: its dotted name, its top-level name, and whatever it imports."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self.tree = ast.parse(source)

    @property
    def top(self) -> str:
        """`models` for kwise.models.unet; `__init__` for kwise itself."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    def imports(self, *, at_load: bool = False) -> Iterator[str]:
        """Dotted names of all imports, those inside functions too unless `at_load`."""
        for node in _at_load(self.tree) if at_load else ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def tops(self) -> set[str]:
        """Top-level names of kwise that this module imports."""
        found = (name.split(".") for name in self.imports())
        return {
            parts[1] for parts in found if parts[0] == "kwise" and parts[1:] and parts[1] != "__version__"
        }

    def used_names(self) -> Iterator[tuple[str, ast.AST]]:
        """Every dotted name the code mentions, import aliases resolved: np.random -> numpy.random."""
        aliases = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                aliases |= {a.asname: a.name for a in node.names if a.asname}
            elif isinstance(node, ast.ImportFrom):
                aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.Attribute, ast.Name)):
                first, dot, rest = ast.unparse(node).partition(".")
                yield aliases.get(first, first) + dot + rest, node


def _at_load(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from _at_load(node)


def _functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@cache
def read_modules() -> dict[str, Module]:
    """Every module of the library by dotted name."""
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = ("kwise", *path.relative_to(SRC).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path.read_text())
    return found


def floor_of(top: str) -> int | None:
    return next((i for i, floor in enumerate(FLOORS) if top in floor), None)


# The checks: each takes a module and returns complaints.


def climbing_imports(module: Module) -> list[str]:
    here = floor_of(module.top)
    complaints = []
    for top in sorted(module.tops() - {module.top}):
        there = floor_of(top)
        if there is None or here is None or there > here:
            complaints.append(f"{module.name} (floor {here}) imports kwise.{top} (floor {there})")
        elif there == here and (module.top, top) not in SIDEWAYS:
            complaints.append(f"{module.name} imports its neighbour kwise.{top}, not listed in SIDEWAYS")
    return complaints


def reserved_libraries(module: Module) -> list[str]:
    used = {name for name, _ in module.used_names()} | set(module.imports())
    return [
        f"{module.name} uses {library}; only {sorted(owners)} may"
        for library, owners in RESERVED.items()
        if module.top not in owners
        and any(name == library or name.startswith(library + ".") for name in used)
    ]


def eager_heavy_imports(module: Module) -> list[str]:
    return [
        f"{module.name} imports {name} when it loads; import it inside the function that needs it"
        for name in module.imports(at_load=True)
        if name.split(".")[0].split("_")[0] in LAZY
    ]


def global_random_state(module: Module) -> list[str]:
    complaints = [
        f"{module.name} imports random" for name in module.imports() if name.split(".")[0] == "random"
    ]
    restored = _inside(module, ast.With, "torch.random.fork_rng(")
    for name, node in module.used_names():
        if name.startswith(GLOBAL_RANDOM) and not name.startswith(OWN_GENERATORS) and node not in restored:
            complaints.append(f"{module.name}:{node.lineno} uses {name}")
    first_weights = _inside(module, ast.Call, "nn.Parameter(")
    for node in set(ast.walk(module.tree)) - first_weights:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            draws = ast.unparse(node.func.value) == "torch" and node.func.attr in NEEDS_GENERATOR
            if draws and "generator" not in {k.arg for k in node.keywords}:
                complaints.append(
                    f"{module.name}:{node.lineno} calls torch.{node.func.attr} without a generator"
                )
    return complaints


def _inside(module: Module, kind: type[ast.AST], opening: str) -> set[ast.AST]:
    """Every node within a `with` or a call whose code starts with `opening`."""
    blocks = (n for n in ast.walk(module.tree) if isinstance(n, kind))
    return {
        n for b in blocks if ast.unparse(b).removeprefix("with ").startswith(opening) for n in ast.walk(b)
    }


def import_style(module: Module) -> list[str]:
    complaints = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            complaints.append(f"{module.name}:{node.lineno} imports relatively")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            complaints.append(f"{module.name}:{node.lineno} imports *")
    return complaints


def sizes(module: Module) -> list[str]:
    lines = len(module.source.splitlines())
    complaints = [f"{module.name} has {lines} lines"] if lines > LONGEST_FILE else []
    for function in _functions(module):
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > LONGEST_FUNCTION:
            complaints.append(f"{module.name}.{function.name} has {length} lines")
    return complaints


def kwargs_passed_through(module: Module) -> list[str]:
    return [f"{module.name}.{f.name} takes **{f.args.kwarg.arg}" for f in _functions(module) if f.args.kwarg]


def missing_docstrings(module: Module) -> list[str]:
    complaints = [] if ast.get_docstring(module.tree) else [f"{module.name} has no docstring"]
    for node in module.tree.body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        if public and not ast.get_docstring(node):
            complaints.append(f"{module.name}.{node.name} has no docstring")
    return complaints


def vague_names(module: Module) -> list[str]:
    return [f"{module.name} is named {word}" for word in VAGUE_NAMES & set(module.name.split("."))]


CHECKS = (
    climbing_imports,
    reserved_libraries,
    eager_heavy_imports,
    global_random_state,
    import_style,
    sizes,
    kwargs_passed_through,
    missing_docstrings,
    vague_names,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_no_module_breaks(check) -> None:
    complaints = [line for module in read_modules().values() for line in check(module)]
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_module_has_a_floor() -> None:
    lost = sorted({m.top for m in read_modules().values() if floor_of(m.top) is None})
    assert not lost, f"{lost}: place each on a floor in FLOORS of tests/test_floors.py, deliberately"


def reached_from(top: str) -> set[str]:
    """Every top-level name of kwise, and every library, that loading or running `top` may import."""
    seen: set[str] = set()
    waiting = [top]
    while waiting:
        here = waiting.pop()
        seen.add(here)
        for module in read_modules().values():
            if module.top == here:
                seen |= {name.split(".")[0] for name in module.imports()} - {"kwise"}
                waiting += module.tops() - seen
    return seen


@pytest.mark.parametrize("top", FORBIDDEN)
def test_forbidden_even_through_others(top: str) -> None:
    broken = FORBIDDEN[top] & (reached_from(top) - {top})
    assert not broken, f"kwise.{top} reaches {sorted(broken)}"


def test_no_import_cycles() -> None:
    from graphlib import TopologicalSorter

    modules = read_modules()
    graph: dict[str, set[str]] = {}
    for module in modules.values():
        named = set(module.imports(at_load=True))
        targets = {n if n in modules else n.rpartition(".")[0] for n in named if n.split(".")[0] == "kwise"}
        graph[module.name] = (targets & set(modules)) - {module.name, "kwise"}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


BROKEN = {
    climbing_imports: ("kwise.models.x", "def f():\n    from kwise.tasks import TASKS\n"),
    reserved_libraries: ("kwise.operator", "import torch\ny = torch.fft.fft(x)\n"),
    eager_heavy_imports: ("kwise.models.x", "from monai.networks.nets import DynUNet\n"),
    global_random_state: ("kwise.simulate", "import numpy as np\nx = np.random.rand(3)\n"),
    import_style: ("kwise.models.x", "from .y import z\n"),
    sizes: ("kwise.simulate", "x = 1\n" * 301),
    kwargs_passed_through: ("kwise.simulate", "def f(**options):\n    return g(**options)\n"),
    missing_docstrings: ("kwise.simulate", "x = 1\n"),
    vague_names: ("kwise.data.utils", ""),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_each_check_catches_its_example(check) -> None:
    assert check(Module(*BROKEN[check]))


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.manual_seed(0)",
        "import torch\nx = torch.randn(3)",
        "import random",
        "from torch import manual_seed\nmanual_seed(1)",
        "from numpy.random import rand\nrand(2)",
    ],
)
def test_global_random_state_is_seen(source: str) -> None:
    assert global_random_state(Module("kwise.simulate", source))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nr = np.random.default_rng(3)",
        "import torch\nx = torch.randn(3, generator=g)",
        "import torch\nw = nn.Parameter(torch.randn(3) * 0.02)",
        "import torch\nwith torch.random.fork_rng(devices=[]):\n    torch.manual_seed(3)\n    m = build()",
    ],
)
def test_own_generators_are_allowed(source: str) -> None:
    assert not global_random_state(Module("kwise.simulate", source))
