"""The documentation site's generated pages, as hooks of MkDocs: ``mkdocs build -f .ci/mkdocs.yml``.

Generated pages are the home page (from README), one page per claim, the silent points, the reference, and a page for
every file outside ``docs`` that a page links to. Numbers quoted by key are checked against their sources; an unknown
key or a stale number fails the build.
"""

import csv
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

import typer

import taskclust
from studies.numbers import differences, plain, sources
from taskclust import cli, silent_points
from taskclust.claims import load_claims
from taskclust.claims.claim import Claim
from taskclust.config import ConfigError
from taskclust.formats import band, markdown, number

ROOT = Path(__file__).parents[1]
SOURCES = {
    "table": "printed in a table of the paper",
    "text": "said in the paper's text",
    "ours": "chosen by us",
    "fitted": "printed, but a silent point was chosen by it",
    "later": "chosen by us after runs had been seen",
}
_LINK = re.compile(r"(\]\()(?!https?:|#|mailto:)([^)\s#]+)")
#: A fence around a file of code, which may contain shorter fences; nothing in it is a link.
_FENCE = "`" * 6
_LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "sh", ".json": "json", ".ini": "ini", ".cff": "yaml"}


# --- hooks -----------------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put one page per claim, and optional pages, into the navigation."""
    claims = [{name: f"claims/{name}.md"} for name in load_claims(ROOT / "benchmarks")]
    for entry in config.nav:
        for parts in entry.values():
            if isinstance(parts, list):
                parts[:] = [{"Claims": claims} if part == {"Claims": "claims/"} else part for part in parts]
        if "Guides" in entry and (ROOT / "docs" / "cluster.md").is_file():
            entry["Guides"].append("cluster.md")
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File, InclusionLevel  # noqa: PLC0415 - only the site's environment has it

    pages = generated_pages(ROOT)
    texts = {**dict(_written(files)), **pages}
    for name, text in pages.items():
        if files.get_file_from_path(name) is not None:
            files.remove(files.get_file_from_path(name))  # docs/silent-points.md, which a command writes there
        files.append(File.generated(config, name, content=text))
    for name, content in linked_files(texts, ROOT).items():
        files.append(File.generated(config, name, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Any) -> str:
    """The page's text with quoted numbers checked and links pointing into the site.

    Raises:
        PluginError: a number is unknown or stale.
    """
    from mkdocs.exceptions import PluginError  # noqa: PLC0415

    del config, files
    if page.file.src_uri.startswith("files/"):
        return in_site(text, page.file.src_uri)
    try:
        stale = differences(page.file.src_uri, text, sources())
    except ConfigError as error:
        raise PluginError(str(error)) from error
    if stale:
        raise PluginError("\n".join([*stale, "python -m studies.numbers README.md docs/*.md rewrites stale numbers"]))
    return in_site(plain(text), page.file.src_uri)


def _written(files: Any) -> Iterator[tuple[str, str]]:
    for file in files.documentation_pages():
        yield file.src_uri, file.content_string


# --- links -----------------------------------------------------------------------------------------------------------


def place_of(uri: str) -> str:
    """The path of a site's page in the repository, which its links are relative to."""
    if uri == "index.md":
        return "README.md"
    if uri.startswith("files/"):
        return uri.removeprefix("files/")
    return f"docs/{uri}"


def target_of(link: str, uri: str) -> str:
    """The path in the repository that a link of a page points to."""
    return normpath(str(PurePosixPath(place_of(uri)).parent / link))


def in_site(text: str, uri: str) -> str:
    """The page's text with links to the repository's files replaced by links to their pages in the site."""
    if _FENCE in text:
        return text

    def changed(found: re.Match[str]) -> str:
        return found[1] + relpath(_page_of(target_of(found[2], uri)), str(PurePosixPath(uri).parent))

    return _LINK.sub(changed, text)


def _page_of(target: str) -> str:
    """The site's page for a path of the repository."""
    if target == "README.md":
        return "index.md"
    if target.startswith("docs/") and target.endswith(".md"):
        return target.removeprefix("docs/")
    if Path(target).suffix in (".md", ".png"):
        return f"files/{target}"
    return f"files/{target}.md"


def linked_files(pages: dict[str, str], root: Path) -> dict[str, str | bytes]:
    """A page for every file or folder outside ``docs`` that pages link to, directly or through such pages.

    Code files are shown, folders listed.
    """
    found: dict[str, str | bytes] = {}
    left = list(pages.items())
    while left:
        uri, text = left.pop()
        for link in (one[2] for one in _LINK.finditer(text)):
            target = target_of(link, uri)
            page = _page_of(target)
            if page in found or page in pages or not page.startswith("files/") or not (root / target).exists():
                continue
            found[page] = content = _shown(root / target, target)
            if isinstance(content, str) and _FENCE not in content:
                left.append((page, content))
    return found


def _shown(path: Path, target: str) -> str | bytes:
    if path.is_dir():
        names = sorted(one.name for one in path.iterdir() if one.name[0] not in "._" or one.name == "__init__.py")
        base = PurePosixPath(target).name
        links = [f"- [{name}]({base}/{name})" if _is_text(path / name) else f"- {name}" for name in names]
        return "\n".join([f"# {target}/", "", *links, ""])
    if path.suffix == ".png":
        return path.read_bytes()
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return text if text.startswith("# ") else f"# {target}\n\n{text}"
    return f"# {target}\n\n{_FENCE}{_LANGUAGES.get(path.suffix, 'text')}\n{text}\n{_FENCE}\n"


def _is_text(path: Path) -> bool:
    return path.suffix in (*_LANGUAGES, ".md")


# --- pages -----------------------------------------------------------------------------------------------------------


def generated_pages(root: Path) -> dict[str, str]:
    """Every generated page by its path in the site."""
    claims = load_claims(root / "benchmarks")
    return {
        "index.md": (root / "README.md").read_text("utf-8"),
        "silent-points.md": silent_points.page(silent_points.silent_points()),
        "reference/index.md": reference(),
        "reference/command-line.md": command_line(),
        **{f"claims/{name}.md": claim_page(claim, root) for name, claim in claims.items()},
    }


def claim_page(claim: Claim, root: Path) -> str:
    """A claim's page: the sentence, its verdicts in each report, every check with its number, and the figures."""
    name = f"test_{claim.id.replace('-', '_')}.py"
    links = f"[{name}](../../benchmarks/{name}); terms: [how a verdict is reached](../verdicts.md)"
    lines = [f"# {claim.id}", "", f"> {claim.sentence}", "", f"In the paper: {claim.place}. The test: {links}."]
    tables = sorted((root / "reports").glob("*/checks.csv"))
    runs = {table.parent.name: rows for table in tables if (rows := _rows(table, claim.id))}
    if not runs:
        return "\n".join([*lines, "", f"It has not been run. {claim.elsewhere}", ""])
    lines += ["", "## Verdicts", "", _verdicts(claim, runs, root), "", "## Checks", ""]
    for count, (run, rows) in enumerate(runs.items()):
        kind = "???+" if count == 0 else "???"
        lines += [f'{kind} note "{run}"', "", *(f"    {line}" for line in markdown(_checks(rows)).splitlines()), ""]
    lines += [_sources(runs), *_known_failures(claim), *_figures(claim, runs, root)]
    return "\n".join([*lines, ""])


def _rows(table: Path, claim: str) -> list[dict[str, str]]:
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["claim"] == claim]


def _verdicts(claim: Claim, runs: dict[str, list[dict[str, str]]], root: Path) -> str:
    """One row per condition, one column per report."""
    by_run = {
        f"[{run}](../../reports/{run}/verdicts.md)": {
            row["cell"]: row["verdict"] for row in _rows(root / "reports" / run / "verdicts.csv", claim.id)
        }
        for run in runs
    }
    conditions = list(dict.fromkeys(cell for cells in by_run.values() for cell in cells))
    return markdown(
        [{"condition": one, **{run: cells.get(one, "–") for run, cells in by_run.items()}} for one in conditions]
    )


def _checks(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [
        {
            "condition": row["cell"],
            "check": row["check"],
            "mean": number(_float(row["mean"])) + band(_float(row["low"]), _float(row["high"])),
            "seeds": row["n"],
            "criterion": _criterion(row),
            "negative control": f"{number(_float(row['control']))} ({row['control_name']})",
            "source": row["source"],
            "verdict": row["verdict"],
        }
        for row in rows
    ]


def _criterion(row: dict[str, str]) -> str:
    relation = row["criterion"].replace(">=", "≥").replace("<=", "≤")
    tolerance = f" ± {number(_float(row['tolerance']))}" if row["tolerance"] else ""
    return f"{relation} {number(_float(row['bound']))}{tolerance}"


def _float(text: str) -> float | None:
    return float(text) if text else None


def _sources(runs: dict[str, list[dict[str, str]]]) -> str:
    reasons = {(row["check"], row["source"]): row["reason"] for rows in runs.values() for row in rows}
    lines = ["## Where the criteria are from", ""]
    lines += [f"- {check}: {SOURCES[source]}{f'; {why}' if why else ''}" for (check, source), why in reasons.items()]
    return "\n".join([*lines, ""])


def _known_failures(claim: Claim) -> list[str]:
    found = [
        f"- {scale}, {cell}: {failure.reason} ({failure.evidence})"
        for scale, cells in claim.known_failures.items()
        for cell, failure in cells.items()
    ]
    return ["## Known failures", "", *found, ""] if found else []


def _figures(claim: Claim, runs: dict[str, list[dict[str, str]]], root: Path) -> list[str]:
    """The claim's figures from the first report that has them."""
    for run in runs:
        folder = root / "reports" / run / "figures"
        files = sorted({file for name in claim.figures for file in folder.glob(f"{name}.png")})
        if files:
            shown = [f"![{file.stem}](../../reports/{run}/figures/{file.name})\n" for file in files]
            return ["## Figures", "", f"From {run}.", "", *shown]
    return []


def reference() -> str:
    """The page of public names with their docstrings."""
    lines = [
        "# Reference",
        "",
        "The names of `from taskclust import ...`. See also [the command line](command-line.md)",
    ]
    lines[-1] += " and [the letters of arrays' shapes](../shapes.md)."
    for name in taskclust.__all__:
        one = getattr(taskclust, name)
        path = f"{one.__module__}.{one.__qualname__}" if hasattr(one, "__qualname__") else one.__name__
        lines += ["", f"::: {path}"]
    return "\n".join([*lines, ""])


def command_line() -> str:
    """The page with the help of every command and of pytest's options."""
    lines = ["# The command line", *_helps("taskclust", typer.main.get_command(cli.app))]
    words = [sys.executable, "-m", "pytest", "benchmarks", "--help"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^claims of the paper:\n.*?(?=\n\n)", said, re.DOTALL | re.MULTILINE)
    assert found is not None  # the plugin's group
    return "\n".join([*lines, "", "## pytest benchmarks", "", "```text", found[0].strip(), "```", ""])


def _helps(name: str, command: Any) -> Iterator[str]:
    """The lines of a command's help and of its subcommands' help."""
    yield from ("", f"## {name}", "", "```text", command.get_help(typer.Context(command, info_name=name)), "```")
    for below, one in getattr(command, "commands", {}).items():
        yield from _helps(f"{name} {below}", one)
