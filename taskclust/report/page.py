"""One folder a profile: tables, figures, and a page that holds them all and loads nothing from elsewhere."""

import base64
import io
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure

from taskclust.claims import CLAIMS, QUARANTINE, CellResult
from taskclust.config import require
from taskclust.report.figures import application_figures, figures, language_figures
from taskclust.report.tables import (
    alignment_rows,
    check_rows,
    comma_separated,
    count_rows,
    language_rows,
    mapping_rows,
    markdown,
    size_rows,
    start_rows,
    tuning_rows,
    verdict_rows,
)
from taskclust.silent_points import SILENT_POINTS

Record = dict[str, Any]

#: Which figures stand beside which claim.
_FIGURES = {
    "cluster-emergence": ("clusters-forming", "figure-6-all-metrics"),
    "distribution-merging": ("merging", "by-mapping"),
    "layer-ordering": ("figure-2-f1",),
    "hard-example-separation": ("components", "codes-taken-out"),
    "plateau-then-rise": ("figure-3-learning",),
    "knn-percentage": ("figure-4-neighbors",),
    "pretraining-clusters": ("figure-5a-pretraining-clusters",),
    "pretraining-speedup": ("figure-5b-pretraining-speedup",),
    "switch-forgetting": ("forgetting",),
}

CAVEAT = {
    "smoke": "SMOKE scale: small models, truly trained, that show that each claim's measurement works and what holds "
    "at that scale. Nothing here is a reproduction of the paper.",
    "paper": "Paper scale. Where the paper gives no number, the register of silent points "
    "(taskclust/silent_points.py) has ours.",
    "llm": "Open language models on the project's own natural-language data; a verdict is about the model it names.",
}


def check_folder(folder: Path) -> None:
    """Refuse, before anything is computed, a folder whose content a report must not replace.

    Raises:
        ConfigError: it holds something, and no report of ours.
    """
    is_ours = (folder / "verdicts.json").exists() or (folder / "perf.md").exists()
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    require(
        is_ours or not taken,
        "report",
        str(folder),
        "it holds other files, which a report would replace; name a new folder",
    )


def write_report(
    folder: Path,
    profile: str,
    results: Sequence[CellResult],
    *,
    scores: Sequence[Record],
    datasets: Sequence[Record],
    parameters: Record | None,
    pretraining: Sequence[Record] = (),
    alignment: Sequence[Record] = (),
    language: Sequence[Record] = (),
    command: str,
    overrides: str = "",
) -> None:
    """Write ``folder`` anew: verdicts.{md,csv,json}, checks.csv, tables.md, figures/*.png and index.html.

    Args:
        folder: is replaced as a whole, once the new one is complete; see :func:`check_folder`.
        profile: "smoke", "paper" or "llm".
        results: the verdicts.
        scores: experiments' records, for the figures.
        datasets: data set records, for Table 3.
        parameters: the parameter record, for Table 8.
        pretraining: records of §4.1, for Figure 5 and its numbers.
        alignment: records of §4.2, for Table 2.
        language: records of §3.4, for Table 1.
        command: what made this report, shown in it.
        overrides: settings that differ from the profile's, shown with the caveat.
    """
    check_folder(folder)
    scratch = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "figures").mkdir(parents=True)
    verdicts, checks = verdict_rows(results), check_rows(results)
    caveat = CAVEAT[profile] + (f" Settings differ from the profile's: {overrides}." if overrides else "")
    made = f"Made by `{command}`."
    tables = {
        "Table 1: open language models": language_rows(language) if language else [],
        "Table 2: alignment": alignment_rows(alignment),
        "Figure 5b in numbers: validation accuracy during tuning": tuning_rows(pretraining),
        "Clusters by mapping, an input and its output in one task (not in the paper)": mapping_rows(scores),
        "Starts of t-SNE: F1 of the top layer at the end (not in the paper)": start_rows(scores),
        "Table 3: sizes of the data set": size_rows(datasets) if datasets else [],
        "Table 8: parameters": count_rows(parameters) if parameters else [],
    }
    provenance = _together(r["provenance"] for r in (*scores, *pretraining, *alignment, *language))
    (scratch / "verdicts.md").write_text(f"{caveat}\n\n{made}\n\n{markdown(verdicts)}\n")
    (scratch / "verdicts.csv").write_text(comma_separated(verdicts))
    (scratch / "checks.csv").write_text(comma_separated(checks))
    plain_results = [result.to_dict() for result in results]
    document = {
        "profile": profile,
        "caveat": caveat,
        "command": command,
        "provenance": provenance,
        "results": plain_results,
    }
    (scratch / "verdicts.json").write_text(json.dumps(document, indent=1))
    parts = [f"## {title}\n\n{markdown(rows)}\n" for title, rows in tables.items() if rows]
    (scratch / "tables.md").write_text(f"{made}\n\n" + "\n".join(parts))
    drawn = {**figures(scores), **application_figures(pretraining, alignment)}
    of_models = language_figures(language)
    drawn |= of_models
    for name, figure in drawn.items():
        figure.savefig(scratch / "figures" / f"{name}.png", dpi=110)
    scales = {result.scale for result in results}
    template = Environment(
        loader=PackageLoader("taskclust.report"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
    page = template.render(
        caveat=caveat,
        command=command,
        profile=profile,
        claims=[(claim, _of(claim.id, verdicts), _of(claim.id, checks)) for claim in CLAIMS.values()],
        figures_of={**_FIGURES, "open-llm-clusters": tuple(of_models)},
        tables={title: rows for title, rows in tables.items() if rows},
        figures={name: _inline(figure) for name, figure in drawn.items()},
        findings=[(claim, cell, found) for (scale, claim, cell), found in QUARANTINE.items() if scale in scales],
        silent_points=SILENT_POINTS,
        provenance=provenance,
    )
    (scratch / "index.html").write_text(page)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.replace(folder)


def _of(claim: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The claim's rows, without what its heading says."""
    return [{k: v for k, v in row.items() if k not in ("claim", "where")} for row in rows if row["claim"] == claim]


def _inline(figure: Figure) -> str:
    """The figure as text inside the page."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=75)
    return "data:image/png;base64," + base64.b64encode(image.getvalue()).decode()


def _together(provenances: Iterable[Record]) -> Record:
    """What made the records: a value where they agree, else each that occurs, in their order."""
    found: dict[str, list[Any]] = {}
    for one in provenances:
        for name, value in one.items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: values[0] if len(values) == 1 else "; ".join(map(str, values)) for name, values in found.items()}
