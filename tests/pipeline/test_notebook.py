"""The notebook runs from the first cell to the last, on a clone with little data and small networks."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from tiny_project import ROOT, make_clone

NOTEBOOK = ROOT / "notebooks/depthmask.ipynb"
PATIENCE_S = 1800


def read_outputs(cell) -> str:
    """What a cell printed and returned, as text."""
    return "".join(out.get("text", "") or str(out.get("data", {}).get("text/plain", "")) for out in cell.outputs)


def test_the_notebook_holds_no_results_and_installs_in_one_cell():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 5 and not any(cell.outputs or cell.execution_count for cell in code)
    (install,) = [cell for cell in code if "install" in cell.metadata.get("tags", [])]
    assert "git clone" in install.source and "pip install" in install.source and install is code[0]


@pytest.mark.slow
def test_the_notebook_trains_and_predicts_a_photo(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    clone = make_clone(tmp_path / "depthmask")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if "install" in cell.metadata.get("tags", []):
            # a clone and its packages are there; whatever is installed elsewhere, the commands are this environment's
            cell.source = f"import sys\n%cd {clone}\nsys.path.insert(0, 'workflow')"
    folders = [str(Path(sys.executable).parent), str(Path(shutil.which("dvc") or sys.executable).parent)]
    monkeypatch.setenv("PATH", os.pathsep.join([*folders, os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(clone / "workflow"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    nbclient.NotebookClient(
        notebook, timeout=PATIENCE_S, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = {cell.source.splitlines()[0].partition("  #")[0]: cell for cell in notebook.cells if cell.cell_type == "code"}
    assert "Running stage 'report'" in read_outputs(shown["!TERM=dumb dvc repro"]) and (clone / "reports/index.html").is_file()
    assert "IoU" in read_outputs(shown["!depthmask scores"])
    (picture,) = [out.data for out in shown["from pathlib import Path"].outputs if "image/jpeg" in out.get("data", {})]
    assert len(picture["image/jpeg"]) > 10_000
    (mask,) = (tmp_path / "predictions").glob("*_mask.png")
    assert mask.stat().st_size > 100
    for first in ("import depthmask", "alone = depthmask.load_shipped(background_input=False)"):
        assert "% of the photo" in read_outputs(shown[first])
