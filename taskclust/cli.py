"""The command ``taskclust``: what is not a test.

What a command needs is imported when it runs, so that help is quick.
"""

import contextlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from taskclust.config import ConfigError, require

app = typer.Typer(
    help="What is not a test; the claims are run by pytest. Only what it made itself is ever replaced.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
records = typer.Typer(help="Records of a store: list, check, load, save.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(records, name="records")

Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="e.g. n_tasks=20, perplexity=20"),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER")]
StoreFolder = Annotated[Path, typer.Argument(metavar="STORE", help="the folder .taskclust of a run")]


@app.command()
def data(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="ends in .jsonl, or in .parquet (pandas, pyarrow)")],
    seed: int = 0,
    scale: Annotated[str, typer.Option(help="paper or smoke: the sizes")] = "paper",
    settings: Setting = None,
) -> None:
    """Write a synthetic data set, one row an instance with all its identities, for models of your own."""
    from taskclust import profiles  # noqa: PLC0415 - see above
    from taskclust.data import generate  # noqa: PLC0415
    from taskclust.data.table import instance_rows  # noqa: PLC0415
    from taskclust.store.folders import write_whole  # noqa: PLC0415

    scales = {"paper": profiles.paper, "smoke": profiles.smoke}
    require(scale in scales, "scale", scale, f"use {' or '.join(scales)}")
    require(0 <= seed < 2**32, "seed", seed, "use 0 to 4,294,967,295")
    require(file.suffix in (".jsonl", ".parquet"), "file", str(file), "end its name in .jsonl or .parquet")
    _require_new("file", file)
    config = profiles.changed(scales[scale]().base("synthetic").data, settings or ())
    rows = list(instance_rows(generate(config, seed)))
    if file.suffix == ".jsonl":
        write_whole(file, "".join(json.dumps(row) + "\n" for row in rows).encode())
    else:
        _write_parquet(rows, file)
    print(f"{file}: {len(rows):,} instances")  # noqa: T201 - the result


def _write_parquet(rows: list[dict[str, Any]], file: Path) -> None:
    from taskclust.store.folders import naming  # noqa: PLC0415

    try:
        import pandas as pd  # noqa: PLC0415 - an extra

        with naming(file):
            pd.DataFrame(rows).to_parquet(file)
    except ImportError as error:
        raise ConfigError(
            f"file={str(file)!r}: Parquet is written with pandas and pyarrow; install both, or name a .jsonl file"
        ) from error


@app.command()
def probe(
    model: Annotated[str, typer.Argument(help="a folder, a hub id or a GGUF file")],
    prompts: Annotated[Path, typer.Argument(help="a JSON object per line: instruction, input, output, task")],
    to: Annotated[Path | None, typer.Option(help="a new folder for record, pictures and page")] = None,
    template: Annotated[str | None, typer.Option(help='e.g. "Q: {instruction} A: {input}"')] = None,
    device: str = "cpu",
    threads: int | None = None,
    untrained: Annotated[int, typer.Option(help="models with random weights to read beside it")] = 3,
    resamples: Annotated[int, typer.Option(help="of the instructions, for intervals")] = 200,
    seed: int = 0,
    settings: Setting = None,
) -> None:
    """Cluster the states of a language model's prompts at every layer, beside untrained models and a bag of tokens."""
    from taskclust.config import MOST_THREADS, LanguageConfig  # noqa: PLC0415
    from taskclust.experiments.natural_language.run import short_name  # noqa: PLC0415
    from taskclust.language import default_probe, read_prompts  # noqa: PLC0415
    from taskclust.language import probe as measure  # noqa: PLC0415
    from taskclust.models.language import opened  # noqa: PLC0415
    from taskclust.profiles import changed  # noqa: PLC0415

    if to is not None:
        _require_new("to", to)
    LanguageConfig(untrained=untrained, resamples=resamples, seed=seed)  # refuses what cannot be before a model is read
    require(threads is None or 1 <= threads <= MOST_THREADS, "threads", threads, f"use 1 to {MOST_THREADS:,}")
    require(device in ("cpu", "cuda"), "device", device, "use cpu or cuda")
    read = read_prompts(prompts, template)
    own = changed(default_probe(len(read)), settings or ())
    language = opened(model, device)
    if to is not None:
        to.mkdir()  # before hours are spent
    found = measure(
        language.model,
        language.tokenizer,
        read,
        probe=own,
        resamples=resamples,
        untrained=untrained,
        seed=seed,
        name=short_name(model),
        threads=threads,
    )
    print(found)  # noqa: T201 - the result
    if to is not None:
        found.write(to)
        print(f"\n{to / 'index.html'}")  # noqa: T201


@app.command()
def compare(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT...", help="two or more folders of reports")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="write one page, too")] = None,
) -> None:
    """Show what differs between reports: verdicts, statistics paired by seed, settings."""
    from taskclust.compare import print_comparisons  # noqa: PLC0415

    print_comparisons(reports, html)


@app.command()
def index(
    reports: Annotated[Path, typer.Argument(metavar="REPORTS", help="a folder of reports")] = Path("reports"),
) -> None:
    """Write one page over all reports of a folder, ``index.html`` in it: verdicts side by side, with links."""
    from taskclust.report.index import write_index  # noqa: PLC0415

    print(write_index(reports))  # noqa: T201 - the result


@app.command()
def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML or JSON: [settings.NAME] of FIELD = VALUE; [grid]")
    ],
    words: Annotated[list[str], typer.Argument(metavar="-- PYTEST...", help="what pytest is given, e.g. benchmarks")],
    report: Annotated[Path | None, typer.Option(help="folder of the reports (reports/<name of FILE>)")] = None,
) -> None:
    """Judge the claims under several settings: a report each, and one page that compares them.

    All settings are checked before the first is run. The store is shared, so nothing is computed twice.
    """
    from taskclust.sweep import sweep as run  # noqa: PLC0415

    raise typer.Exit(run(file, Path("reports") / file.stem if report is None else report, words))


@app.command()
def table(
    page: Annotated[Path, typer.Argument(metavar="PAGE", help="a Markdown file with the marks of each report")],
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT...")],
) -> None:
    """Put reports' verdicts between their marks in a page: ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``.

    Between ``NAME:short:begin`` and ``NAME:short:end`` stands a row a claim.
    """
    from taskclust.report.readme import insert_tables  # noqa: PLC0415

    insert_tables(page, reports)
    print(page)  # noqa: T201 - the result


@app.command("silent-points")
def silent_points(file: Path) -> None:
    """Write the page of what the paper leaves open."""
    from taskclust.silent_points import write_page  # noqa: PLC0415

    write_page(file)


@records.command("list")
def list_records(store: StoreFolder) -> None:
    """Show every record: kind, model, seed, how it ended, when and with what it was made. Nothing is written."""
    from taskclust.exchange import listed  # noqa: PLC0415
    from taskclust.formats import aligned_columns  # noqa: PLC0415

    _require_store(store)
    print(aligned_columns(listed(store)) or "no records")  # noqa: T201 - the result


@records.command()
def check(store: StoreFolder) -> None:
    """Compare every record, trainings too, with its sums; what differs is moved to the store's folder "quarantine"."""
    from taskclust.exchange import checked  # noqa: PLC0415

    whole, spoiled = checked(_existing(store))
    print(f"{whole} records whole" + "".join(f"\n{text}" for text in spoiled))  # noqa: T201 - the result
    raise typer.Exit(bool(spoiled))


@records.command()
def load(store: Annotated[Path, typer.Argument(metavar="STORE")], folder: Folder) -> None:
    """Put a folder's files into a store, or a new one, where a run finds them; what is there is left alone."""
    from taskclust.exchange import files_of  # noqa: PLC0415
    from taskclust.exchange import load as put  # noqa: PLC0415
    from taskclust.store import Store  # noqa: PLC0415

    files_of(folder)  # before a store is made
    print(*put(Store(store), folder), sep="\n")  # noqa: T201 - the result


@records.command()
def save(store: StoreFolder, folder: Folder) -> None:
    """Write every record of a store to a file, the same bytes for the same record; checkpoints stay behind."""
    from taskclust.exchange import save as write  # noqa: PLC0415
    from taskclust.store import CorruptRecordWarning  # noqa: PLC0415

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", CorruptRecordWarning)
        print(*write(_existing(store), folder), sep="\n")  # noqa: T201 - the result
    for one in found:
        typer.echo(str(one.message), err=True)
    raise typer.Exit(bool(found))


def _existing(store: Path) -> Any:
    """The store, which reading must not make."""
    from taskclust.store import Store  # noqa: PLC0415

    _require_store(store)
    return Store(store)


def _require_store(store: Path) -> None:
    require((store / "locks").is_dir(), "store", str(store), "it is no store; name the folder .taskclust of a run")


def _require_new(name: str, path: Path) -> None:
    require(not (path.exists() or path.is_symlink()), name, str(path), "it is there already; name a new one")
    require(path.parent.is_dir(), name, str(path), "its folder does not exist; make it first")


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """End in one line where a command cannot go on, and warn in one, without the source that warns."""
    from taskclust.store import RecordError, StoreError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say  # type: ignore[assignment]  # of six arguments it takes the first
            yield
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
    except OSError as error:
        raise SystemExit(f"{str(error.filename or '')!r}: {error.strerror or error}") from error
    except (ConfigError, RecordError, StoreError) as error:
        raise SystemExit(str(error)) from error


def _say(message: Warning | str, *_: Any) -> None:
    """Print a warning above whatever progress bar is drawn."""
    tqdm.write(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: the words behind "taskclust", by default those that were typed."""
    with _one_line():
        app(None if arguments is None else list(arguments))


if __name__ == "__main__":
    main()
