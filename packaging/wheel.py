#!/usr/bin/env python3
"""packaging/wheel.py BINARY MACHINE OUT: the wheel with a static binary for MACHINE (x86_64, aarch64), in OUT.

It holds packaging/python/jackdaw, kit/python/jackdaw_hooks.py and the binary, and has the command `jackdaw`.
packaging/release.sh calls it.
"""

import base64
import hashlib
import os
import stat
import sys
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(binary: str, machine: str, out: str) -> None:
    version = os.environ["VERSION"]
    # A static binary needs neither glibc nor musl: both kinds of systems take it.
    platforms = [f"manylinux_2_17_{machine}", f"musllinux_1_1_{machine}"]
    info = f"jackdaw-{version}.dist-info"

    files = [(f"jackdaw/{path.name}", path.read_bytes()) for path in sorted(HERE.glob("python/jackdaw/*.py"))]
    files += [
        ("jackdaw_hooks.py", (HERE / "../kit/python/jackdaw_hooks.py").read_bytes()),
        ("jackdaw/bin/jackdaw", Path(binary).read_bytes()),
        (f"{info}/METADATA", metadata(version).encode()),
        (f"{info}/WHEEL", wheel(platforms).encode()),
        (f"{info}/entry_points.txt", b"[console_scripts]\njackdaw = jackdaw.__main__:main\n"),
        (f"{info}/licenses/LICENSE", (HERE / "../LICENSE").read_bytes()),
    ]
    files.append((f"{info}/RECORD", record(files, f"{info}/RECORD").encode()))

    Path(out).mkdir(parents=True, exist_ok=True)
    name = f"jackdaw-{version}-py3-none-{'.'.join(platforms)}.whl"
    when = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with zipfile.ZipFile(Path(out) / name, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, content in files:
            entry = zipfile.ZipInfo(path, when)
            entry.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if path.startswith("jackdaw/bin/") else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, content)


def metadata(version: str) -> str:
    lines = [
        "Metadata-Version: 2.4",
        "Name: jackdaw",
        f"Version: {version}",
        "Summary: A Kafka-compatible server in one small binary, and a broker for tests",
        "License-Expression: Apache-2.0",
        "License-File: LICENSE",
        "Requires-Python: >=3.9",
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(lines) + "\n\n" + (HERE / "python/README.md").read_text()


def wheel(platforms: list) -> str:
    lines = ["Wheel-Version: 1.0", "Generator: jackdaw", "Root-Is-Purelib: false"]
    lines += [f"Tag: py3-none-{platform}" for platform in platforms]
    return "\n".join(lines) + "\n"


def record(files: list, itself: str) -> str:
    def row(path: str, content: bytes) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        return f"{path},sha256={digest},{len(content)}\n"

    return "".join(row(path, content) for path, content in files) + f"{itself},,\n"


main(*sys.argv[1:])
