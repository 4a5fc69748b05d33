#!/usr/bin/env bash
# Two processes that compile a function at once, for different types, may leave one's code under the other's name: from
# then on every process that reads it computes wrong numbers, and nobody is told.
#
# Versions   numba 0.68.1 (llvmlite 0.50.0), numpy 2.4.6, Python 3.11
# Expected   Code from the cache is that which the types of the call ask for: half of 2.5 is 1.25.
# Seen       Code is kept in files that are counted, and an index says which types have which number. Both processes read
#            the index before either wrote it, both take number 1, and what the index says of it need not be what the
#            file holds: a function of a float is served by that of an integer, which gets 2 for 2.5. The same holds for
#            different processors, where machines share a home: there the code may not run at all.
#
#     f37 of 2.5: 38.0 instead of 38.25, compiled for (int64,)
#
# The two processes wait for each other when they have compiled a function, by a listener that numba documents, so that
# what is rare is seen within seconds. Tries some rounds; fails when no wrong number is seen in any.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numba==0.68.1 llvmlite==0.50.0 numpy==2.4.6
cd "$folder"
unset NUMBA_CACHE_DIR
python() { PYTHONDONTWRITEBYTECODE=1 "$folder/venv/bin/python" "$@"; }
python - > loops.py <<'END_OF_FILE'
print("from numba import njit\n\nfunctions = []")
for k in range(300):
    print(f"\n\n@njit(cache=True)\ndef f{k}(x):\n    return x / 2 + {k}\n\n\nfunctions.append(f{k})")
END_OF_FILE
cat > compile.py <<'END_OF_FILE'
import os
import sys
import time

from loops import functions
from numba.core import event

me, other, value = ("int", "float", 7) if sys.argv[1] == "int" else ("float", "int", 2.5)


class Together(event.Listener):
    count = 0

    def on_start(self, happened):
        pass

    def on_end(self, happened):
        open(f"met/{me}{self.count}", "w").close()
        deadline = time.monotonic() + 60
        while not os.path.exists(f"met/{other}{self.count}") and time.monotonic() < deadline:
            pass
        self.count += 1


event.register("numba:compile", Together())
for k, function in enumerate(functions):
    assert function(value) == value / 2 + k
END_OF_FILE
cat > check.py <<'END_OF_FILE'
from loops import functions

wrong = [(k, f(2.5), f.signatures) for k, f in enumerate(functions) if f(2.5) != 1.25 + k]
for k, found, signatures in wrong:
    print(f"f{k} of 2.5: {found} instead of {1.25 + k}, compiled for {signatures}")
raise SystemExit(not wrong)
END_OF_FILE
for round in 1 2 3 4 5 6; do
    rm -rf met __pycache__
    mkdir met
    python compile.py int &
    python compile.py float
    wait
    if python check.py; then
        exit 0
    fi
    echo "round $round: no wrong number"
done
echo "no process was given another's code any more"
exit 1
