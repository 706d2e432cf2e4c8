"""The adapter's modules stand on floors: an import goes down, never up or across."""

import ast
from pathlib import Path

import pytest

ADAPTER = Path(__file__).resolve().parents[2] / "adapter"

FLOORS = [
    {"adapter.__main__"},
    {"adapter.server"},
    {"adapter.app"},
    {"adapter.apis"},
    {"adapter.apis.*", "adapter.health", "adapter.documentation", "adapter.page.site"},
    {"adapter.apis.base", "adapter.middleware", "adapter.listeners", "adapter.connections"},
    {"adapter.dots.reader", "adapter.internvl.reader"},
    {"adapter.recognizer", "adapter.vlm", "adapter.runtime", "adapter.decoding"},
    {"adapter.tritons"},
    {
        "adapter.triton",
        "adapter.documents",
        "adapter.sources",
        "adapter.pictures",
        "adapter.gate",
        "adapter.languages",
        "adapter.drawing",
        "adapter.dots.prompts",
        "adapter.dots.layout",
        "adapter.internvl.structure",
        "adapter.ordered",
    },
    {"adapter.pdf_worker", "adapter.web"},
    {"adapter.pdf_pages", "adapter.searchable_pdf", "adapter.addresses"},
    {"adapter.pdf_protocol", "adapter.labels", "adapter.pixels"},
    {"adapter.logs", "adapter.dots", "adapter.dots.geometry", "adapter.internvl", "adapter.page", "adapter.repetition"},
    {"adapter.settings", "adapter.errors", "adapter.metrics", "adapter.context", "adapter.heap"},
]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ADAPTER.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name: path for path in ADAPTER.rglob("*.py") if (name := name_of(path)) != "adapter"}


def floor_of(module: str) -> int:
    for height, modules in enumerate(reversed(FLOORS)):
        if module in modules:
            return height
    assert module.startswith("adapter.apis."), f"{module} stands on no floor: give it one in FLOORS"
    return floor_of("adapter.apis.*")


def imports_of(path: Path) -> set[str]:
    """The adapter's modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {str(node.module)}
    return {module for module in found if module in MODULES}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_floors_below(module: str) -> None:
    above = {imported for imported in imports_of(MODULES[module]) if floor_of(imported) >= floor_of(module)}
    assert not above


def test_the_check_sees_imports() -> None:
    assert {"adapter.apis", "adapter.tritons"} <= imports_of(MODULES["adapter.app"])
    assert "adapter.apis.paddleocr_service" in imports_of(MODULES["adapter.apis"])


def test_only_one_module_talks_to_triton() -> None:
    assert [name for name, path in MODULES.items() if "tritonclient" in path.read_text(encoding="utf-8")] == [
        "adapter.triton"
    ]
