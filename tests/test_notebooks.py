"""Notebooks are stories: sizes first, then imports, calls, pictures and prose, committed as they ran.

That they still run is checked by `make test`, which executes them.
"""

import ast
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def parsed(cell: nbformat.NotebookNode) -> ast.Module:
    lines = [line for line in cell.source.split("\n") if not line.startswith("%")]
    return ast.parse("\n".join(lines))


def test_the_story_and_those_of_the_theory_and_of_the_studies_are_there():
    assert {path.name[:2] for path in NOTEBOOKS} >= {"00", "01", "02", "03", "04", "05", "06", "07", "08"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_first_cell_holds_sizes(path: Path):
    statements = parsed(code_cells(path)[0]).body
    assert statements
    assert all(isinstance(line, ast.Assign) and line.targets[0].id.isupper() for line in statements)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_no_function_is_longer_than_five_lines_and_no_class_is_defined(path: Path):
    for cell in code_cells(path):
        for node in ast.walk(parsed(cell)):
            assert not isinstance(node, ast.ClassDef)
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno + 1 <= 5, node.name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_claims_are_asserted(path: Path):
    assert any(isinstance(node, ast.Assert) for cell in code_cells(path) for node in ast.walk(parsed(cell)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_committed_as_it_ran_from_top_to_bottom_without_a_complaint(path: Path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not [output for output in outputs if "FAILS" in output.get("data", {}).get("text/markdown", "")]
