"""The share of variance that tasks need, as a table and a figure: ``python -m studies.planted_report FILE.json``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from studies import command_line
from taskclust.drawing import png
from taskclust.formats import markdown

_SPACES = {"k-means": ":", "after t-SNE": "-"}


def share_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per split and share of the task: the mean F1 by task over data sets; then the measured share."""
    rows = []
    for split, part in found["splits"].items():
        for task, f1 in zip(found["task_shares"], np.mean(part["f1"], axis=0), strict=True):
            values = {f"F1, {space}": f"{value:.2f}" for space, value in zip(_SPACES, f1, strict=True)}
            rows.append({"split": split, "the task's share": f"{task:.2f}", **values})
        rows.append({"split": split, "the task's share": f"{part['measured']['task']:.2f} measured"})
    return rows


def share_figure(found: dict[str, Any]) -> Figure:
    """F1 by task versus the task's share; the band is the range over data sets, dashed the measured share."""
    figure = Figure(figsize=(3.6 * len(found["splits"]), 3), layout="constrained")
    axes = figure.subplots(1, len(found["splits"]), squeeze=False)[0]
    for axis, (split, part) in zip(axes, found["splits"].items(), strict=True):
        for (space, style), f1 in zip(_SPACES.items(), np.moveaxis(np.array(part["f1"]), 2, 0), strict=True):
            axis.plot(found["task_shares"], f1.mean(0), style, marker=".", color="tab:blue", label=space)
            axis.fill_between(found["task_shares"], f1.min(0), f1.max(0), color="tab:blue", alpha=0.12, linewidth=0)
        axis.axvline(part["measured"]["task"], color="grey", linestyle="--", linewidth=0.8, label="measured")
        axis.set(title=split, xlabel="the task's share of the variance", ylabel="F1 by task", ylim=(-0.02, 1.02))
        axis.grid(alpha=0.2)
        axis.legend(fontsize=6)
    return figure


def main(path: str) -> None:
    """Write the table (.md) and the figure (.png) next to the file."""
    found = json.loads(Path(path).read_text("utf-8"))
    others = "; ".join(
        f"{split}: " + ", ".join(f"{name} {share:.2f}" for name, share in part["measured"].items())
        for split, part in found["splits"].items()
    )
    text = (
        f"Made by `python -m studies.planted_report {path}` from `python -m studies.planted {path} "
        f"{' '.join(found['records'])}`.\n\nStates of random codes in the shares measured in these records ({others}), "
        "but for the task's; the others keep their proportions. F1 by task, the mean over five data sets.\n\n"
    )
    Path(path).with_suffix(".md").write_text(text + markdown(share_rows(found)) + "\n", encoding="utf-8")
    Path(path).with_suffix(".png").write_bytes(png(share_figure(found)))


if __name__ == "__main__":
    command_line(main, __doc__, file="the file that studies.planted wrote")
