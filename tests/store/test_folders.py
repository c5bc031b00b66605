"""Records are complete, unchanged, and made once."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from taskclust.store import folders as module
from taskclust.store.folders import (
    MANIFEST,
    CorruptRecordWarning,
    Store,
    StoreError,
    is_sealed,
    read_json,
    seal,
    write_json,
)

VALUE = {"answer": 42, "curve": [0.25, 0.5]}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def make():
    """Write a record of two files, and count the calls."""

    def _make(folder):
        _make.calls += 1
        write_json(folder / "record.json", VALUE)
        (folder / "parts").mkdir()
        (folder / "parts" / "weights.bin").write_bytes(bytes(range(200)))

    _make.calls = 0
    return _make


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def leftovers(store, kind="scores"):
    """The files next to the records."""
    folder = store.root / kind
    return [p.name for p in folder.iterdir() if p.name.startswith(".")] if folder.exists() else []


# ---------------------------------------------------------------- obtaining


def test_obtained_record_is_what_was_made(store, make):
    folder = store.obtain("scores", "abc", make)

    assert folder == store.path("scores", "abc") == store.find("scores", "abc")
    assert read_json(folder / "record.json") == VALUE
    assert (folder / "parts" / "weights.bin").read_bytes() == bytes(range(200))
    assert is_sealed(folder)
    assert leftovers(store) == []


def test_a_record_is_made_once(store, make):
    first = store.obtain("scores", "abc", make)

    assert store.obtain("scores", "abc", make) == first
    assert Store(store.root).obtain("scores", "abc", make) == first
    assert make.calls == 1


def test_records_of_other_kinds_and_keys_are_others(store, make):
    folders = {store.obtain(kind, key, make) for kind in ("scores", "dataset") for key in ("a", "b")}

    assert len(folders) == make.calls == 4


def test_a_missing_record_is_not_found(store):
    assert store.find("scores", "abc") is None


def test_recompute_replaces_the_record(store, make):
    folder = store.obtain("scores", "abc", make)

    store.obtain("scores", "abc", lambda f: write_json(f / "record.json", "new"), recompute=True)

    assert contents(folder).keys() == {"record.json", MANIFEST}
    assert read_json(folder / "record.json") == "new"
    assert leftovers(store) == []


def test_a_fault_while_replacing_a_record_loses_neither_version(store, make, monkeypatch):
    before = contents(store.obtain("scores", "abc", make))
    moved = []

    def replace(path, target):
        if moved:
            raise OSError("the second of two renames")
        moved.append(target)
        return real(path, target)

    real = Path.replace
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="the second of two"):
        store.obtain("scores", "abc", lambda f: write_json(f / "record.json", "new"), recompute=True)
    monkeypatch.undo()

    assert not store.path("scores", "abc").exists()
    assert contents(store.find("scores", "abc")) == before


def test_recompute_does_not_continue_from_a_finished_run(store, make):
    left = store.unfinished("scores", "abc")
    left.mkdir()
    (left / "state").write_text("the end")
    seen = []

    store.obtain("scores", "abc", lambda f: (seen.append((left / "state").exists()), make(f)), recompute=True)

    assert seen == [False]


def test_unfinished_work_left_after_a_record_was_written_is_removed(store, make):
    store.obtain("scores", "abc", make)
    store.unfinished("scores", "abc").mkdir(parents=True)

    store.obtain("scores", "abc", make)

    assert not store.unfinished("scores", "abc").exists()


def test_a_stopped_recompute_continues_from_its_own_work(store, make):
    left = store.unfinished("scores", "abc")

    def stopped(_):
        (left / "state").write_text("half way")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.obtain("scores", "abc", stopped, recompute=True)
    seen = []

    store.obtain("scores", "abc", lambda f: (seen.append((left / "state").read_text()), make(f)), recompute=True)

    assert seen == ["half way"]
    assert not left.exists()


def fail(folder):
    (folder / "half").write_text("half")
    raise ZeroDivisionError("in the middle")


def test_a_make_that_raises_leaves_nothing(store):
    with pytest.raises(ZeroDivisionError, match="in the middle"):
        store.obtain("scores", "abc", fail)

    assert store.find("scores", "abc") is None
    assert not list((store.root / "scores").iterdir())


@pytest.mark.parametrize("filename", [None, "elsewhere"])
def test_a_full_disk_error_without_a_file_names_the_record(store, filename):
    def full(_folder):
        raise OSError(errno.ENOSPC, "No space left on device", filename)

    with pytest.raises(OSError, match="No space left") as caught:
        store.obtain("scores", "0123", full)

    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == (filename or str(store.path("scores", "0123")))


def test_a_recompute_that_raises_leaves_the_old_record(store, make):
    before = contents(store.obtain("scores", "abc", make))

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        store.obtain("scores", "abc", fail, recompute=True)

    assert contents(store.find("scores", "abc")) == before


def test_after_a_make_that_raised_another_can_make_it(store, make):
    with pytest.raises(ZeroDivisionError, match="in the middle"):
        store.obtain("scores", "abc", fail)

    assert is_sealed(store.obtain("scores", "abc", make))


def test_unfinished_work_is_removed_only_with_a_finished_record(store, make):
    unfinished = store.unfinished("scores", "abc")
    unfinished.mkdir()

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        store.obtain("scores", "abc", fail)
    assert unfinished.exists()

    store.obtain("scores", "abc", make)
    assert not unfinished.exists()


# ---------------------------------------------------------------- corruption


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])


def assert_put_aside(store, make):
    """The record is quarantined with one warning that names it, and is made again."""
    calls = make.calls
    aside = len(list((store.root / "quarantine").glob("*"))) if (store.root / "quarantine").exists() else 0
    with pytest.warns(CorruptRecordWarning, match="scores record abc: .*moved to .*quarantine"):
        folder = store.obtain("scores", "abc", make)

    assert make.calls == calls + 1
    assert is_sealed(folder)
    assert read_json(folder / "record.json") == VALUE
    quarantined = list((store.root / "quarantine").glob("scores-abc-*/record"))
    assert len(quarantined) == aside + 1


@pytest.mark.parametrize("name", ["record.json", "parts/weights.bin", MANIFEST])
def test_every_flipped_bit_is_seen(store, make, name):
    path = store.obtain("scores", "abc", make) / name
    bits = path.stat().st_size * 8

    for bit in range(0, bits, 7):
        flip(path, bit)
        assert not is_sealed(path.parents[name.count("/")]), bit
        flip(path, bit)

    assert is_sealed(store.path("scores", "abc"))


@pytest.mark.parametrize("name", ["record.json", "parts/weights.bin", MANIFEST])
@pytest.mark.parametrize("bit", [0, 67])
def test_a_record_with_a_flipped_bit_is_made_again(store, make, name, bit):
    flip(store.obtain("scores", "abc", make) / name, bit)

    assert_put_aside(store, make)


@pytest.mark.parametrize("name", ["record.json", "parts/weights.bin", MANIFEST])
@pytest.mark.parametrize("size", [0, 1, 17, -1], ids=["empty", "one-byte", "some", "but-one"])
def test_a_truncated_record_is_made_again(store, make, name, size):
    truncate(store.obtain("scores", "abc", make) / name, size)

    assert_put_aside(store, make)


@pytest.mark.parametrize("name", ["record.json", "parts/weights.bin", MANIFEST])
def test_a_record_without_one_of_its_files_is_made_again(store, make, name):
    (store.obtain("scores", "abc", make) / name).unlink()

    assert_put_aside(store, make)


def test_a_record_whose_files_are_swapped_is_made_again(store, make):
    folder = store.obtain("scores", "abc", make)
    first, second, third = folder / "record.json", folder / "parts" / "weights.bin", folder / "third"
    first.rename(third)
    second.rename(first)
    third.rename(second)

    assert_put_aside(store, make)


def test_a_record_with_a_file_of_another_is_made_again(store, make):
    folder = store.obtain("scores", "abc", make)
    other = store.obtain("scores", "other", lambda f: write_json(f / "record.json", "other"))
    (other / "record.json").replace(folder / "record.json")

    assert_put_aside(store, make)


def test_two_records_that_are_swapped_do_not_answer_for_each_other(store, make):
    first, second = (store.obtain("scores", key, make) for key in ("abc", "other"))
    between = first.with_name("between")
    first.rename(between)
    second.rename(first)
    between.rename(second)

    with pytest.warns(CorruptRecordWarning, match="abc: it is the scores record other"):
        assert store.find("scores", "abc") is None


def test_a_record_with_a_file_more_is_made_again(store, make):
    (store.obtain("scores", "abc", make) / "parts" / "more.bin").write_bytes(b"more")

    assert_put_aside(store, make)


def test_older_manifests_without_kind_and_key_are_accepted(store, make):
    folder = store.obtain("scores", "abc", make)
    write_json(folder / MANIFEST, read_json(folder / MANIFEST)["files"])

    assert store.find("scores", "abc") == folder
    assert make.calls == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '"record.json"', '{"record.json": null}', "{}", "\x00\xff"]
)
def test_a_record_with_a_garbage_manifest_is_made_again(store, make, text):
    (store.obtain("scores", "abc", make) / MANIFEST).write_text(text, encoding="latin-1")

    assert_put_aside(store, make)


def test_a_file_where_a_record_should_be_is_put_aside(store, make):
    store.path("scores", "abc").parent.mkdir()
    store.path("scores", "abc").write_text("not a folder")

    assert_put_aside(store, make)


def test_every_corrupt_copy_is_kept(store, make):
    for _ in range(3):
        truncate(store.obtain("scores", "abc", make) / "record.json", 1)
        assert_put_aside(store, make)


def test_an_untouched_record_gives_no_warning(store, make):
    store.obtain("scores", "abc", make)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.find("scores", "abc") is not None


def test_a_sealed_folder_that_is_sealed_again_is_whole(tmp_path):
    """A process that was killed between sealing and renaming leaves a manifest behind."""
    write_json(tmp_path / "record.json", VALUE)
    seal(tmp_path)

    write_json(tmp_path / "record.json", "other")
    seal(tmp_path)

    assert is_sealed(tmp_path)


# ---------------------------------------------------------------- the folder


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"store='.*file/sub': cannot be written .*choose another folder with --store"):
        Store(tmp_path / "file" / "sub")


def test_a_read_only_folder_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(module.tempfile, "TemporaryFile", refuse)

    with pytest.raises(StoreError, match=r"read-only file system\); choose another folder"):
        Store(tmp_path)


# ---------------------------------------------------------------- JSON


def test_nan_is_written_as_null(tmp_path):
    write_json(tmp_path / "x.json", {"loss": [math.nan, 0.5], "deep": ({"a": math.nan},)})

    assert json.loads((tmp_path / "x.json").read_text()) == {"loss": [None, 0.5], "deep": [{"a": None}]}


def test_infinity_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", [math.inf])


def test_floats_come_back_bit_for_bit(tmp_path):
    values = [0.1, 1 / 3, 5e-324, -0.0, 1e22]
    write_json(tmp_path / "x.json", values)

    assert [v.hex() for v in read_json(tmp_path / "x.json")] == [v.hex() for v in values]


# ---------------------------------------------------------------- processes

# folders.py alone, without the package: a process starts in a moment
PRELUDE = f"""
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("store", {str(Path(module.__file__))!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
root, counter = Path(sys.argv[1]), Path(sys.argv[2])
"""
SLOW = (
    PRELUDE
    + """
def make(folder):
    with counter.open("a") as file:
        file.write("made\\n")
    time.sleep(0.5)
    module.write_json(folder / "record.json", "slow")
print(module.read_json(module.Store(root).obtain("scores", "abc", make) / "record.json"))
"""
)
STUCK = (
    PRELUDE
    + """
def make(folder):
    (folder / "half").write_text("half")
    (module.Store(root).unfinished("scores", "abc")).mkdir(exist_ok=True)
    print("ready", flush=True)
    time.sleep(60)
module.Store(root).obtain("scores", "abc", make)
"""
)


def start(script, store, tmp_path):
    arguments = [sys.executable, "-c", script, str(store.root), str(tmp_path / "counter")]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_only_one_of_several_processes_makes_a_record(store, tmp_path):
    processes = [start(SLOW, store, tmp_path) for _ in range(3)]

    answers = [process.communicate(timeout=30)[0] for process in processes]

    assert answers == ["slow\n"] * 3
    assert (tmp_path / "counter").read_text() == "made\n"


def test_a_process_killed_in_the_middle_leaves_no_record_and_a_free_lock(store, tmp_path, make):
    process = start(STUCK, store, tmp_path)
    assert process.stdout.readline() == "ready\n"

    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)

    assert store.find("scores", "abc") is None
    assert store.unfinished("scores", "abc").exists()
    started = time.monotonic()
    assert is_sealed(store.obtain("scores", "abc", make))
    assert time.monotonic() - started < 5
    assert make.calls == 1
    assert leftovers(store) == []


def test_an_old_record_never_replaces_a_newer_one(store, make):
    folder = store.obtain("scores", "abc", make)
    left = folder.with_name(".abc.replaced")
    shutil.copytree(folder, left)

    assert store.find("scores", "abc") == folder
    assert not left.exists()
