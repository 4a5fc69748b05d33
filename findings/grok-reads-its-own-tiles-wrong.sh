#!/usr/bin/env bash
# Grok's grk_decompress reads other samples than were coded, where tiles have 40 rows: of its own streams too.
#
# Versions   grokj2k-tools and libgrokj2k1 10.0.5-1 of Debian 12, pillow 13.0.0 and imagecodecs 2026.3.6 (OpenJPEG
#            2.5.4)
# Expected   grk_compress is lossless by default, and grk_decompress gives back what went in.
# Seen       With tiles of 40 rows and the default of 6 resolutions, nearly all samples come back wrong below the first
#            row of tiles, and no warning is given. It is the reader: OpenJPEG reads the same stream right, and Grok
#            reads the same image by OpenJPEG wrong. With 5 resolutions, or tiles of 64, all is right. A last column
#            alone in its tile (101 in tiles of 50) is wrong by either reader, as when OpenJPEG writes it.
#
#     image    tiles    resolutions    writer      wrong by Grok    wrong by OpenJPEG
#       80²      40²              6    Grok                2992                    0
#       80²      40²              6    OpenJPEG            2992                    0
#       80²      40²              5    Grok                   0                    0
#       80²      64²              6    Grok                   0                    0
#      101²      50²              6    Grok                 100                  100
#
# Needs the programs of Debian 12, whose packages are unpacked in a temporary folder and not installed. Fails when any
# of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
mkdir -p archives/partial root
apt-get -qq -o Dir::Cache::archives="$folder/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User= --yes --reinstall \
    --no-install-recommends --download-only install grokj2k-tools=10.0.5-1 libgrokj2k1=10.0.5-1 > apt.log
for package in archives/*.deb; do dpkg-deb --extract "$package" root; done
LD_LIBRARY_PATH=$(find "$folder/root" -name "*.so*" -printf "%h\n" | sort -u | paste -s -d :)
export LD_LIBRARY_PATH
"$folder/venv/bin/python" - <<'END'
import os
import subprocess

import imagecodecs
import numpy as np
from PIL import Image

libraries = {"LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"], "PATH": os.environ["PATH"]}


def run(*command):
    subprocess.run(("root/usr/bin/" + command[0], *command[1:]), env=libraries, check=True, stdout=subprocess.DEVNULL)


print("image    tiles    resolutions    writer      wrong by Grok    wrong by OpenJPEG")
for size, tile, resolutions, writer, grok_errs, openjpeg_errs in (
    (80, 40, 6, "Grok", True, False),
    (80, 40, 6, "OpenJPEG", True, False),
    (80, 40, 5, "Grok", False, False),
    (80, 64, 6, "Grok", False, False),
    (101, 50, 6, "Grok", True, True),
):
    image = np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)
    if writer == "Grok":
        Image.fromarray(image).save("in.pgm")
        run("grk_compress", "-i", "in.pgm", "-o", "coded.j2k", "-n", str(resolutions), "-t", f"{tile},{tile}")
    else:
        Image.fromarray(image).save("coded.j2k", tile_size=(tile, tile), num_resolutions=resolutions)
    run("grk_decompress", "-i", "coded.j2k", "-o", "out.pgm")
    by_grok = int((np.asarray(Image.open("out.pgm")) != image).sum())
    with open("coded.j2k", "rb") as file:
        by_openjpeg = int((imagecodecs.jpeg2k_decode(file.read()) != image).sum())
    print(f"{size:5}²{tile:8}²{resolutions:15}    {writer:8}{by_grok:17}{by_openjpeg:21}")
    assert (by_grok > 0, by_openjpeg > 0) == (grok_errs, openjpeg_errs)
END
