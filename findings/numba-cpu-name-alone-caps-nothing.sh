#!/usr/bin/env bash
# NUMBA_CPU_NAME names an older processor, and numba goes on to compile for the instructions of this one.
#
# Versions   numba 0.68.1 (llvmlite 0.50.0), numpy 2.4.6, Python 3.11; x86-64 with AVX-512
# Expected   With NUMBA_CPU_NAME=haswell, which has no AVX-512, code has none either, and runs on a Haswell.
# Seen       The features of this processor are stated besides, and override the name's: code is full of AVX-512. The
#            name "generic" alone is an exception. NUMBA_CPU_FEATURES caps them; it may be empty, and the name's own
#            features are what is left. So a cache that is filled on one machine for another needs both.
#
#     NUMBA_CPU_NAME=haswell                          +avx512f, zmm registers
#     NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=""    no zmm registers
#     NUMBA_CPU_NAME=generic                          no zmm registers
#
# Fails when any of this changes; on a machine without AVX-512 it cannot tell, and says so.
set -euo pipefail
if ! grep -qw avx512f /proc/cpuinfo 2>/dev/null; then
    echo "cannot tell: this processor has no AVX-512"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numba==0.68.1 llvmlite==0.50.0 numpy==2.4.6
cd "$folder"
cat > features.py <<'END_OF_FILE'
import numpy as np
from numba import njit
from numba.core.registry import cpu_target


@njit
def add(x, y):
    for i in range(x.shape[0]):
        x[i] += y[i]


add(np.ones(1000, np.int32), np.ones(1000, np.int32))
_, name, features = cpu_target.target_context.codegen().magic_tuple()
assembly = "".join(add.inspect_asm().values())
print(name, "+avx512f" in features.split(","), "%zmm" in assembly)
END_OF_FILE
unset NUMBA_CPU_NAME NUMBA_CPU_FEATURES
check() {
    found=$("$folder/venv/bin/python" features.py)
    echo "$1: name, +avx512f, zmm: $found"
    test "$found" = "$2"
}
NUMBA_CPU_NAME=haswell check "NUMBA_CPU_NAME=haswell" "haswell True True"
NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES="" check 'NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=""' "haswell False False"
NUMBA_CPU_NAME=generic check "NUMBA_CPU_NAME=generic" "generic False False"
