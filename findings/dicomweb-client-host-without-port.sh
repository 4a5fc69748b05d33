#!/usr/bin/env bash
# dicomweb-client names a server without its port in the header Host, so that links which the server makes lead nowhere.
#
# Versions   dicomweb-client 0.61.2, requests (as pip takes it), Python 3.11
# Expected   Host is "127.0.0.1:PORT" where the port is not that of the scheme (RFC 9110, 7.2), as requests by itself sends.
# Seen       searches, retrieval and storing alike have "127.0.0.1". A server that makes absolute URLs of Host, as
#            RetrieveURL (0008,1190) and BulkDataURI are, makes them without port: what the client then fetches from
#            them goes to port 80. One that guards against DNS rebinding by Host must take both.
#
#     call                       Host
#     requests.get               127.0.0.1:PORT
#     search_for_studies         127.0.0.1
#     retrieve_series_metadata   127.0.0.1
#     store_instances            127.0.0.1
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dicomweb-client==0.61.2 pydicom==3.0.2 requests
cd "$folder"
"$folder/venv/bin/python" - <<'END' 2> errors.txt || { cat errors.txt && exit 1; }
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, FileMetaDataset, uid

hosts = []


class Answering(BaseHTTPRequestHandler):
    def answer(self):
        hosts.append(self.headers["Host"])
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b"{}" if self.command == "POST" else b"[]"
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 0), Answering)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = str(server.server_port)
url = f"http://127.0.0.1:{port}"
client = DICOMwebClient(url)
report = Dataset()
report.file_meta = FileMetaDataset()
report.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = uid.BasicTextSRStorage
report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
report.StudyInstanceUID, report.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
print("call                       Host")
for name, call, expected in (
    ("requests.get", lambda: requests.get(url), "127.0.0.1:PORT"),
    ("search_for_studies", client.search_for_studies, "127.0.0.1"),
    ("retrieve_series_metadata", lambda: client.retrieve_series_metadata("1.2", "1.3"), "127.0.0.1"),
    ("store_instances", lambda: client.store_instances([report]), "127.0.0.1"),
):
    call()
    found = hosts[-1].replace(port, "PORT")
    print(f"{name:27}{found}")
    assert found == expected, f"now {found}"
END
