"""Install pip into this environment where the system's Python comes without ensurepip.

Takes the newest wheel from the package index that pip itself would use, and checks its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple")


def newest_wheel(index: str) -> tuple[str, str]:
    """The address of the newest pip wheel of an index and its SHA-256."""
    page = f"{index.rstrip('/')}/pip/"
    request = urllib.request.Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read().decode()
        listed = "json" in answer.headers.get("Content-Type", "")
    if listed:
        found = [(item["url"], item["hashes"]["sha256"]) for item in json.loads(body)["files"]]
    else:
        found = re.findall(r'href="([^"#]+\.whl)#sha256=([0-9a-f]{64})"', body)
    wheels = [
        (tuple(int(part) for part in match[1].split(".")), urllib.parse.urljoin(page, url), digest)
        for url, digest in found
        if (match := re.search(r"/pip-(\d+(?:\.\d+)+)-py3-none-any\.whl$", url))
    ]
    _, address, digest = max(wheels)
    return address, digest


def main() -> None:
    address, digest = newest_wheel(INDEX)
    with urllib.request.urlopen(address, timeout=60) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit("pip's wheel does not have the digest that the index states")
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / address.rsplit("/", 1)[1]
        wheel.write_bytes(content)
        subprocess.run([sys.executable, f"{wheel}/pip", "install", "--quiet", str(wheel)], check=True)


if __name__ == "__main__":
    main()
