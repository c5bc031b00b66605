"""Write a report: one folder with tables, figures, and a self-contained page with all of them."""

import base64
import fnmatch
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure

from taskclust import experiments
from taskclust.claims import CellResult, Claim, KnownFailure
from taskclust.claims.criteria import Verdict
from taskclust.config import ConfigError, require
from taskclust.drawing import Asked, png
from taskclust.formats import Rows, comma_separated, latex, markdown
from taskclust.report.tables import check_numbers, check_rows, value_rows, verdict_rows, verdict_word
from taskclust.store.codec import Provenance
from taskclust.store.folders import as_json, lock_of, scratch_folder

CAVEAT = {
    "smoke": "SMOKE scale: small models, truly trained, that show that each claim's measurement works and what holds "
    "at that scale. Nothing here is a reproduction of the paper.",
    "paper": "Paper scale. Where the paper gives no number, the register of silent points "
    "(taskclust/silent_points.toml) has ours.",
    "llm": "Open language models on the project's own natural-language data; a verdict is about the model it names.",
}


def check_folder(folder: Path) -> None:
    """Refuse, before anything is computed, a folder whose content a report must not replace.

    Raises:
        ConfigError: the folder has other files than a report's, or cannot be written.
    """
    try:
        is_ours = (folder / "verdicts.json").exists() or (folder / "perf.md").exists()
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if is_ours or not taken:
            folder.parent.mkdir(parents=True, exist_ok=True)
            Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)).rmdir()
    except (OSError, RuntimeError, ValueError) as error:
        where = repr(str(folder)[:200])
        raise ConfigError(f"report={where}: cannot be written ({error}); choose another folder") from error
    require(
        is_ours or not taken,
        "report",
        str(folder),
        "it has other files, which a report would replace; choose a new folder",
    )


def write_report(
    folder: Path,
    profile: str,
    results: Sequence[CellResult],
    claims: Mapping[str, Claim],
    records: Mapping[str, Sequence[Any]],
    *,
    command: str,
    overrides: str = "",
) -> None:
    """Write a report: verdicts.{md,csv,json}, checks.csv, values.csv, tables.{md,tex}, figures/*.png and index.html.

    Args:
        folder: an earlier report in it is replaced once the new one is complete; see :func:`check_folder`.
        profile: "smoke", "paper" or "llm".
        results: the verdicts.
        claims: the claims by id, in the order of the tables, including those not run.
        records: the records of the verdicts, by experiment.
        command: the command that makes this report, shown in it.
        overrides: settings that differ from the profile's, shown with the caveat.
    """
    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder.parent, f".{folder.name}-") as scratch:
        _write(scratch, profile, results, claims, records, command=command, overrides=overrides)
        with FileLock(lock_of(folder)):
            _put_in_place(scratch, folder)


def _write(
    scratch: Path,
    profile: str,
    results: Sequence[CellResult],
    claims: Mapping[str, Claim],
    records: Mapping[str, Sequence[Any]],
    *,
    command: str,
    overrides: str,
) -> None:
    """Write a whole report into an empty folder."""
    (scratch / "figures").mkdir()
    verdicts = verdict_rows(results, claims)
    caveat = CAVEAT[profile] + (f" Settings differ from the profile's: {overrides}." if overrides else "")
    made = f"Made by `{command}`."
    tables = tables_of(records)
    computed = [found for name, found in records.items() if hasattr(experiments.part(name, "config"), "stages")]
    provenance = _together(record.provenance for found in computed for record in found)  # counts are the same anywhere
    document = {
        "profile": profile,
        "caveat": caveat,
        "command": command,
        "provenance": provenance,
        "results": [result.to_dict() for result in results],
    }
    texts = {
        "verdicts.md": f"{caveat}\n\n{made}\n\n{markdown(verdicts)}\n",
        "verdicts.csv": comma_separated([{**row, "headline": claims[str(row["claim"])].headline} for row in verdicts]),
        "verdicts.json": json.dumps(as_json(document), indent=1, allow_nan=False),
        "checks.csv": comma_separated(as_json(check_numbers(results))),
        "values.csv": comma_separated(as_json(value_rows(results))),
        "tables.md": f"{made}\n\n" + "\n".join(f"## {title}\n\n{markdown(rows)}\n" for title, rows in tables.items()),
        "tables.tex": "\n".join(f"% {title}\n{latex(rows)}\n" for title, rows in tables.items()),
    }
    for name, text in texts.items():
        (scratch / name).write_text(text, encoding="utf-8")
    asked = {
        (result.claim, result.cell, check.name): check.terms.bound
        for result in results
        for check in result.checks
        if check.verdict is not None and check.terms.bound is not None
    }
    figures = {name: png(figure) for name, figure in figures_of(records, asked).items()}
    for name, content in figures.items():
        (scratch / "figures" / f"{name}.png").write_bytes(content)
    checks = check_rows(results)
    scenes = scenes_of(records)
    matrix = _matrix(verdicts, claims)
    page = render(
        "page.html",
        caveat=caveat,
        command=command,
        profile=profile,
        claims=[(claim, _of(claim.id, verdicts), _of(claim.id, checks)) for claim in claims.values()],
        figures_of={claim.id: _chosen(figures, claim.figures) for claim in claims.values()},
        tables=tables,
        figures={name: inline_png(content) for name, content in figures.items()},
        captions={name: caption_of(name, records) for name in figures},
        scenes=[(caption, Markup(scene)) for caption, scene in scenes.items()],  # noqa: S704 - plotly's, of our numbers
        script=Markup(_plotly()) if scenes else "",  # noqa: S704 - likewise
        matrix=matrix,
        counts=_counts(matrix, profile),
        first=_first_to_see(matrix, has_scenes=bool(scenes)),
        findings=_known_failures(results, claims),
        provenance=provenance,
    )
    (scratch / "index.html").write_text(page, encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """The page made from a template of this package and the values, which are escaped."""
    pages = Environment(
        loader=PackageLoader("taskclust.report"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    return pages.get_template(template).render(values)


def _put_in_place(scratch: Path, folder: Path) -> None:
    """Move every entry of ``scratch`` to ``folder``, replacing old ones; other files in the folder stay."""
    folder.mkdir(exist_ok=True)
    for new in sorted(scratch.iterdir()):
        old = folder / new.name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        elif new.is_dir():
            old.unlink(missing_ok=True)
        new.replace(old)


def tables_of(records: Mapping[str, Sequence[Any]]) -> dict[str, Rows]:
    """Each experiment's tables by title, without empty ones."""
    found: dict[str, Rows] = {}
    for name, some in records.items():
        module = experiments.part(name, "tables")
        found |= module.tables(some) if module else {}
    return {title: rows for title, rows in sorted(found.items()) if rows}


def scenes_of(records: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Each experiment's animations as HTML, by the sentence under them."""
    found: dict[str, str] = {}
    for name, some in records.items():
        module = experiments.part(name, "scenes")
        made = module.scenes(some) if module else {}
        settings = {
            "full_html": False,
            "include_plotlyjs": False,
            "auto_play": False,
            "config": {"displayModeBar": False},  # it would cover the title on a phone
        }
        found |= {caption: figure.to_html(**settings) for caption, figure in made.items()}
    return found


def _plotly() -> str:
    """The library that animations need, inlined into the page."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - a page without animations does not need it

    return f"<script>{get_plotlyjs()}</script>"


def caption_of(name: str, records: Mapping[str, Sequence[Any]]) -> str:
    """The sentence under a figure, by the pattern that matches its file name; the name if none does."""
    modules = [module for experiment in records if (module := experiments.part(experiment, "figures"))]
    patterns = [pair for module in modules for pair in getattr(module, "CAPTIONS", {}).items()]
    return next((caption for pattern, caption in patterns if fnmatch.fnmatchcase(name, pattern)), name)


_KINDS = {"✔": "good", "✘": "bad", "?": "open"}


def _matrix(
    verdicts: Sequence[dict[str, Any]], claims: Mapping[str, Claim]
) -> list[tuple[Claim, list[tuple[str, str, str]]]]:
    """Each claim that has a row, with its conditions: name, verdict, and the verdict's kind for the style."""
    cells: dict[str, list[tuple[str, str, str]]] = {}
    for row in verdicts:
        found = (row["cell"], row["verdict"], _KINDS.get(row["verdict"][:1], ""))
        cells.setdefault(row["claim"], []).append(found)
    return [(claim, cells[claim.id]) for claim in claims.values() if claim.id in cells]


def _counts(matrix: Sequence[tuple[Claim, list[tuple[str, str, str]]]], profile: str) -> str:
    """The number of conditions with each verdict, in words."""
    kinds = [kind for _, cells in matrix for _, _, kind in cells]
    words: dict[str, Verdict] = {"good": "reproduced", "bad": "not reproduced", "open": "inconclusive"}
    counted = [f"{n} {verdict_word(word, profile)}" for kind, word in words.items() if (n := kinds.count(kind))]
    return f"of {len(kinds)} conditions {', '.join(counted) or 'none was judged'}"


def _first_to_see(
    matrix: Sequence[tuple[Claim, list[tuple[str, str, str]]]], *, has_scenes: bool
) -> list[tuple[str, str]]:
    """The titles and anchors of what to look at first: clusters forming, then the first claims that fail."""
    failing = [claim.id for kind in ("bad", "open") for claim, cells in matrix if kind in [cell[2] for cell in cells]]
    return [("clusters forming", "clusters-forming")] * has_scenes + [(name, name) for name in dict.fromkeys(failing)][
        :3
    ]


def figures_of(records: Mapping[str, Sequence[Any]], asked: Asked) -> dict[str, Figure]:
    """Each experiment's figures by file name, with the bounds that its claims require."""
    found: dict[str, Figure] = {}
    for name, some in records.items():
        module = experiments.part(name, "figures")
        found |= module.figures(some, asked) if module else {}
    return found


def _chosen(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that match, in the order of the patterns."""
    return [name for pattern in patterns for name in names if fnmatch.fnmatchcase(name, pattern)]


def _known_failures(results: Sequence[CellResult], claims: Mapping[str, Claim]) -> list[tuple[str, str, KnownFailure]]:
    """Claim, condition and reason of each known failure at the scales of the results, whether run or not."""
    judged = dict.fromkeys((claims[r.claim].experiment, r.scale) for r in results if r.claim in claims)
    return [
        (claim.id, cell, known)
        for claim in claims.values()
        for experiment, scale in judged
        if claim.experiment == experiment
        for cell, known in claim.known_failures.get(scale, {}).items()
    ]


def _of(claim: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The claim's rows, without the columns that its heading shows."""
    return [{k: v for k, v in row.items() if k not in ("claim", "where")} for row in rows if row["claim"] == claim]


def inline_png(content: bytes) -> str:
    """The image as a data URL."""
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _together(provenances: Iterable[Provenance]) -> dict[str, Any]:
    """The provenance of several records: each fact's value, or all its values in order if they differ."""
    found: dict[str, list[Any]] = {}
    for one in provenances:
        for name, value in one.items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: values[0] if len(values) == 1 else "; ".join(map(str, values)) for name, values in found.items()}
