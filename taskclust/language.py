"""Probe your own language model on your own prompts (§3.4).

::

from taskclust.language import Prompt, probe

found = probe(model, tokenizer, prompts)
print(found)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from taskclust.config import MOST_THREADS, LanguageConfig, ProbeConfig, require
from taskclust.data.natural import Prompt, natural_tasks, prompts, read_pairs, read_prompts
from taskclust.drawing import png
from taskclust.experiments.natural_language.figures import over_layers, picture
from taskclust.experiments.natural_language.record import Record
from taskclust.experiments.natural_language.run import probe_prompts
from taskclust.experiments.natural_language.tables import layer_rows
from taskclust.formats import Rows, aligned_columns
from taskclust.models.language import LanguageModel, require_causal
from taskclust.probes.tsne import EXACT_POINTS
from taskclust.report.page import inline_png, render
from taskclust.store.codec import encode
from taskclust.store.folders import write_whole

__all__ = ["LanguageProbe", "Prompt", "natural_tasks", "probe", "prompts", "read_pairs", "read_prompts"]


#: The printed columns and their headings.
_PRINTED = {
    "of": "of",
    "task F1": "task\nF1",
    "task ARI": "task\nARI",
    "task AMI": "task\nAMI",
    "distribution F1": "distribution\nF1",
    "distribution-mapping F1": "distribution-\nmapping F1",
}


def default_probe(n_prompts: int) -> ProbeConfig:
    """The default settings: ten starts of t-SNE, or one if there are many prompts."""
    return ProbeConfig() if n_prompts <= EXACT_POINTS else LanguageConfig().probe


@dataclass(frozen=True, slots=True)
class LanguageProbe:
    """The result of :func:`probe`: print it, or write its record, figures and page."""

    record: Record

    def __str__(self) -> str:
        """Two tables of scores within 100 columns: of the states, then after t-SNE.

        Each has a row per layer, then the best scores of each negative control. The record and the page also have ARI
        and AMI of the other labels.
        """
        parts: dict[str, Rows] = {}
        for row in layer_rows(self.record):
            shown = {title: row[name] for name, title in _PRINTED.items()}
            parts.setdefault(row["clustered"], []).append(shown)
        return "\n\n".join(f"{clustered}:\n\n{aligned_columns(rows)}" for clustered, rows in parts.items())

    def save(self, path: Path | str) -> None:
        """Write the record as JSON."""
        write_whole(Path(path), encode(self.record))

    def write(self, folder: Path | str) -> None:
        """Write ``record.json``, the figures, and ``index.html`` with tables and figures to a folder.

        The record is written first, so that it is kept even if drawing fails.
        """
        folder = Path(folder)
        folder.mkdir(exist_ok=True)
        self.save(folder / "record.json")
        pictures = {file.stem: inline_png(file.read_bytes()) for file in self.plot(folder)}
        page = render("probe.html", record=self.record, rows=layer_rows(self.record), pictures=pictures)
        write_whole(folder / "index.html", page.encode())

    def plot(self, folder: Path | str) -> list[Path]:
        """Draw the scores over layers and the points of the best layer; return the files."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        drawn = {"layers": over_layers(self.record), "clusters": picture(self.record)}
        files = [folder / f"{name}.png" for name in drawn]
        for file, figure in zip(files, drawn.values(), strict=True):
            write_whole(file, png(figure))
        return files


def probe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    probe: ProbeConfig | None = None,
    resamples: int = 200,
    untrained: int = 3,
    seed: int = 0,
    name: str = "model",
    threads: int | None = None,
    show_progress: bool = True,
) -> LanguageProbe:
    """Cluster the states of labelled prompts at every layer, and compare untrained models and a bag of tokens.

    The state of a prompt is the state of its last token: the last piece of the input word if the tokenizer splits it.

    Args:
        model: any Hugging Face causal language model, on any device.
        tokenizer: its tokenizer; a pad token is not needed.
        prompts: the prompts; see :func:`taskclust.data.natural.read_prompts`.
        probe: settings of t-SNE and k-means. By default Table 6's values with ten starts of t-SNE, or one start for
            more than 3,000 prompts, where a start takes half a minute per layer.
        resamples: number of resamples of the instructions, for 95 % intervals.
        untrained: number of models of the same architecture with random weights to compare with.
        seed: the seed of everything random.
        name: the model's name in figures.
        threads: number of CPU threads, by default torch's. It changes rounding.
        show_progress: draw progress bars if there is a terminal.

    Raises:
        ConfigError: ``threads`` is out of range, the model is not one of transformers or looks ahead, a prompt is
            longer than its context, the prompts have one task only, or there are no more prompts than t-SNE's
            perplexity.
    """
    config = LanguageConfig(
        probe=probe or default_probe(len(prompts)), resamples=resamples, untrained=untrained, seed=seed
    )
    fix = "give a transformers model: merge adapters first (merge_and_unload), and do not compile it"
    require(isinstance(model, PreTrainedModel), "model", type(model).__name__, fix)
    before, was_training = torch.get_num_threads(), model.training
    require(threads is None or 1 <= threads <= MOST_THREADS, "threads", threads, f"use 1 to {MOST_THREADS:,}")
    try:
        torch.set_num_threads(threads or before)
        require_causal(model.eval(), name)
        record = probe_prompts(LanguageModel(model, tokenizer), prompts, config, name=name, show_progress=show_progress)
    finally:
        model.train(was_training)
        torch.set_num_threads(before)
    return LanguageProbe(record)
