#!/usr/bin/env python3
"""Packs the agent's binary into an OCI image, as an archive that `docker load`, `podman load` and `ctr images import` read.

    scripts/image.py BINARY [--output target/image/mainstay.tar] [--name mainstay:VERSION]

No registry, no container engine and no base image: the image is the one static binary, and the few files that a C
library looks for. The same binary gives the same bytes. Needs python3 alone.

The binary has the capabilities NET_ADMIN and NET_RAW, and SYS_NICE and IPC_LOCK for realtime, in its permitted set, and not in its effective one: a container
that runs it as an ordinary user, with both in its bounding set, can hold a VIP (the agent raises them), and one that has
neither can still run `mainstay config check`.

Ends with 0 when it is written, 1 when the binary cannot be used.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USER = 65532
MACHINES = {62: "amd64", 183: "arm64"}
INTERPRETER, CAPABILITIES = 3, "SCHILY.xattr.security.capability"
NET_ADMIN, NET_RAW, IPC_LOCK, SYS_NICE = 12, 13, 14, 23
# VFS_CAP_REVISION_2 without the flag for the effective set; permitted and inheritable, low and high words.
PERMITTED = struct.pack("<5I", 0x02000000, 1 << NET_ADMIN | 1 << NET_RAW | 1 << IPC_LOCK | 1 << SYS_NICE, 0, 0, 0)
FILES = {
    "etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{USER}:{USER}:nonroot:/:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nnonroot:x:{USER}:\n",
    # hostAliases of a Pod come before its name server, as everywhere in Kubernetes.
    "etc/nsswitch.conf": "hosts: files dns\n",
}
DIRECTORIES = ["etc", "run", "run/mainstay", "tmp", "usr", "usr/share", "usr/share/doc", "usr/share/doc/mainstay",
               "var", "var/lib", "var/lib/mainstay"]


def fail(why):
    print(f"image: {why}", file=sys.stderr)
    sys.exit(1)


def architecture(binary):
    """The image's architecture; the binary has to run with nothing beside it."""
    if binary[:6] != b"\x7fELF\x02\x01":
        fail("the binary is no 64-bit little-endian ELF file; build it with: make image")
    machine, = struct.unpack_from("<H", binary, 18)
    start, = struct.unpack_from("<Q", binary, 32)
    size, count = struct.unpack_from("<HH", binary, 54)
    kinds = [struct.unpack_from("<I", binary, start + place * size)[0] for place in range(count)]
    if INTERPRETER in kinds:
        fail("the binary needs shared libraries, and the image has none; build it with: make image")
    return MACHINES.get(machine) or fail(f"no name is known for ELF machine {machine}")


def entry(name, mode, seconds):
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, seconds
    return info


def layer(binary, seconds):
    """The image's one layer, as an uncompressed archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in DIRECTORIES:
            info = entry(name, 0o1777 if name == "tmp" else 0o755, seconds)
            info.type = tarfile.DIRTYPE
            if name.endswith("/mainstay") and not name.startswith("usr"):
                info.uid = info.gid = USER
            tar.addfile(info)
        texts = {name: text.encode() for name, text in FILES.items()}
        texts["usr/share/doc/mainstay/LICENSE"] = (ROOT / "LICENSE").read_bytes()
        for name, content in sorted(texts.items()):
            info = entry(name, 0o644, seconds)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        info = entry("mainstay", 0o755, seconds)
        info.size = len(binary)
        # Bytes that are no text: Python writes them into a PAX header as they are.
        info.pax_headers = {CAPABILITIES: PERMITTED.decode("utf-8", "surrogateescape")}
        tar.addfile(info, io.BytesIO(binary))
    return out.getvalue()


def git(*words):
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def version():
    return re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]


def packed(value):
    return json.dumps(value, sort_keys=True).encode()


def image(binary, name, seconds):
    """All files of the archive, by their paths."""
    plain = layer(binary, seconds)
    blobs = {}

    def blob(content, kind):
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    squeezed = blob(gzip.compress(plain, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
    created = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        "org.opencontainers.image.title": "Mainstay",
        "org.opencontainers.image.description": "Virtual IPs for Kubernetes that survive its API server",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": version(),
        "org.opencontainers.image.revision": git("rev-parse", "HEAD"),
    }
    config = blob(packed({
        "architecture": architecture(binary),
        "os": "linux",
        "config": {"Entrypoint": ["/mainstay"], "Labels": labels, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]},
        "created": created,
        "history": [{"created": created, "created_by": "scripts/image.py"}],
    }), "application/vnd.oci.image.config.v1+json")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = blob(packed({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [squeezed],
                            "annotations": labels}), kind)
    tag = name.rsplit(":", 1)[-1]
    manifest["annotations"] = {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": full(name)}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]}
    path = lambda descriptor: "blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")
    # For engines older than OCI archives.
    docker = [{"Config": path(config), "RepoTags": [full(name)], "Layers": [path(squeezed)]}]
    return {**blobs, "oci-layout": packed({"imageLayoutVersion": "1.0.0"}), "index.json": packed(index),
            "manifest.json": packed(docker)}


def full(name):
    """The name as a runtime that knows no default registry has it."""
    first = name.split("/", 1)[0]
    if "/" in name and ("." in first or ":" in first or first == "localhost"):
        return name
    return "docker.io/" + (name if "/" in name else "library/" + name)


def write(output, files, seconds):
    output.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(output, "w", format=tarfile.USTAR_FORMAT) as tar:
        for directory in ["blobs", "blobs/sha256"]:
            info = entry(directory, 0o755, seconds)
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for path, content in sorted(files.items()):
            info = entry(path, 0o644, seconds)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("binary", type=Path, help="the static binary")
    parser.add_argument("--output", type=Path, default=ROOT / "target/image/mainstay.tar", help="the archive to write")
    parser.add_argument("--name", default=f"mainstay:{version()}", help="the image's name and tag")
    arguments = parser.parse_args()
    if not arguments.binary.is_file():
        fail(f"there is no binary {arguments.binary}; build it with: make image")
    if ":" not in arguments.name.rsplit("/", 1)[-1]:
        fail(f"--name {arguments.name} has no tag; write {arguments.name}:{version()}")
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct") or 0)
    files = image(arguments.binary.read_bytes(), arguments.name, seconds)
    write(arguments.output, files, seconds)
    print(f"{arguments.output}: {full(arguments.name)}, {arguments.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
