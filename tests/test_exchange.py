"""Records are carried between stores as files; a file that differs from its name is refused."""

import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from taskclust import experiments
from taskclust.config import ConfigError
from taskclust.exchange import load, read_record, save
from taskclust.experiments.natural_language import run as natural_language
from taskclust.experiments.natural_language.record import Origin
from taskclust.runner import Runner
from taskclust.store import RecordError, Store, encode
from tests.experiments.made import (
    FORMER,
    RECORDS,
    WEIGHTS,
    alignment_record,
    key_of,
    pretraining_record,
    put,
    synthetic_record,
)
from tests.helpers import command

COMMITTED = Path(__file__).parents[1] / "reports" / "records"
FILES = sorted(path for path in COMMITTED.iterdir() if path.is_file())


@pytest.fixture
def files(store, tmp_path):
    """The saved files of the store, by kind."""
    return dict(zip(experiments.names(), save(store, tmp_path / "out"), strict=True))


def content(store, kind, key):
    return (store.find(kind, key) / "record.json").read_bytes()


def test_files_are_named_by_their_content(files):
    keys = {kind: key_of(kind, record) for kind, record in RECORDS.items()}

    assert [file.name for file in files.values()] == [
        f"alignment-width-256-seed-2-{keys['alignment']}.json.xz",
        f"natural_language-somewhere-seed-0-{WEIGHTS}.json.xz",
        f"paper_tables-width-768-seed-0-{keys['paper_tables']}.json.xz",
        f"pretraining-width-256-seed-1-{keys['pretraining']}.json.xz",
        f"synthetic-width-768-seed-3-{keys['synthetic']}.json.xz",
    ]


def test_another_store_finds_them_under_their_keys(files, tmp_path):
    other = Store(tmp_path / "other")

    places = load(other, tmp_path / "out")

    assert places == [other.path(kind, key_of(kind, RECORDS[kind])) for kind in files]
    for kind, record in RECORDS.items():
        assert content(other, kind, key_of(kind, record)) == encode(record)
        if kind != "natural_language":
            answered = experiments.part(kind, "record").answers(record)
            assert Runner(other).is_stored(kind, answered)
            assert encode(Runner(other).record(kind, answered)) == encode(record)


def test_the_same_records_give_the_same_bytes_from_any_store(files, tmp_path):
    other = Store(tmp_path / "other")
    load(other, tmp_path / "out")

    again = save(other, tmp_path / "again")

    assert [file.name for file in again] == [file.name for file in files.values()]
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in files.values()]
    assert read_record(str(again[-1])).config == RECORDS["synthetic"].config


def test_existing_records_are_kept(store, tmp_path):
    other = Store(tmp_path / "other")
    changed = replace(RECORDS["synthetic"], seconds={"train": 99.0, "probe": 1.0})
    put(other, "synthetic", changed)
    save(store, tmp_path / "out")

    load(other, tmp_path / "out")

    assert content(other, "synthetic", key_of("synthetic", changed)) == encode(changed)


def test_a_corrupt_record_is_not_carried(store, tmp_path):
    place = store.path("synthetic", key_of("synthetic", RECORDS["synthetic"]))
    (place / "record.json").write_text("{}")

    with pytest.warns(UserWarning, match="moved to"):
        files = save(store, tmp_path / "out")

    assert [file.name.split("-")[0] for file in files] == list(experiments.names()[:-1])


def test_a_record_of_a_later_version_keeps_no_other_from_being_saved(store, tmp_path):
    key = key_of("alignment", RECORDS["alignment"])
    place = store.path("alignment", key)
    later = json.loads((place / "record.json").read_text()) | {"schema": 99}
    store.obtain(
        "alignment", key, lambda folder: (folder / "record.json").write_text(json.dumps(later)), recompute=True
    )

    with pytest.raises(
        RecordError, match=rf"{len(RECORDS) - 1} records are saved, but not alignment record {key} \("
    ) as e:
        save(store, tmp_path / "out")

    assert "99" in str(e.value)
    assert len(list((tmp_path / "out").iterdir())) == len(RECORDS) - 1


def test_a_record_that_is_being_written_is_not_touched(store, tmp_path):
    unfinished = store.root / "synthetic" / ".0123-being-written"
    unfinished.mkdir()

    assert len(save(store, tmp_path / "out")) == len(RECORDS)
    assert unfinished.exists()


def test_trainings_and_other_folders_are_not_saved(store, tmp_path):
    store.obtain("trajectory", "0123", lambda folder: (folder / "record.json").write_text("{}"))

    assert len(save(store, tmp_path / "out")) == len(RECORDS)


# ---------------------------------------------------------------- what is refused


def renamed(file, key="f" * 20):
    return file.rename(file.with_name(f"{file.name[:-28]}{key}.json.xz"))


@pytest.mark.parametrize("kind", ["alignment", "paper_tables", "pretraining", "synthetic"])
def test_a_renamed_file_is_refused_and_nothing_is_loaded(files, tmp_path, kind):
    file = renamed(files[kind])
    other = Store(tmp_path / "other")

    with pytest.raises(ConfigError, match=rf"{file.name}.*its record has the key {key_of(kind, RECORDS[kind])}"):
        load(other, tmp_path / "out")

    assert not any((other.root / kind).exists() for kind in experiments.names())


@pytest.mark.parametrize(
    "path", [("seed",), ("model", "dropout"), ("training", "learning_rate"), ("probe", "perplexity")], ids=".".join
)
def test_a_file_whose_settings_were_changed_is_refused(files, tmp_path, path):
    plain = json.loads(lzma.decompress(files["synthetic"].read_bytes()))
    place = plain["config"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = 7 if path[-1] in ("seed", "perplexity") else 0.125
    files["synthetic"].write_bytes(lzma.compress(json.dumps(plain).encode()))

    with pytest.raises(ConfigError, match="was it renamed or changed"):
        load(Store(tmp_path / "other"), tmp_path / "out")


@pytest.mark.parametrize("change", ["none", "name", "seed", "weights", "device"])
def test_a_language_models_record_names_its_weights(tmp_path, change):
    origin = Origin(content="weights", device="cpu")
    record = replace(RECORDS["natural_language"], origin=origin)
    key = natural_language.recorded_key(record)
    changed = {
        "seed": replace(record, config=replace(record.config, seed=7)),
        "weights": replace(record, origin=replace(origin, content="others")),
        "device": replace(record, origin=replace(origin, device="cuda")),
    }.get(change, record)
    name = f"natural_language-bundled-seed-0-{'a' * 20 if change == 'name' else key}.json.xz"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(lzma.compress(encode(changed)))
    other = Store(tmp_path / "other")

    if change == "none":
        load(other, tmp_path / "in")
        assert content(other, "natural_language", key) == encode(record)
    else:
        with pytest.raises(ConfigError, match=r"its record has the key [0-9a-f]{20}; was it renamed or changed"):
            load(other, tmp_path / "in")


def test_an_older_language_models_key_is_taken_from_the_name(files, tmp_path):
    renamed(files["natural_language"], key="a" * 20)
    other = Store(tmp_path / "other")

    load(other, tmp_path / "out")

    assert content(other, "natural_language", "a" * 20) == encode(RECORDS["natural_language"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda _: b"no archive",
        lambda _: b"",
        lambda content: content + b"junk",
        lambda content: content + b"\0" * 4,
        lambda content: content + content,
        lambda _: lzma.compress(b"no JSON"),
        lambda _: lzma.compress(b"[]"),
        lambda _: lzma.compress(b"{}"),
    ],
    ids=["cut", "no-archive", "empty", "junk-behind", "zeros-behind", "twice", "no-json", "no-object", "no-record"],
)
def test_a_file_that_holds_no_record_is_refused_by_its_name(files, tmp_path, spoil):
    file = files["pretraining"]
    file.write_bytes(spoil(file.read_bytes()))

    with pytest.raises(RecordError, match=f"{file.name}: "):
        load(Store(tmp_path / "other"), tmp_path / "out")
    with pytest.raises(RecordError, match=f"{file.name}: "):
        read_record(file)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("synthetic", "scores.validation"),
        ("synthetic", "bag_of_symbols.subset.tsne"),
        ("synthetic", "history.loss"),
        ("pretraining", "tuning.shuffled"),
        ("pretraining", "scores.validation"),
        ("alignment", "methods.mlp"),
        ("natural_language", "bag.best_layer.tsne"),
        ("paper_tables", "parameters.768"),
    ],
)
def test_a_record_with_an_incomplete_table_is_refused_by_the_missing_part(files, tmp_path, kind, path):
    plain = json.loads(lzma.decompress(files[kind].read_bytes()))
    *places, name = path.split(".")
    table = plain
    for place in places:
        table = table[place]
    del table[name]
    files[kind].write_bytes(lzma.compress(json.dumps(plain).encode()))

    with pytest.raises(RecordError, match=rf"{files[kind].name}: .* has no '.*'; compute the record again"):
        load(Store(tmp_path / "other"), tmp_path / "out")


def test_a_folder_without_records_is_refused(store, tmp_path):
    (tmp_path / "notes.md").write_text("what they are")

    with pytest.raises(ConfigError, match="it holds no record"):
        load(store, tmp_path)


@pytest.mark.parametrize(
    "name",
    ["notes.json", f"dataset-width-768-seed-0-{WEIGHTS}.json", "synthetic-width-768-seed-0.json.xz", "a.json.xz.new"],
    ids=["notes", "a kind that is no experiment's", "without a key", "half-written"],
)
@pytest.mark.usefixtures("files")
def test_an_unrecognized_file_is_refused(tmp_path, name):
    (tmp_path / "out" / name).write_text("{}")

    with pytest.raises(ConfigError, match=f"{name}.*it is not named like a record"):
        load(Store(tmp_path / "other"), tmp_path / "out")


def test_a_file_that_is_not_named_as_a_record_is_not_read(tmp_path):
    (tmp_path / "notes.json").write_text("{}")

    with pytest.raises(ConfigError, match=r"notes\.json.*it is not named like a record"):
        read_record(tmp_path / "notes.json")


# ---------------------------------------------------------------- files of former versions


@pytest.mark.parametrize(
    ("name", "kind", "record"),
    [
        ("scores", "synthetic", synthetic_record()),
        ("pretraining", "pretraining", pretraining_record()),
        ("alignment", "alignment", alignment_record()),
    ],
)
def test_an_older_file_is_loaded_under_todays_kind_and_key(tmp_path, name, kind, record):
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / f"{name}-width-768-seed-3-{WEIGHTS}.json"  # keys were made otherwise then
    file.write_text(json.dumps(FORMER[kind](record)))
    store = Store(tmp_path / "store")

    (place,) = load(store, tmp_path / "in")

    assert place == store.path(kind, key_of(kind, record))
    assert content(store, kind, place.name) == encode(record)
    assert encode(read_record(file)) == encode(record)


@pytest.mark.parametrize(("kind", "record"), [("synthetic", synthetic_record()), ("pretraining", pretraining_record())])
def test_a_record_of_one_start_is_used_only_for_the_default_starts(tmp_path, kind, record):
    """It was made with three starts of t-SNE, of which the one of lowest divergence was kept, and ten of k-means."""
    asked = record.config
    probe = replace(asked.probe, tsne_restarts=3, kmeans_restarts=10)
    scores = {split: replace(part, starts={}) for split, part in record.scores.items()}
    made = replace(record, config=replace(asked, probe=probe), scores=scores)
    (tmp_path / "in").mkdir()
    former_name = "scores" if kind == "synthetic" else kind
    file = tmp_path / "in" / f"{former_name}-width-768-seed-3-{WEIGHTS}.json"
    file.write_text(json.dumps(FORMER[kind](made)))
    runner = Runner(Store(tmp_path / "store"))

    load(runner.store, tmp_path / "in")

    assert runner.is_stored(kind, asked)
    assert not replace(runner, recompute=True).is_stored(kind, asked)
    assert not runner.is_stored(kind, replace(asked, probe=replace(asked.probe, tsne_restarts=4)))
    assert not runner.is_stored(kind, made.config)
    found = runner.record(kind, asked)
    assert found.scores["validation"].starts == {}
    assert encode(found.scores["validation"].tsne) == encode(record.scores["validation"].tsne)


# ---------------------------------------------------------------- what is committed


def is_kept(value, now):
    """Whether every number of a record's plain part still exists; fields may have been added since."""
    if isinstance(value, dict) and isinstance(now, dict):
        return all(name in now and is_kept(one, now[name]) for name, one in value.items())
    return value == now


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        ({"data": {"n": 1}}, True),
        ({"data": {"n": 1, "later": "as before"}, "more": 2}, True),
        ({"data": {"n": 2}}, False),
        ({"data": {"later": "as before"}}, False),
        ({"data": 1}, False),
    ],
    ids=["the same", "fields added", "another value", "a field lost", "another form"],
)
def test_a_part_is_kept_if_no_value_of_it_changes(now, kept):
    assert is_kept({"data": {"n": 1}}, now) == kept


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_committed_file_is_a_complete_record_under_its_own_key(file):
    kind, key = file.name.split("-")[0], file.name[-28:-8]

    record = read_record(file)

    kept, written = (json.loads(content) for content in (lzma.decompress(file.read_bytes()), encode(record)))
    lost = {name for name, value in kept.items() if name not in written or not is_kept(value, written[name])}
    assert lost == set()
    if kind != "natural_language":
        assert key == key_of(kind, record)


def test_all_committed_files_are_loaded(tmp_path):
    store = Store(tmp_path)

    places = load(store, COMMITTED)

    assert len(places) == len(set(places)) == len(FILES) >= 27
    assert {place.parent.name for place in places} == {"alignment", "natural_language", "pretraining", "synthetic"}


# ---------------------------------------------------------------- the command line


def test_command_line_says_what_it_wrote(store, tmp_path, capsys):
    assert command("records", "save", store.root, tmp_path / "out") == 0

    saved = capsys.readouterr().out.splitlines()
    assert saved == [str(file) for file in sorted((tmp_path / "out").iterdir())]

    assert command("records", "load", tmp_path / "other", tmp_path / "out") == 0
    assert len(capsys.readouterr().out.splitlines()) == len(saved)


@pytest.mark.parametrize("is_there", [True, False], ids=["empty", "not-there"])
@pytest.mark.parametrize("verb", ["save", "load"])
def test_an_empty_store_or_folder_gives_one_line(tmp_path, verb, is_there):
    if is_there:
        (tmp_path / "folder").mkdir()

    Store(tmp_path / "empty")

    said = command("records", verb, tmp_path / "empty", tmp_path / "folder")

    assert ("there is no such folder" if verb == "load" and not is_there else "it holds no record") in said
    assert (tmp_path / "folder").exists() == is_there


def test_an_invalid_file_gives_one_line(files, tmp_path):
    files["synthetic"].write_bytes(b"")

    assert files["synthetic"].name in command("records", "load", tmp_path / "other", tmp_path / "out")


def test_two_files_of_one_key_that_differ_are_refused(tmp_path):
    record = RECORDS["paper_tables"]
    folder = tmp_path / "files"
    folder.mkdir()
    name = f"paper_tables-width-768-seed-0-{key_of('paper_tables', record)}.json"
    (folder / f"{name}.xz").write_bytes(lzma.compress(encode(record)))
    (folder / name).write_bytes(encode(replace(record, sizes={**record.sizes, "train": 1})))

    with pytest.raises(ConfigError, match="is another record with the same key; leave one out"):
        load(Store(tmp_path / "store"), folder)
    assert not (tmp_path / "store" / "paper_tables").exists()
