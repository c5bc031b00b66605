"""Records leave a store as files and enter another as themselves."""

import pytest

from taskclust.config import ConfigError
from taskclust.runs.exchange import load, main, save
from taskclust.runs.store import Store, read_json, write_json

KEY = "0123456789abcdef0123"
RECORDS = {
    "scores": {"config": {"model": {"width": 768}, "seed": 3}, "value": 1.5},
    "language": {"config": {"source": "some/model", "seed": 0}, "value": None},
}


@pytest.fixture
def store(tmp_path):
    filled = Store(tmp_path / "store")
    for kind, record in RECORDS.items():
        filled.obtain(kind, KEY, lambda folder, record=record: write_json(folder / "record.json", record))
    return filled


def test_files_are_named_by_what_they_hold(store, tmp_path):
    assert [file.name for file in save(store, tmp_path / "out")] == [
        f"scores-width-768-seed-3-{KEY}.json",
        f"language-model-seed-0-{KEY}.json",
    ]


def test_another_store_finds_them_under_their_keys(store, tmp_path):
    save(store, tmp_path / "out")
    other = Store(tmp_path / "other")

    load(other, tmp_path / "out")

    for kind, record in RECORDS.items():
        assert read_json(other.find(kind, KEY) / "record.json") == record


def test_what_is_there_is_left_alone(store, tmp_path):
    (file, _) = save(store, tmp_path / "out")
    file.write_text('{"value": 2}')

    load(store, tmp_path / "out")

    assert read_json(store.find("scores", KEY) / "record.json") == RECORDS["scores"]


def test_a_corrupt_record_is_not_carried(store, tmp_path):
    (store.path("scores", KEY) / "record.json").write_text("{}")

    with pytest.warns(UserWarning, match="moved to"):
        files = save(store, tmp_path / "out")

    assert [file.name for file in files] == [f"language-model-seed-0-{KEY}.json"]


def test_a_record_that_is_being_written_is_left_alone(store, tmp_path):
    unfinished = store.root / "scores" / ".0123-being-written"
    unfinished.mkdir()

    assert len(save(store, tmp_path / "out")) == 2
    assert unfinished.exists()


def test_a_folder_without_records_is_refused(store, tmp_path):
    (tmp_path / "notes.json").write_text("{}")

    with pytest.raises(ConfigError, match="it holds no record"):
        load(store, tmp_path)


def test_command_line_says_what_it_wrote(store, tmp_path, capsys):
    main(["save", str(store.root), str(tmp_path / "out")])

    assert capsys.readouterr().out.splitlines() == [
        str(file) for file in sorted((tmp_path / "out").iterdir(), reverse=True)
    ]


@pytest.mark.parametrize("verb", ["save", "load"])
def test_nothing_to_carry_ends_in_one_line(tmp_path, verb):
    with pytest.raises(SystemExit, match="it holds no record"):
        main([verb, str(tmp_path / "empty"), str(tmp_path / "folder")])
