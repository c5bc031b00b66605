#!/usr/bin/env bash
# torch 2.13.0: `torch.set_num_threads` in one thread sets the number of every thread that has not asked for its own yet.
#
# Behaviour: the main thread says 2 and asks `get_num_threads`; a second one says 1 and ends. Now the main thread still
# has 2. But all threads that start later have 1, and so has one that was there before and asked nothing. Had the main
# thread not asked either, then it too would have 1, a moment after it said 2.
#
# Why it surprises: the documentation says that the call "sets the number of threads used for intraop parallelism on
# CPU", so it reads as the process's number, or else as one's own. It is both: one's own at first, and everybody's who
# has not looked yet; `get_num_threads` looks like a question, and decides. A part of a program that makes its own
# threads single, so as not to take all cores, makes others single or not, depending on who asked first.
#
# Output seen (CPython 3.11, two cores or more):
#   said 2; another said 1: main 1
#   said 2, asked; another said 1: main 2, a new thread 1, one that was there and had not asked 1
#   said 2, asked: main 2, a new thread 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor

import torch

own = torch.get_num_threads


def in_new_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


torch.set_num_threads(2)
in_new_thread(torch.set_num_threads, 1)
found = own()
print(f"said 2; another said 1: main {found}")
assert found == 1, "what a thread says of itself holds now"

torch.set_num_threads(2)
assert own() == 2
with ThreadPoolExecutor(1) as there:
    there.submit(int).result()  # it has started, and asks nothing
    in_new_thread(torch.set_num_threads, 1)
    found = [own(), in_new_thread(own), there.submit(own).result()]
print("said 2, asked; another said 1: main {}, a new thread {}, one that was there and had not asked {}".format(*found))
assert found == [2, 1, 1], "a thread's number is of itself alone, or of all, now"

torch.set_num_threads(2)
found = [own(), in_new_thread(own)]
print(f"said 2, asked: main {found[0]}, a new thread {found[1]}")
assert found == [2, 2]
PYTHON
echo "as described"
