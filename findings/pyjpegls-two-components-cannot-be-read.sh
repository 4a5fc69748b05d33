#!/usr/bin/env bash
# pyjpegls writes images of two components, or of more than four, that neither it nor imagecodecs reads.
#
# Versions   pyjpegls 1.5.1, imagecodecs 2026.3.6 (CharLS 2.4.3), numpy 2.4.6, Python 3.11
# Expected   What encode_buffer returns, decode_buffer takes, or encode_buffer says that it cannot. Grey with alpha has
#            two.
# Seen       Interleaved by line (1) or by sample (2), two components and five are coded without a complaint, and
#            refused when read: for five the reader says that the number in the header is not within 1 to 255. By plane
#            (0) all are read, and so are three and four components.
#
#     components    by plane    by line    by sample
#              2        read    refused      refused
#              3        read       read         read
#              4        read       read         read
#              5        read    refused      refused
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyjpegls==1.5.1 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import imagecodecs
import jpeg_ls
import numpy as np

print("components    by plane    by line    by sample")
for components in (2, 3, 4, 5):
    samples = np.random.default_rng(0).integers(0, 200, 48 * 64 * components, np.uint8).tobytes()
    row = []
    for mode in (0, 1, 2):
        stream = bytes(jpeg_ls.encode_buffer(samples, 48, 64, components, 8, interleave_mode=mode))
        try:
            assert bytes(jpeg_ls.decode_buffer(stream)[0]) == samples
            assert imagecodecs.jpegls_decode(stream).size == len(samples)
            row.append("read")
        except RuntimeError as error:
            assert str(error).startswith("Decoding error"), error
            try:
                imagecodecs.jpegls_decode(stream)
                raise SystemExit("imagecodecs reads it now")
            except imagecodecs.JpeglsError:
                row.append("refused")
    print(f"{components:10}{row[0]:>12}{row[1]:>11}{row[2]:>13}")
    assert row == (["read"] * 3 if components in (3, 4) else ["read", "refused", "refused"]), row
END
