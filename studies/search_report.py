"""Tables of the search over silent points, best setting first: ``python -m studies.search_report reports/search``."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import spearmanr

from studies import command_line, search
from studies.search_figures import search_figures
from taskclust.config import SPLITS
from taskclust.drawing import png
from taskclust.formats import markdown

Row = dict[str, Any]
_NO_BAG = dict.fromkeys(SPLITS, math.nan)  # for older rows without it
_COMPONENTS = ("task", "distribution", "input", "output")


def _at_best(row: Row) -> int:
    return int(row["epochs"].index(row["best_epoch"]))


def _top(split: str, name: str, at: Callable[[Row], int] = lambda _: -1) -> Callable[[Row], float]:
    """A function that gives a quantity of the top layer at one checkpoint, by default the last."""
    return lambda row: row[split][name][at(row)][-1]


#: The value of each column for one run; F1 is by task after t-SNE at the top layer unless said otherwise.
COLUMNS: dict[str, Callable[[Row], float]] = {
    "best epoch": lambda row: row["best_epoch"],
    "accuracy": lambda row: row["accuracy"]["validation"][-1],
    "hard accuracy": lambda row: row["accuracy"]["hard"][-1],
    "F1 at its highest": lambda row: max(layers[-1] for layers in row["validation"]["tsne"]),
    "F1 at the best epoch": _top("validation", "tsne", _at_best),
    "F1": _top("validation", "tsne"),
    "spread of starts": lambda row: _top("validation", "tsne_high")(row) - _top("validation", "tsne_low")(row),
    "bag's F1": lambda row: row.get("bag", _NO_BAG)["validation"],
    "F1 raw": _top("validation", "raw"),
    "ARI": _top("validation", "ari"),
    "F1 by distribution": _top("validation", "distribution"),
    "F1 subset": _top("subset", "tsne"),
    "bag's F1 subset": lambda row: row.get("bag", _NO_BAG)["subset"],
    "F1 subset raw": _top("subset", "raw"),
    "hard apart": _top("subset", "hard_separated"),
    "KNN": lambda row: row["knn"][-1][-1],
    **{name: (lambda row, name=name: row["validation"]["components"][name][-1][-1]) for name in _COMPONENTS},
    "task at the instruction's end": _top("validation", "end_task"),
}


def read(path: Path) -> list[Row]:
    """The search's rows, the later of two with one setting and seed. Older rows lack some measurements."""
    return list({(row["key"], row["seed"]): row for row in search.read(path)}.values())


def setting_rows(runs: Sequence[Row]) -> list[dict[str, Any]]:
    """One row per setting and width with means over seeds, in falling order of F1 on both splits at the end."""
    settings: dict[tuple[str, int, str], list[Row]] = {}
    for run in runs:
        settings.setdefault((run["setting"], run["width"], run["key"]), []).append(run)
    rows = []
    for (name, width, _), found in settings.items():
        whole = [run for run in found if not run["failure"]]
        means = {column: fmean(map(read_, whole)) for column, read_ in COLUMNS.items()} if whole else {}
        failed = "; ".join({run["failure"] for run in found if run["failure"]})
        rows.append((means, {"setting": name, "width": width, "runs": len(whole), "failed": failed}))
    rows.sort(key=lambda pair: -(pair[0].get("F1", -1) + pair[0].get("F1 subset", -1)))
    return [
        {
            "setting": row["setting"],
            "width": row["width"],
            "runs": row["runs"],
            **{c: f"{means[c]:.3g}" if c == "best epoch" else f"{means[c]:.2f}" for c in means},
            **({"failed": row["failed"]} if row["failed"] else {}),
        }
        for means, row in rows
    ]


def without_rows(runs: Sequence[Row]) -> list[dict[str, Any]]:
    """The task F1 of each run's top layer at the end, raw and after t-SNE, unchanged and with class means ablated.

    The negative control is the untrained model with input and output ablated.
    """
    rows = []
    for run in runs:
        for split in SPLITS if "without" in run else ():
            as_it_is = [run[split][space][-1][-1] for space in ("raw", "tsne")]
            taken = {"nothing": as_it_is, **run["without"][split]}
            about = {"setting": run["setting"], "width": run["width"], "seed": run["seed"], "split": split}
            untrained = run["without_untrained"][split]["input and output"]
            shown = {f"without {names}": f1 for names, f1 in taken.items()} | {"null: untrained, so": untrained}
            rows.append({**about, **{name: "{:.2f}, {:.2f}".format(*f1) for name, f1 in shown.items()}})
    return rows


def _is_early(row: Row) -> bool:
    curve = [layers[-1] for layers in row["validation"]["tsne"]]
    accuracy = row["accuracy"]["validation"]
    return accuracy[row["epochs"][curve.index(max(curve))]] < 0.9 * max(accuracy)


#: What is counted over runs, with the measurement that it needs.
TALLIES: dict[str, tuple[str, Callable[[Row], bool]]] = {
    "F1 is highest while accuracy is below nine tenths of its own highest": ("epochs", _is_early),
    "raw F1 is higher by .25 or more without input and output": (
        "without",
        lambda row: row["without"]["validation"]["input and output"][0] - _top("validation", "raw")(row) >= 0.25,
    ),
    "F1 after t-SNE is higher by .25 or more without input and output": (
        "without",
        lambda row: row["without"]["validation"]["input and output"][1] - _top("validation", "tsne")(row) >= 0.25,
    ),
    "more than a tenth of the hard instances are apart from their originals at the end": (
        "epochs",
        lambda row: _top("subset", "hard_separated")(row) > 0.1,
    ),
}


def tally_rows(runs: Sequence[Row]) -> list[dict[str, Any]]:
    """The number of runs in which each of :data:`TALLIES` is seen, of those that measured it."""
    rows = []
    for what, (needs, is_seen) in TALLIES.items():
        measured = [run for run in runs if needs in run]
        rows.append({"what is seen": what, "runs": sum(map(is_seen, measured)), "of": len(measured)})
    return rows


#: Other kinds of t-SNE of the same states, with their names in rows.
OTHER_TSNE = {"scikit-learn's before 1.2": "older", "scikit-learn's Barnes-Hut, its default": "barnes_hut"}


def other_tsne_rows(runs: Sequence[Row]) -> list[dict[str, Any]]:
    """The task F1 of the top layer at the end with each of :data:`OTHER_TSNE`, and with ours on the same runs."""
    rows = []
    for name, key in OTHER_TSNE.items():
        measured = [run for run in runs if key in run]
        for split in SPLITS if len(measured) > 1 else ():
            pairs = [(run[key][split], _top(split, "tsne")(run)) for run in measured]
            gains = [theirs - ours for theirs, ours in pairs]
            lower = sum(gain < 0 for gain in gains)
            means = {"F1": fmean(theirs for theirs, _ in pairs), "ours": fmean(ours for _, ours in pairs)}
            means |= {"difference": fmean(gains), "its standard error": stdev(gains) / len(gains) ** 0.5}
            shown = {column: f"{value:.3f}" for column, value in means.items()}
            rows.append({"t-SNE": name, "split": split, "runs": len(measured), "lower in": lower, **shown})
    return rows


def merging_rows(runs: Sequence[Row]) -> list[dict[str, Any]]:
    """How far each run merges a task's distributions, in falling order at the end."""
    rows = []
    for run in runs:
        states = run.get("merging", {}).get("states") or [None]
        if None in states:
            continue
        highest = states.index(max(states))
        about = {"setting": run["setting"], "width": run["width"], "seed": run["seed"]}
        learned = {name: COLUMNS[name](run) for name in ("accuracy", "hard accuracy", "F1")}
        merged = {"merging": states[-1], "highest": states[highest], "bag's": run["merging"]["bag"]}
        shown = {name: f"{value:.2f}" for name, value in (learned | merged).items()}
        rows.append({**about, **shown, "highest at epoch": run["epochs"][highest]})
    return sorted(rows, key=lambda row: -float(row["merging"]))


def by_mapping_rows(runs: Sequence[Row]) -> list[dict[str, Any]]:
    """F1 by mapping and merging of a mapping's distributions of each run that has them, highest F1 first."""
    rows = []
    for run in runs:
        if "by_mapping" not in run:
            continue
        unseen, subset = (run["by_mapping"][split] for split in ("validation", "subset"))
        end, bag = (run.get(name, dict.fromkeys(SPLITS, (None, None))) for name in ("end", "end_bag"))
        about = {"setting": run["setting"], "width": run["width"], "seed": run["seed"]}
        shown = {
            **{name: COLUMNS[name](run) for name in ("accuracy", "hard accuracy", "F1")},
            "F1 by mapping": unseen["f1"]["states"][-1],
            "nothing merged": unseen["f1"]["unmerged"],
            "merging of a mapping's": unseen["merging"]["states"][-1],
            "subset's F1 by mapping": subset["f1"]["states"][-1],
            "subset, nothing merged": subset["f1"]["unmerged"],
            "instruction's end: F1 by task, raw": end["validation"][0],
            "after t-SNE": end["validation"][1],
            "subset, raw": end["subset"][0],
            "a bag of the instruction, raw": bag["validation"][0],
            "the bag after t-SNE": bag["validation"][1],
            "the bag, subset, raw": bag["subset"][0],
        }
        rows.append({**about, **{name: "–" if value is None else f"{value:.2f}" for name, value in shown.items()}})
    return sorted(rows, key=lambda row: -float(row["F1 by mapping"]))


def correlation_rows(runs: Sequence[Row]) -> list[dict[str, Any]]:
    """Spearman's rank correlations, over runs, of quantities at the end with F1 there.

    Only runs on the starting point's data; all, and those that learn (accuracy 0.9 or more on unseen instructions).
    """
    same = [run for run in runs if not run["failure"] and not any(path.startswith("data.") for path in run["changes"])]
    groups = {"all": same, "accuracy 0.9 or more": [run for run in same if COLUMNS["accuracy"](run) >= 0.9]}
    rows = []
    for name, group in groups.items():
        for column in ("hard accuracy", *_COMPONENTS) if len(group) > 2 else ():
            values = [COLUMNS[column](run) for run in group]
            with_f1 = {f1: spearmanr(values, [COLUMNS[f1](run) for run in group]) for f1 in ("F1", "F1 raw")}
            found = {f"with {f1}": f"{rank.statistic:.2f}" for f1, rank in with_f1.items()}
            rows.append({"of": name, "runs": len(group), "quantity": column, **found})
    return rows


def main(folder: str) -> None:
    """Write ``settings.md`` and the figures next to the search's rows."""
    runs = read(Path(folder) / "runs.jsonl")
    rows = setting_rows(runs)
    changes = {run["setting"]: run["changes"] for run in runs if run["setting"].startswith("sample")}
    listed = "\n".join(f"- {name}: {json.dumps(change)}" for name, change in changes.items())
    text = (
        f"Made by `python -m studies.search_report {folder}` from {len(runs)} runs of {len(rows)} settings "
        "(`python -m studies.search`).\n\nMeans over seeds; the last checkpoint and the top layer unless said "
        "otherwise; F1 is by task, on unseen instructions, after t-SNE; the bag's, a null, is that of the symbols "
        "read, without a model. Seeds 100 to 104 choose and judge nothing.\n\n"
    )
    for name, figure in search_figures(runs).items():
        (Path(folder) / f"{name}.png").write_bytes(png(figure))
    parts = [text + markdown(rows), "In how many runs:\n\n" + markdown(tally_rows(runs))]
    if others := other_tsne_rows(runs):
        parts.append("F1 by task after other t-SNE of the same states:\n\n" + markdown(others))
    if merged := merging_rows(runs):
        parts.append(
            "How far clusters merge a task's distributions (claim distribution-merging):\n\n" + markdown(merged)
        )
    if mapped := by_mapping_rows(runs):
        parts.append(
            "Clusters as many as mappings, an input and its output in one task: F1 by mapping and merging of a "
            "mapping's distributions, on unseen instructions, and F1 on the subset; last, clusters of the "
            f"instruction's end, as many as tasks. {len(mapped)} of the runs measured it:\n\n" + markdown(mapped)
        )
    if together := correlation_rows(runs):
        parts.append("What goes with F1: rank correlations over runs on one data set a seed:\n\n" + markdown(together))
    if taken := without_rows(runs):
        parts.append("F1 by task, raw and after t-SNE, without codes:\n\n" + markdown(taken))
    (Path(folder) / "settings.md").write_text("\n\n".join(parts + [listed] * bool(listed)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command_line(main, __doc__, folder="the folder of the search's rows")
