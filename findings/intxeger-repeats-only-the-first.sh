#!/usr/bin/env bash
# intxeger 0.1.1: it repeats only the first item of a group that is not captured, and its unique strings are not unique.
#
# Behaviour: `(?:ab){2}` gives "aa"; the captured `(ab){2}` gives "abab". Nothing is raised.
# Asked for all strings of `(ab|a)(bc|c)`, it gives four of which two are equal, and says that there are four.
#
# Why it surprises: "unique strings" is its summary, and a group is captured or not for reasons that have nothing to do
# with what matches. A data set sampled from such expressions has instructions that their expression does not match, and
# repeats that can lie on both sides of a split; `re.fullmatch` and a set find both at no cost.
#
# Output seen (CPython 3.11):
#   (?:ab){2}: sampled ['aa'], matching []
#   (ab){2}: sampled ['abab'], matching ['abab']
#   (ab|a)(bc|c): said 4, sampled 4, distinct ['abbc', 'abc', 'ac']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet intxeger==0.1.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import re

import intxeger

found = {}
for pattern in ("(?:ab){2}", "(ab){2}"):
    sampled = intxeger.build(pattern).sample(1)
    matching = [text for text in sampled if re.fullmatch(pattern, text)]
    found[pattern] = (sampled, matching)
    print(f"{pattern}: sampled {sampled}, matching {matching}")
pattern = "(ab|a)(bc|c)"
built = intxeger.build(pattern)
sampled = built.sample(built.length)
print(f"{pattern}: said {built.length}, sampled {len(sampled)}, distinct {sorted(set(sampled))}")
assert found == {"(?:ab){2}": (["aa"], []), "(ab){2}": (["abab"], ["abab"])}, "no longer as described"
assert (built.length, len(sampled), len(set(sampled))) == (4, 4, 3), "no longer as described"
PYTHON
