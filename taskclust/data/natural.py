"""The natural-language setting: tasks in three categories, each in 50 expressions (§3.4, Appendix D, Table 9).

The expressions and word pairs in ``natural/*.json`` were written for this project to the paper's brief ("Rewrite 50
different expressions of ..."); every input and output is one word. Tasks of one category share the task identity; the
expressions of one description are one distribution.
"""

import json
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from taskclust.config import ConfigError, require

#: Table 9's categories, in its order.
CATEGORIES = ("Translation", "Linguistic", "Knowledge")


#: The placeholders of a template.
_PLACES = re.compile(r"\{instruction\}|\{input\}")


@dataclass(frozen=True, slots=True)
class NaturalTask:
    """A row of Table 9 with its expressions and its mappings."""

    category: str
    name: str
    description: str
    expressions: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One instance for a language model: the text up to its input word, and its identities."""

    instruction: str
    input: str
    output: str
    task: str  # the category
    distribution: str  # the task of Table 9, whose description seeded the expression
    #: how instruction and input are joined, e.g. "Q: {instruction} {input}"; None: by a space
    template: str | None = None

    @property
    def text(self) -> str:
        """The text that the model reads; the state of its last token is the prompt's state."""
        if self.template is not None:
            values = {"{instruction}": self.instruction, "{input}": self.input}
            return _PLACES.sub(lambda place: values[place[0]], self.template)
        between = "" if self.instruction[-1:].isspace() else " "
        return f"{self.instruction}{between}{self.input}"


def natural_tasks() -> tuple[NaturalTask, ...]:
    """The project's 16 tasks."""
    folder = files("taskclust.data") / "natural"
    found = [json.loads((folder / f"{category.lower()}.json").read_text("utf-8")) for category in CATEGORIES]
    return tuple(
        NaturalTask(
            category=part["category"],
            name=task["task"],
            description=task["description"],
            expressions=tuple(task["expressions"]),
            pairs=tuple((x, y) for x, y in task["pairs"].items()),
        )
        for part in found
        for task in part["tasks"]
    )


def prompts(tasks: Sequence[NaturalTask], n_expressions: int = 50, n_pairs: int = 10) -> list[Prompt]:
    """Every expression with every mapping: 16 x 50 x 10 = 8,000 prompts by default (Table 3 says 8,800).

    Args:
        tasks: the tasks.
        n_expressions: the first so many expressions of each task.
        n_pairs: the first so many mappings of each task.

    Raises:
        ConfigError: a task has fewer.
    """
    for task in tasks:
        for name, wanted, there in (
            ("n_expressions", n_expressions, len(task.expressions)),
            ("n_pairs", n_pairs, len(task.pairs)),
        ):
            require(1 <= wanted <= there, name, wanted, f"{task.name} has {there}; use 1 to {there}")
    return [
        Prompt(expression, x, y, task.category, task.name, _papers(expression))
        for task in tasks
        for expression in task.expressions[:n_expressions]
        for x, y in task.pairs[:n_pairs]
    ]


def _papers(instruction: str) -> str:
    """The paper's template, as in "given a location, state its continent. New York"."""
    return "{instruction} {input}" if instruction.endswith((".", "?", "!", ":")) else "{instruction}. {input}"


def read_pairs(folder: Path) -> dict[tuple[str, str], tuple[tuple[str, str], ...]]:
    """Word pairs from files like ``translation/en_fr.json``, each ``{input: output}``; only single words are kept.

    Returns:
        The pairs by (folder name, file name without its extension).

    Raises:
        ConfigError: ``folder`` has no such file, or a file is not a flat mapping of strings.
    """
    paths = sorted(Path(folder).glob("*/*.json"))
    require(bool(paths), "folder", str(folder), "it holds no <category>/<task>.json")
    return {(path.parent.name, path.stem): _pairs(path) for path in paths}


def _pairs(path: Path) -> tuple[tuple[str, str], ...]:
    try:
        content = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=_each_once)
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}); write {{input: output}}") from error
    if not isinstance(content, dict) or not all(isinstance(y, str) for y in content.values()):
        raise ConfigError(f"{path}: not a mapping of strings to strings; write {{input: output}}")
    words = tuple((x, y) for x, y in content.items() if len(x.split()) == len(y.split()) == 1)
    require(bool(words), "pairs", str(path), "no pair has two single words; leave the file out")
    return words


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; refuses a name that occurs twice, whose first value Python's reader would drop silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)!r} occurs twice")
    return found


def read_prompts(path: Path, template: str | None = None) -> list[Prompt]:
    """Your own prompts from a file with one JSON object per line: "instruction", "input", "output" and "task".

    A line may also give a "distribution"; by default the task is the distribution.

    Args:
        path: the file.
        template: how instruction and input are joined, e.g. "Q: {instruction} {input}". It ends with "{input}", whose
            last token is probed. By default they are joined by a space.

    Raises:
        ConfigError: a line is not such an object, or an input ends in white space. The message names file and line.
    """
    places = _PLACES.findall(template or "{instruction}{input}")
    fits = places == ["{instruction}", "{input}"] and (template or "{input}").endswith("{input}")
    require(fits, "template", template, 'write it with one "{instruction}", and one "{input}" at its end')
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompts={str(path)!r}: cannot be read as UTF-8 ({error})") from error
    lines = enumerate(text.split("\n"), 1)
    found = [_prompt(line, f"{path}:{number}", template) for number, line in lines if line.strip()]
    require(bool(found), "prompts", str(path), "it is empty; write one JSON object per line")
    return found


def _prompt(line: str, where: str, template: str | None) -> Prompt:
    try:
        row: Any = json.loads(line, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON ({error})") from error
    for name in ("instruction", "input", "output", "task"):
        if not isinstance(row, dict) or not isinstance(row.get(name), str) or not row[name].strip():
            raise ConfigError(f'{where}: no text under "{name}"; every line needs instruction, input, output and task')
        _require_whole(where, name, row[name])
    distribution = row.get("distribution", row["task"])
    if not isinstance(distribution, str) or not distribution.strip():
        raise ConfigError(f'{where}: "distribution" is not a text; write its name, or leave it out')
    _require_whole(where, "distribution", distribution)
    if row["input"][-1:].isspace():
        raise ConfigError(
            f"{where}: input={row['input']!r} ends in white space, whose state would be read; leave it out"
        )
    return Prompt(row["instruction"], row["input"], row["output"], row["task"], distribution, template)


def _require_whole(where: str, name: str, text: str) -> None:
    if text.encode(errors="replace").decode() != text:
        raise ConfigError(f'{where}: "{name}" holds half of a character (a lone surrogate); write it whole')


def identities(prompts: Sequence[Prompt]) -> dict[str, Int[np.ndarray, " N"]]:
    """Task, distribution and distribution-mapping identity of every prompt, as in the synthetic data.

    Raises:
        ConfigError: fewer than two tasks.
    """
    named: dict[str, list[Hashable]] = {
        "task": [p.task for p in prompts],
        "distribution": [(p.task, p.distribution) for p in prompts],
        "distribution_mapping": [(p.task, p.distribution, p.input, p.output) for p in prompts],
    }
    tasks = sorted({p.task for p in prompts})
    require(len(tasks) > 1, "task", tasks, "clustering needs prompts of two tasks or more")
    numbers = {label: {name: n for n, name in enumerate(dict.fromkeys(names))} for label, names in named.items()}
    return {label: np.array([numbers[label][name] for name in names]) for label, names in named.items()}
