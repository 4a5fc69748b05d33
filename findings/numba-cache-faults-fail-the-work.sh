#!/usr/bin/env bash
# A function with cache=True fails where its code cannot be kept, though it could be compiled and would run.
#
# Versions   numba 0.68.1 (llvmlite 0.50.0), numpy 2.4.6, Python 3.11; Linux
# Expected   The function is compiled and not kept, perhaps with a warning; a file that cannot be read is compiled anew.
# Seen       Neither the folder of the source nor a home can be written: RuntimeError "no locator available" already
#            when the function is decorated, so that its module cannot be imported.
#            No room for the code (here a limit on the size of files, else a full disk): OSError from the first call.
#            A file that was cut short, as by a machine that stopped: EOFError from every call, until it is deleted.
#
# Fails when any of this changes; as root it needs setpriv, to be without root's rights to write everywhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numba==0.68.1 llvmlite==0.50.0 numpy==2.4.6
unset NUMBA_CACHE_DIR XDG_CACHE_HOME
export PYTHONDONTWRITEBYTECODE=1
mkdir "$folder/source"
cat > "$folder/source/loops.py" <<'END_OF_FILE'
from numba import njit


@njit(cache=True)
def add_one(x):
    return x + 1
END_OF_FILE
last_line() { # of what a program says as it fails; nothing where it does not fail
    if said=$(cd "$folder/source" && "$@" 2>&1); then echo "it works: $said"; else tail -n 1 <<< "$said"; fi
}
check() {
    echo "$1: $3"
    [[ "$3" == $2* ]]
}
call="from loops import add_one; print(add_one(1))"
drop=()
test "$(id -u)" -ne 0 || drop=(setpriv --bounding-set=-all --inh-caps=-all)

chmod a-w "$folder/source"
found=$(last_line "${drop[@]}" env HOME=/proc/none "$folder/venv/bin/python" -c "$call")
check "no folder" "RuntimeError: cannot cache function 'add_one': no locator available" "$found"
chmod u+w "$folder/source"

limit="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); $call"
found=$(last_line "$folder/venv/bin/python" -c "$limit")
check "no room" "OSError: [[]Errno 27] File too large" "$found"

found=$(last_line "$folder/venv/bin/python" -c "$call")
check "with room" "it works: 2" "$found"
for path in "$folder"/source/__pycache__/*.nbc; do truncate -s 0 "$path"; done
for again in 1 2; do
    found=$(last_line "$folder/venv/bin/python" -c "$call")
    check "cut short" "EOFError" "$found"
done
