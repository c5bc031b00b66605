#!/usr/bin/env bash
# torch 2.13.0: `torch.set_num_threads` in one thread sets the number of all threads that start later, but of no other.
#
# Behaviour: the main thread says 2. A second one says 1 and ends. The main thread still has 2, a thread that was at
# work meanwhile, too, and every thread that starts from now on has 1, whoever starts it. `get_num_threads` tells one's own
# number, so no thread can see what the next one will get.
#
# Why it surprises: the documentation says that the call "sets the number of threads used for intraop parallelism on
# CPU", so it reads as the process's number, or else as one's own. It is both: one's own now, and everybody's to be. A
# library that makes its own threads single, so as not to take all cores (torch's own thread that pins a DataLoader's
# batches does), makes each pool of threads that is begun after it single, too; whether a program is fast depends on
# which of two pools starts first.
#
# Output seen (CPython 3.11, two cores or more):
#   after the main thread said 2: main 2, a new thread 2
#   after another thread said 1: main 2, one at work 2, a new thread 1
#   after the main thread said 2 again: main 2, a new thread 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from concurrent.futures import ThreadPoolExecutor

import torch


def in_new_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


own = torch.get_num_threads
torch.set_num_threads(2)
found = [own(), in_new_thread(own)]
print(f"after the main thread said 2: main {found[0]}, a new thread {found[1]}")
assert found == [2, 2]

with ThreadPoolExecutor(1) as at_work:
    assert at_work.submit(own).result() == 2  # it has started
    in_new_thread(torch.set_num_threads, 1)
    found = [own(), at_work.submit(own).result(), in_new_thread(own)]
print(f"after another thread said 1: main {found[0]}, one at work {found[1]}, a new thread {found[2]}")
assert found == [2, 2, 1], "a thread's number is of itself alone, or of all, now"

torch.set_num_threads(2)
found = [own(), in_new_thread(own)]
print(f"after the main thread said 2 again: main {found[0]}, a new thread {found[1]}")
assert found == [2, 2]
PYTHON
echo "as described"
