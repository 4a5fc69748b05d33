#!/usr/bin/env bash
# pyjpegls documents another order of samples for interleave_mode=1 than it takes, and who follows it codes garbled
# colours.
#
# Versions   pyjpegls 1.5.1, imagecodecs 2026.3.6 (CharLS 2.4.3), numpy 2.4.6, Python 3.11
# Expected   As encode_buffer documents it: for 1, "colour-by-line", the source is a line of R, a line of G, a line of
#            B.
# Seen       The source is read as R G B of each sample, as for 2; the mode says how the stream is laid out only. Its
#            own decode_buffer gives back in mode 1 what went in, whatever the order, so that a round trip does not show
#            it. Any other reader shows wrong colours, and the stream is larger, as neighbours are of different colours.
#
#     mode           source       another reader's image    bytes
#     1 (line)       by line      garbled                    1401
#     1 (line)       by sample    right                      1311
#     2 (sample)     by sample    right                      1318
#     0 (plane)      by plane     right                      1310
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

assert "R1...RwG1...GwB1...BwRw+1" in jpeg_ls.encode_buffer.__doc__, "it is documented otherwise now"
rows, columns = 48, 64
y, x = np.ogrid[:rows, :columns]
planes = (2 * x + 0 * y, 100 + y + 0 * x, 200 - x - y // 2)
image = np.stack(planes, axis=-1).astype(np.uint8)
sources = {"by plane": image.transpose(2, 0, 1), "by line": image.transpose(0, 2, 1), "by sample": image}
print("mode           source       another reader's image    bytes")
for mode, name, source, right in (
    (1, "1 (line)", "by line", False),
    (1, "1 (line)", "by sample", True),
    (2, "2 (sample)", "by sample", True),
    (0, "0 (plane)", "by plane", True),
):
    samples = sources[source].tobytes()
    stream = bytes(jpeg_ls.encode_buffer(samples, rows, columns, 3, 8, interleave_mode=mode))
    assert bytes(jpeg_ls.decode_buffer(stream)[0]) == samples
    found = np.array_equal(imagecodecs.jpegls_decode(stream), image)
    print(f"{name:15}{source:13}{'right' if found else 'garbled':22}{len(stream):9}")
    assert found == right
END
