"""The glossary docs/shapes.md has every name of an axis."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ANNOTATION = re.compile(r'\b(?:Float|Int|Bool)(?:32)?\[(?:Tensor|(?:np\.)?ndarray), "([^"]*)"\]')


def axes(text):
    """Every axis in the text's annotations."""
    return {axis for shape in ANNOTATION.findall(text) for axis in shape.split()}


def glossary():
    text = (ROOT / "docs" / "shapes.md").read_text()
    letters = re.findall(r"^\| (\w+) \|", text, re.MULTILINE)
    return {*letters, *re.findall(r"`([*\w.+]+)`", text)} - {"letter"}


def test_every_axis_is_in_the_glossary():
    used = {axis: path.name for path in (ROOT / "taskclust").rglob("*.py") for axis in axes(path.read_text())}

    assert len(used) > 15
    assert {axis: name for axis, name in used.items() if axis not in glossary()} == {}


def test_an_axis_that_is_not_in_the_glossary_would_be_seen():
    assert axes('def f(x: Float[Tensor, "N Z"]) -> Int[np.ndarray, " N"]: ...') - glossary() == {"Z"}
