"""Which settings that the paper allows learn at width 32, with Table 5's learning rate, in 500 epochs (§3.2, §3.3)?

The paper says that width 32 shows the same trends after 500 epochs; plain GPT-2 learns next to nothing there. ``python
-m studies.width_32 run`` trains plain GPT-2 with the changes below, one seed each, and appends one row per setting to
``reports/search/width-32.jsonl``; settings with a row are not run again. ``--share 0/2`` takes every second setting,
for two processes. Settings are judged only on accuracy. ``python -m studies.width_32 table`` writes
``reports/search/width-32.md``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from taskclust.config import ExperimentConfig, ModelConfig, TrainingConfig
from taskclust.data import generate
from taskclust.models import Trainer
from taskclust.profiles import vary

ROWS = Path("reports/search/width-32.jsonl")
TABLE = ROWS.with_suffix(".md")
EPOCHS = 500
SHOWN = (20, 60, 200, 500)
SEED = 100

_OUTPUTS = {"training.loss_over": "outputs"}
_INSTANCES = {"training.shuffled": "instances"}
#: The standard deviations of PyTorch's default weights: 1 for embeddings, and for linear maps that of a uniform
#: distribution up to 1/sqrt(inputs). Here weights are drawn from normal distributions, and biases are zero.
_PYTORCH = {"model.token_std": 1.0, "model.weight_std": 0.102, "model.head_std": 0.102, "model.scale_residual": False}
_UNTIED = {"model.tied_head": False}
_NO_DROPOUT = {"model.dropout": 0.0}


def _batch(n: int) -> dict[str, Any]:
    return {"training.batch_instructions": n}


#: Changes to plain GPT-2, by name, quick ones first.
SETTINGS: dict[str, dict[str, Any]] = {
    "as it is: 8 instructions a step": {},
    "loss over outputs": _OUTPUTS,
    "PyTorch's weights, untied": {**_PYTORCH, **_UNTIED},
    "PyTorch's weights, tied": _PYTORCH,
    "no dropout": _NO_DROPOUT,
    "no dropout in the attention": {"model.dropout_at": ("embedding", "branch")},
    "dropout in the attention only": {"model.dropout_at": ("attention",)},
    "no weight decay": {"training.weight_decay": 0.0},
    "sinusoids": {"model.positions": "sinusoidal"},
    "norm after": {"model.norm": "after"},
    "1 instruction a step": _batch(1),
    "1 instruction a step, no dropout": {**_batch(1), **_NO_DROPOUT},
    "1 instruction a step, loss over outputs": {**_batch(1), **_OUTPUTS},
    "1 instruction a step, PyTorch's weights, untied": {**_batch(1), **_PYTORCH, **_UNTIED},
    "4 instances a step": {**_INSTANCES, **_batch(4)},
    "1 instance a step": {**_INSTANCES, **_batch(1)},
    "2 instances a step": {**_INSTANCES, **_batch(2)},
    "1 instance a step, PyTorch's weights, untied": {**_INSTANCES, **_batch(1), **_PYTORCH, **_UNTIED},
    "1 instance a step, no dropout": {**_INSTANCES, **_batch(1), **_NO_DROPOUT},
    "1 instance a step, loss over outputs": {**_INSTANCES, **_batch(1), **_OUTPUTS},
}


def experiment(name: str) -> ExperimentConfig:
    """Plain GPT-2 of width 32 with the changes of a setting."""
    training = TrainingConfig(
        epochs=EPOCHS, schedule_epochs=EPOCHS, checkpoints=(0, 60, 200, EPOCHS), precision="float32"
    )
    config = ExperimentConfig(model=ModelConfig.gpt2(32), training=training, seed=SEED)
    return vary(config, SETTINGS[name])


def run(name: str, models: Path) -> dict[str, Any]:
    """The row of one setting, with the accuracy and loss of every epoch.

    Checkpoints are saved in ``models``, so that models can be probed later.
    """
    config = experiment(name)
    trainer = Trainer(config, generate(config.data, config.seed))
    started = time.monotonic()
    while trainer.epoch < EPOCHS:
        trainer.run_epoch()
        if trainer.epoch in config.training.checkpoints:
            trainer.save_checkpoint(models / name.replace(" ", "-") / f"{trainer.epoch:04d}")
        if trainer.epoch % 20 == 0:
            row = trainer.history[-1]
            print(f"{name}: {trainer.epoch} {row['loss']:.3f} {row['validation_accuracy']:.3f}", flush=True)  # noqa: T201
    names = ("loss", "validation_accuracy", "subset_accuracy", "hard_accuracy")
    history = {key: [round(row[key], 4) for row in trainer.history[1:]] for key in names}
    return {"setting": name, "seed": SEED, "seconds": round(time.monotonic() - started), **history}


def read_rows() -> list[dict[str, Any]]:
    """The rows written so far."""
    return [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()] if ROWS.exists() else []


def table() -> str:
    """The page of the rows: accuracy on unseen instructions at four epochs, and on training data at the end."""
    body = [
        [
            row["setting"],
            *(f"{row['validation_accuracy'][epoch - 1]:.2f}" for epoch in SHOWN),
            f"{row['subset_accuracy'][-1]:.2f}",
            f"{row['hard_accuracy'][-1]:.2f}",
            f"{row['loss'][-1]:.2f}",
        ]
        for row in read_rows()
    ]
    header = ["plain GPT-2, but", *(f"at {epoch}" for epoch in SHOWN), "trained", "hard", "loss"]
    return (
        "# Which settings learn at width 32?\n\n"
        "Made by `python -m studies.width_32 table` from `width-32.jsonl`, which `python -m studies.width_32 run` adds "
        "to.\n\n"
        f"Width 32, Table 5's rate of 1e-4, {EPOCHS} epochs, seed {SEED}. Accuracy on unseen instructions at four "
        "epochs; at the end that on the training subset and on its hard examples, and the training loss (nats a "
        f"prediction).\n\n{tabulate(body, header, tablefmt='github', disable_numparse=True)}\n"
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--share", default="0/1", help="part/parts of the settings, e.g. 0/2")
    parser.add_argument("--models", type=Path, default=Path(".taskclust/width-32"), help="folder for checkpoints")
    options = parser.parse_args()
    if options.what == "table":
        TABLE.write_text(table(), "utf-8")
        return
    torch.set_num_threads(1)
    part, parts = map(int, options.share.split("/"))
    for name in list(SETTINGS)[part::parts]:
        if any(row["setting"] == name for row in read_rows()):
            continue
        row = run(name, options.models)
        with ROWS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
