"""The notebooks under docs/ run from the first cell to the last and say what their text says they say.

`python tests/test_notebooks.py` runs them and writes their outputs anew.
"""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import chainrule

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"

# What must stand in the outputs: in those of a fresh run, and in those that are kept in the file.
SAYS = {
    "backpropagation-by-hand": [
        "right\ndW1, db1, dW2 and db2 right, relative error at most ",
        "ratio 50 = batch size everywhere: 1/N is missing",
        "def network(W1, b1, W2, b2, x, t):",
        "cross-entropy of softmax: y − t",
        "all 12,730 numbers agree with ours within 1e-12: True",
        "dW1, db1, dW2, db2 and dx right",
        "<math",
        "<svg",
        "step 200: loss 0.0",
    ],
    "find-the-bug": [
        "right\ndW and db right",
        "ratio 50 = batch size everywhere: 1/N is missing",
        "wrong: 2 of 4 gradients.\ndW1 wrong",
        "is missing.",
        "right\ndW1, db1, dW2 and db2 right",
        "failed   no sample depends on its neighbours",
        "passed - permuted",
    ],
    "from-numpy-to-a-trained-model": [
        "50,890 parameters, float32",
        "History(after epoch 8: train_loss 0.0",
        "true \\ taken for",
        "image/png",
        "the same outputs, to the bit: True",
        "def step(x, t, W1, b1, W2, b2, lr=0.2):",
        "# update: gradient descent",
        "by the program 9",
    ],
}


def read(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def executed(notebook, folder):
    """The notebook with fresh outputs, from a Python of its own that starts in the folder."""
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # or prints would be cut where the kernel happened to flush
        resources={"metadata": {"path": str(folder)}},
    )
    # One thread, so that sums have the same bits everywhere and tests beside this one their core; nobody's own start-up
    # files; and the chainrule that is tested here.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = {"IPYTHONDIR": str(folder), "PYTHONPATH": str(Path(chainrule.__file__).resolve().parents[1])}
    return client.execute(env={**os.environ, **threads, **paths})


def texts(notebook):
    """All that stands in the outputs, with the names of their kinds."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found.append(output.get("text", ""))
            for kind, content in output.get("data", {}).items():
                found += [kind, str(content)]
    return "\n".join(found)


def test_all_notebooks_are_tried():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SAYS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAYS)
def test_a_notebook_runs_and_says_what_it_should(name, tmp_path):
    said = texts(executed(read(name), tmp_path))  # a cell that raises ends it here, with the cell and the traceback
    assert [words for words in SAYS[name] if words not in said] == []


@pytest.mark.parametrize("name", SAYS)
def test_the_outputs_that_are_kept_say_the_same(name):
    kept = texts(read(name))
    assert [words for words in SAYS[name] if words not in kept] == []


@pytest.mark.parametrize("name", SAYS)
def test_a_notebook_is_kept_small_and_without_traces_of_a_machine(name):
    notebook = read(name)
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < 200_000
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert all(cell.metadata == {} for cell in notebook.cells)


def write_outputs():
    from tempfile import TemporaryDirectory

    for name in SAYS:
        notebook = read(name)
        metadata = notebook.metadata.copy()
        with TemporaryDirectory() as folder:
            notebook = executed(notebook, folder)
        notebook.metadata = metadata
        nbformat.write(notebook, NOTEBOOKS / f"{name}.ipynb")


if __name__ == "__main__":
    write_outputs()
