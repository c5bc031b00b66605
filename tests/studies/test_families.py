"""The table of families shows each report's numbers and verdicts, and a dash if a report has none."""

import json
import shutil
from pathlib import Path

import pytest

from studies.families import main, numbers, page, read, verdicts

SMOKE = Path(__file__).parents[2] / "reports" / "smoke" / "verdicts.json"


@pytest.fixture
def folder(tmp_path):
    for name in ("decoder", "part"):
        (tmp_path / name).mkdir()
    shutil.copy(SMOKE, tmp_path / "decoder")
    report = json.loads(SMOKE.read_text())
    report["results"] = [cell for cell in report["results"] if cell["claim"] == "plateau-then-rise"]
    report["results"][0]["verdict"] = "fails (smoke)"
    (tmp_path / "part" / "verdicts.json").write_text(json.dumps(report))
    return tmp_path


def test_numbers_are_the_reports(folder):
    rows = {row["measured"]: row for row in numbers(read(folder))}

    report = json.loads(SMOKE.read_text())
    (emergence,) = [c for c in report["results"] if (c["claim"], c["cell"]) == ("cluster-emergence", "validation")]
    (late,) = [check for check in emergence["checks"] if check["name"] == "late f1"]
    assert rows["late f1 (control)"]["decoder"].startswith(f"{late['mean']:.2f} [")
    assert rows["late f1 (control)"]["decoder"].endswith(f"({late['null_mean']:.2f})")
    assert rows["late f1 (control)"]["part"] == "–"
    assert rows["highest accuracy"]["part"] == rows["highest accuracy"]["decoder"]


def test_verdicts_are_side_by_side(folder):
    rows = {(row["claim"], row["condition"]): row for row in verdicts(read(folder))}

    assert rows["plateau-then-rise", "validation"]["part"] == "fails (smoke)"
    assert rows["plateau-then-rise", "validation"]["decoder"] != "fails (smoke)"
    assert rows["cluster-emergence", "validation"]["part"] == "–"


def test_the_page_names_commands_and_machine(folder):
    main([str(folder)])

    assert (folder / "families.md").read_text() == page(read(folder))
    assert f"    {json.loads(SMOKE.read_text())['command']}\n" in page(read(folder))


def test_a_folder_without_reports_is_refused_in_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"no FAMILY/verdicts\.json"):
        main([str(tmp_path)])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"profile": "paper"}, "report='part': give reports at the smoke scale"),
        ({"seeds": [1, 2, 3, 4, 5, 6]}, r"report='part': its seeds are \[1, 2, 3, 4, 5, 6\], those of the first \["),
    ],
    ids=["scale", "seeds"],
)
def test_reports_that_do_not_belong_together_are_refused(folder, change, said):
    file = folder / "part" / "verdicts.json"
    report = json.loads(file.read_text())
    report["results"] = [{**cell, **change} for cell in report["results"]]
    file.write_text(json.dumps(report))

    with pytest.raises(SystemExit, match=said):
        main([str(folder)])
    assert not (folder / "families.md").exists()
