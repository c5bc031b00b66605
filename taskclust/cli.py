"""The command ``taskclust``: everything but the tests, which pytest runs.

Each command imports what it needs when it runs, so that ``--help`` is quick.
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
    help="Commands besides the claims, which pytest runs. They only replace files that they wrote themselves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
records = typer.Typer(help="Records of a store: list, check, load, save.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(records, name="records")

Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="e.g. n_mappings=4, perplexity=20"),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER")]
StoreFolder = Annotated[Path, typer.Argument(metavar="STORE", help="the folder .taskclust of a run")]


@app.command()
def data(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a new .jsonl or .parquet file (pandas, pyarrow)")],
    seed: int = 0,
    scale: Annotated[str, typer.Option(help="paper or smoke: the size of the data set")] = "paper",
    settings: Setting = None,
) -> None:
    """Write a synthetic data set for models of your own, one row per instance with all its identities."""
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
    untrained: Annotated[int, typer.Option(help="number of random-weight models to compare with")] = 3,
    resamples: Annotated[int, typer.Option(help="resamples of the instructions, for intervals")] = 200,
    seed: int = 0,
    settings: Setting = None,
) -> None:
    """Cluster a language model's states of prompts at every layer; compare untrained models and a bag of tokens."""
    from taskclust.config import MOST_THREADS, LanguageConfig  # noqa: PLC0415
    from taskclust.experiments.natural_language.run import short_name  # noqa: PLC0415
    from taskclust.language import default_probe, read_prompts  # noqa: PLC0415
    from taskclust.language import probe as measure  # noqa: PLC0415
    from taskclust.models.language import opened  # noqa: PLC0415
    from taskclust.profiles import changed  # noqa: PLC0415

    if to is not None:
        _require_new("to", to)
    LanguageConfig(untrained=untrained, resamples=resamples, seed=seed)  # check before a model is loaded
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
    if to is not None:
        found.write(to)  # first: a terminal may not be able to show every character
    print(found)  # noqa: T201 - the result
    if to is not None:
        print(f"\n{to / 'index.html'}")  # noqa: T201


@app.command()
def compare(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT...", help="two or more folders of reports")],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="also write a page")] = None,
) -> None:
    """Show the differences between reports: verdicts, statistics paired by seed, settings."""
    from taskclust.compare import print_comparisons  # noqa: PLC0415

    print_comparisons(reports, html)


@app.command()
def index(
    reports: Annotated[Path, typer.Argument(metavar="REPORTS", help="a folder of reports")] = Path("reports"),
) -> None:
    """Write ``index.html`` into a folder of reports: the verdicts of all of them side by side, with links."""
    from taskclust.report.index import write_index  # noqa: PLC0415

    print(write_index(reports))  # noqa: T201 - the result


@app.command()
def sweep(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML or JSON: [settings.NAME] of FIELD = VALUE; [grid]")
    ],
    words: Annotated[list[str], typer.Argument(metavar="-- PYTEST...", help="arguments for pytest, e.g. benchmarks")],
    report: Annotated[Path | None, typer.Option(help="folder of the reports (reports/<name of FILE>)")] = None,
) -> None:
    """Judge the claims under several settings: one report per setting, and one page that compares them.

    All settings are checked before the first run. The runs share a store, so nothing is computed twice.
    """
    from taskclust.sweep import sweep as run  # noqa: PLC0415

    raise typer.Exit(run(file, Path("reports") / file.stem if report is None else report, words))


@app.command()
def table(
    page: Annotated[Path, typer.Argument(metavar="PAGE", help="a Markdown file with the marks of each report")],
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT...")],
) -> None:
    """Put the verdicts of reports between marks in a page: ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``.

    ``NAME:short:begin`` and ``NAME:short:end`` enclose a shorter table with one row per claim.
    """
    from taskclust.report.readme import insert_tables  # noqa: PLC0415

    insert_tables(page, reports)
    print(page)  # noqa: T201 - the result


@app.command("silent-points")
def silent_points(file: Path) -> None:
    """Write the page that lists the choices that the paper leaves open."""
    from taskclust.silent_points import write_page  # noqa: PLC0415

    write_page(file)


@records.command("list")
def list_records(store: StoreFolder) -> None:
    """List the records: kind, model, seed, failure, when and with which versions it was made. Writes nothing."""
    from taskclust.exchange import listed  # noqa: PLC0415
    from taskclust.formats import aligned_columns  # noqa: PLC0415

    _require_store(store)
    print(aligned_columns(listed(store)) or "no records")  # noqa: T201 - the result


@records.command()
def check(store: StoreFolder) -> None:
    """Verify the checksums of records and trainings; damaged ones move to the store's folder "quarantine"."""
    from taskclust.exchange import checked  # noqa: PLC0415

    whole, spoiled = checked(_existing(store))
    print(f"{whole} records whole" + "".join(f"\n{text}" for text in spoiled))  # noqa: T201 - the result
    raise typer.Exit(bool(spoiled))


@records.command()
def load(store: Annotated[Path, typer.Argument(metavar="STORE")], folder: Folder) -> None:
    """Put saved records into a store, where runs find them. A new store is made if needed; nothing is replaced."""
    from taskclust.exchange import files_of  # noqa: PLC0415
    from taskclust.exchange import load as put  # noqa: PLC0415
    from taskclust.store import Store  # noqa: PLC0415

    files_of(folder)  # before a store is made
    print(*put(Store(store), folder), sep="\n")  # noqa: T201 - the result


@records.command()
def save(store: StoreFolder, folder: Folder) -> None:
    """Write each record of a store to a file, without checkpoints; the same record always gives the same bytes."""
    from taskclust.exchange import save as write  # noqa: PLC0415
    from taskclust.store import CorruptRecordWarning  # noqa: PLC0415

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", CorruptRecordWarning)
        print(*write(_existing(store), folder), sep="\n")  # noqa: T201 - the result
    for one in found:
        typer.echo(str(one.message), err=True)
    raise typer.Exit(bool(found))


def _existing(store: Path) -> Any:
    """The store at a path; refused if there is none, so that reading does not create one."""
    from taskclust.store import Store  # noqa: PLC0415

    _require_store(store)
    return Store(store)


def _require_store(store: Path) -> None:
    require((store / "locks").is_dir(), "store", str(store), "not a store; name the folder .taskclust of a run")


def _require_new(name: str, path: Path) -> None:
    require(not (path.exists() or path.is_symlink()), name, str(path), "it already exists; choose a new name")
    require(path.parent.is_dir(), name, str(path), "its parent folder does not exist; create it first")


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Show errors as one line without a traceback, and warnings as one line without their source."""
    from taskclust.store import RecordError, StoreError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say  # type: ignore[assignment]  # it uses only the first of six arguments
            yield
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
    except OSError as error:
        raise SystemExit(f"{str(error.filename or '')!r}: {error.strerror or error}") from error
    except (ConfigError, RecordError, StoreError) as error:
        raise SystemExit(str(error)) from error


def _say(message: Warning | str, *_: Any) -> None:
    """Print a warning above any progress bar."""
    tqdm.write(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: the words after "taskclust", by default those that were typed."""
    with _one_line():
        app(None if arguments is None else list(arguments))


if __name__ == "__main__":
    main()
