#!/usr/bin/env bash
# exrex 0.12.0: of patterns with a lookahead or a possessive quantifier it generates strings that do not match them.
#
# Behaviour: it reads a pattern with Python's own parser, so it takes all that `re` takes. A lookahead's text is written
# as if it were read, so `a(?=b)b` gives "abb" alone, where only "ab" matches; a negative one is left out, so
# `(?!b)[ab]` gives "b", too. Of `a++b`, which Python has since 3.11, the possessive part is left out: "b" is generated,
# which does not match, though `count` says that there are no strings. Nothing is raised; for `a++b` a line is printed
# to standard output, where the strings of exrex's own command go, too.
#
# Why it surprises: exrex "generates all - or random - matching strings to a given regular expression", and its page
# names no part of the syntax that it does not know. Whoever samples data from expressions that people wrote gets,
# without a warning, data that breaks its own specification; a check by `re.fullmatch` costs nothing.
#
# Output seen (CPython 3.11):
#   a(?=b)b: generated ['abb'], match: [], counted 1
#   (?!b)[ab]: generated ['a', 'b'], match: ['a'], counted 2
#   [!] cannot handle expression (POSSESSIVE_REPEAT, (1, MAXREPEAT, [(LITERAL, 97)]))
#   [!] cannot handle expression (POSSESSIVE_REPEAT, (1, MAXREPEAT, [(LITERAL, 97)]))
#   a++b: generated ['b'], match: [], counted 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet exrex==0.12.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import re
import sys

import exrex

assert sys.version_info >= (3, 11), "possessive quantifiers are of Python 3.11"
expected = {"a(?=b)b": (["abb"], [], 1), "(?!b)[ab]": (["a", "b"], ["a"], 2), "a++b": (["b"], [], 0)}
for pattern, seen in expected.items():
    made = list(exrex.generate(pattern, limit=3))
    match = [each for each in made if re.fullmatch(pattern, each)]
    counted = exrex.count(pattern, limit=3)
    print(f"{pattern}: generated {made}, match: {match}, counted {counted}", flush=True)
    assert (made, match, counted) == seen, f"{pattern} is treated in another way"
PYTHON
echo "as described"
