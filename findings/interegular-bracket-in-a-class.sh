#!/usr/bin/env bash
# interegular 0.3.3: a class that begins with "]" is read as an empty class and some text, and digits are ASCII's only.
#
# Behaviour: Python's `[]a]` is "]" or "a". Here it matches neither, and no other string; `[^]a]`, any character but
# these two, matches "xa]", i.e. a character and then the text "a]". `\d` does not match the Arabic digit three, which
# `re.fullmatch` takes. Nothing is raised.
#
# Why it surprises: its page promises compatibility with Python's syntax and names what is missing: references, some
# flags and some lookarounds. Machines made by it are compared with each other to tell whether two expressions have a
# string in common. So two distributions that do overlap can be called disjoint, e.g. `[]a]` and `a`.
#
# Output seen (CPython 3.11), without the lines that interegular itself prints when it compares:
#   []a] of 'a': re True, interegular False
#   []a] of ']': re True, interegular False
#   [^]a] of 'x': re True, interegular False
#   [^]a] of 'xa]': re False, interegular True
#   \d of '\u0663': re True, interegular False
#   []a] and a have a string in common: interegular False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet interegular==0.3.3
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io
import re

from interegular import compare_regexes, parse_pattern

cases = {
    ("[]a]", "a"): (True, False),
    ("[]a]", "]"): (True, False),
    ("[^]a]", "x"): (True, False),
    ("[^]a]", "xa]"): (False, True),
    (r"\d", "\u0663"): (True, False),
}
for (pattern, text), expected in cases.items():
    found = re.fullmatch(pattern, text) is not None, parse_pattern(pattern).to_fsm().accepts(text)
    print(f"{pattern} of {text!a}: re {found[0]}, interegular {found[1]}")
    assert found == expected, "no longer as described"
assert parse_pattern("[]a]").to_fsm().empty(), "no longer as described"
with contextlib.redirect_stdout(io.StringIO()):  # it prints its patterns
    common, control = (list(compare_regexes(pattern, "a")) for pattern in ("[]a]", "[ab]"))
print(f"[]a] and a have a string in common: interegular {bool(common)}")
assert not common and control, "no longer as described"
PYTHON
