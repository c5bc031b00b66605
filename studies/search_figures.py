"""Figures of the search over silent points; each answers one question of docs/findings.md from the rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = dict[str, Any]
CODES = ("task", "distribution", "input", "output")
_COLORS = dict(zip(CODES, ("tab:red", "tab:blue", "tab:green", "tab:orange"), strict=True))
#: Settings whose variance components are drawn over epochs.
WHOLE = ("start", "GPT-2", "GPT-2, batch 2")
#: Fields of the data, with the titles of their panels.
MOVED_BY_DATA = {
    "data.distribution_totals": "distributions per evaluated task",
    "data.regex.max_repeats": "largest number of repeats of a group",
    "data.regex.max_length": "largest number of symbols per instruction",
}
_STYLES = {128: ("-", "solid"), 256: ("--", "dashed")}
_SPLITS = {"validation": "unseen instructions", "subset": "hard examples with their originals"}


def search_figures(runs: Sequence[Row]) -> dict[str, Figure]:
    """All figures by file name; older rows that lack a measurement are left out of its figures."""
    runs = [run for run in runs if not run["failure"]]
    with_codes = [run for run in runs if "without" in run]
    whole = [run for name in WHOLE for run in runs if run["setting"] == name]
    made = {"merging": merging(runs)}
    unbiased = [run for run in runs if "lineage" in run["subset"]["components"]]
    if unbiased:
        made["hard-apart"] = hard_apart(unbiased)
    if whole:
        made["codes-over-epochs"] = codes_over_epochs(whole)
    if with_codes:
        made["codes-taken-out"] = codes_taken_out(with_codes)
    if any(_only_change(run) in MOVED_BY_DATA for run in runs):
        made["moved-by-data"] = moved_by_data(runs)
    if any("label_inertia" in run["validation"] for run in runs):
        made["states-or-clustering"] = states_or_clustering(runs)
    return made


def codes_over_epochs(runs: Sequence[Row]) -> Figure:
    """Shares of the top layer's variance, F1 and accuracy by epoch: which identity hides the tasks, and when?"""
    columns = min(4, len(runs))
    rows = -(-len(runs) // columns)
    figure = Figure(figsize=(3.2 * columns, 0.4 + 3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis in axes.flat[len(runs) :]:
        axis.remove()
    for axis, run in zip(axes.flat, runs, strict=False):
        for code in CODES:
            share = [layers[-1] for layers in run["validation"]["components"][code]]
            axis.plot(run["epochs"], share, color=_COLORS[code], marker=".", label=f"{code} code")
        axis.plot(run["epochs"], [f1[-1] for f1 in run["validation"]["tsne"]], color="black", label="task F1")
        axis.plot(run["accuracy"]["validation"], color="grey", linestyle=":", label="accuracy")
        axis.set(xlabel="epoch", ylim=(-0.1, 1.02))
        axis.set_title(_name(run), fontsize="small")
    for axis in axes[:, 0]:
        axis.set_ylabel("share of variance, top layer")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize="small")
    figure.suptitle("Unseen instructions")
    return figure


def codes_taken_out(runs: Sequence[Row]) -> Figure:
    """Task F1 after t-SNE of the last top layer as it is and without its codes, one line a setting."""
    figure = Figure(figsize=(11, 1.5 + 0.24 * len(runs)), layout="constrained")
    for axis, split in zip(figure.subplots(1, 2, sharey=True), _SPLITS, strict=True):
        ordered = sorted(runs, key=lambda run: run["validation"]["tsne"][-1][-1])
        places = np.arange(len(ordered))
        axis.plot([run[split]["tsne"][-1][-1] for run in ordered], places, "k.", label="as it is")
        shown = {"input": ">", "output": "<", "input and output": "D", "distribution": "s"}
        for names, marker in shown.items():
            f1 = [run["without"][split][names][1] for run in ordered]
            axis.plot(f1, places, marker, markersize=4, label=f"without {names}", alpha=0.8)
        null = [run["without_untrained"][split]["input and output"][1] for run in ordered]
        axis.plot(null, places, "x", color="grey", markersize=4, label="null: untrained, without input and output")
        axis.set(title=_SPLITS[split], xlabel="task F1 after t-SNE", xlim=(0, 1), yticks=places)
        axis.set_yticklabels([_name(run) for run in ordered], fontsize="x-small")
        axis.axvline(0.9, color="grey", linewidth=0.5)
        axis.margins(y=0.01)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize="x-small")
    return figure


def moved_by_data(runs: Sequence[Row]) -> Figure:
    """How task F1, and the baseline's, depend on distributions per task and on instruction lengths, by color."""
    figure = Figure(figsize=(3.6 * len(MOVED_BY_DATA), 4), layout="constrained")
    axes = figure.subplots(1, len(MOVED_BY_DATA), sharey=True)
    for axis, (field, question) in zip(axes, MOVED_BY_DATA.items(), strict=True):
        changed = [run for run in runs if _only_change(run) == field and run["width"] in _STYLES]
        widths = {run["width"] for run in changed}
        as_usual = [run for run in runs if run["setting"] == "start" and run["width"] in widths]
        amounts = sorted({_amount(run, field) for run in changed})
        colors = {"as usual": "black"} | {amount: f"C{i}" for i, amount in enumerate(amounts)}
        for run in as_usual + changed:
            f1 = [layers[-1] for layers in run["validation"]["tsne"]]
            amount = _amount(run, field)
            drawn = {line.get_label() for line in axis.lines}
            label = f"_{amount}" if amount in drawn else amount  # matplotlib leaves labels with "_" out of legends
            axis.plot(run["epochs"], f1, _STYLES[run["width"]][0], marker=".", color=colors[amount], label=label)
        for amount, color in colors.items():
            of_amount = [run for run in as_usual + changed if _amount(run, field) == amount]
            bags = {
                run["seed"]: run["bag"]["validation"] for run in of_amount if "bag" in run
            }  # the same at every width
            if bags:
                axis.axhline(np.mean(list(bags.values())), color=color, linestyle=":", linewidth=1)
        axis.set(xlabel="epoch", ylim=(0, 1.02))
        axis.set_title(question, fontsize="small")
        axis.axhline(0.9, color="grey", linewidth=0.5)
        if changed:
            axis.legend(fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0].set_ylabel("task F1 after t-SNE, unseen instructions")
    styles = "; ".join(f"{style}: width {width}" for width, (_, style) in _STYLES.items())
    figure.suptitle(f"{styles}; dotted: a bag of symbols, no model", fontsize="small")
    return figure


def _only_change(run: Row) -> str | None:
    return next(iter(run["changes"])) if len(run["changes"]) == 1 else None


def _amount(run: Row, field: str) -> str:
    """The value of a field; for groups of tasks, the average number of distributions of the evaluated tasks."""
    if field not in run["changes"]:
        return "as usual"
    value = run["changes"][field]
    if not isinstance(value, list):
        return str(value)
    evaluated = value[:-1]  # tasks of the last group are only trained on
    tasks = sum(n for n, _ in evaluated)
    return f"{sum(total for _, total in evaluated) / tasks:g}" if tasks else "drawn freely"


def hard_apart(runs: Sequence[Row]) -> Figure:
    """The fraction of separated hard examples versus the variance shares of output and lineage."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axis, code in zip(figure.subplots(1, 2, sharey=True), ("output", "lineage"), strict=True):
        _scatter(
            axis,
            runs,
            [run["subset"]["components"][code][-1][-1] for run in runs],
            [run["subset"]["hard_separated"][-1][-1] for run in runs],
        )
        axis.set(xlabel=f"{code} code, share of variance", ylim=(-0.02, 1.02))
    figure.axes[0].set_ylabel("hard examples apart from their originals")
    figure.suptitle("Hard examples and their originals, top layer at the end; colour: accuracy on hard examples")
    return figure


def merging(runs: Sequence[Row]) -> Figure:
    """The task's variance share at the input token versus that at the instruction's end."""
    figure = Figure(figsize=(5.2, 4), layout="constrained")
    axis = figure.subplots()
    at_end = [run["validation"]["end_task"][-1][-1] for run in runs]
    _scatter(axis, runs, at_end, [run["validation"]["components"]["task"][-1][-1] for run in runs])
    for x, run in zip(at_end, runs, strict=True):
        if "input_loss_weight" in run["setting"]:
            weight = run["changes"]["training.input_loss_weight"]
            axis.annotate(f"weight {weight:g}", (x, run["validation"]["components"]["task"][-1][-1]), fontsize="small")
    axis.set(xlabel="task code at the instruction's end", ylabel="task code at the input token")
    return figure


def states_or_clustering(runs: Sequence[Row]) -> Figure:
    """The inertia of the tasks' own partition relative to that of the clusters found: do states or k-means lower F1?"""
    known = [run for run in runs if "label_inertia" in run["validation"]]
    figure = Figure(figsize=(5.2, 4), layout="constrained")
    axis = figure.subplots()
    for name, marker, space in (("label_inertia", "o", "states"), ("label_inertia_tsne", "x", "after t-SNE")):
        f1 = [run["validation"]["tsne" if name.endswith("tsne") else "raw"][-1][-1] for run in known]
        axis.plot(f1, [run["validation"][name][-1][-1] for run in known], marker, label=space)
    axis.axhline(1, color="grey", linewidth=0.5)
    axis.set(xlabel="task F1, unseen instructions", ylabel="cost of the tasks' partition / of the clusters found")
    axis.legend()
    return figure


def _scatter(axis: Axes, runs: Sequence[Row], x: Sequence[float], y: Sequence[float]) -> None:
    drawn = axis.scatter(x, y, c=[run["accuracy"]["hard"][-1] for run in runs], vmin=0, vmax=1, cmap="viridis")
    axis.figure.colorbar(drawn, ax=axis)


def _name(run: Row) -> str:
    return f"{run['setting']} (width {run['width']}, seed {run['seed']})"
