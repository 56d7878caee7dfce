#!/usr/bin/env python3
"""Runs the fuzz targets of crates/lab/tests/fuzz/targets below libFuzzer, one after the other.

  scripts/fuzz.py                        every target, a minute each
  scripts/fuzz.py frame lease            these
  scripts/fuzz.py --seconds 600 machine  for longer
  scripts/fuzz.py --keep                 what was found and is new goes into fuzz/corpus

It wants a nightly compiler and cargo-fuzz (cargo install cargo-fuzz). A failing input is printed as a line of the corpus.
What libFuzzer found lies in target/fuzz/NAME until it is kept: minimised, and at most 48 KiB of each target.
"""

import argparse
import codecs
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz/corpus"
WORK = ROOT / "target/fuzz"
BINARY = ROOT / "fuzz/target/x86_64-unknown-linux-gnu/release/any"
LARGEST_FILE = 48 * 1024
# Longer inputs find nothing that shorter ones do not, and are hard to read.
LONGEST_INPUT = 4096


def main():
    targets = sorted(path.stem for path in CORPUS.glob("*.txt"))
    asked = arguments(targets)
    build()
    print(f"{'target':16} {'seconds':>8} {'executions':>11} {'edges':>7} {'features':>9} {'inputs':>7}")
    for target in asked.target or targets:
        unpack(target)
        print(run(target, asked.seconds), flush=True)
        minimise(target)
        if asked.keep:
            pack(target)


def arguments(targets):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="*", help="one of " + ", ".join(targets))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--keep", action="store_true", help="put what is new into fuzz/corpus")
    asked = parser.parse_args()
    for target in asked.target:
        if target not in targets:
            parser.error(f"{target}: there is no such target; a new one needs a first line in fuzz/corpus/{target}.txt")
    return asked


def build():
    # Without the sanitizer: all but the system calls is safe Rust, and runs twice as fast.
    command = ["cargo", "+nightly", "fuzz", "build", "--sanitizer", "none", "any"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        sys.exit("fuzz: the build failed; install a nightly compiler and cargo-fuzz (cargo install cargo-fuzz)")


def libfuzzer(target, arguments, **how):
    environment = {**os.environ, "MAINSTAY_FUZZ_TARGET": target}
    return subprocess.run([BINARY, *map(str, arguments)], env=environment, text=True, errors="replace", **how)


def run(target, seconds):
    """Runs one target and says in a line what came of it."""
    work = WORK / target
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", "-timeout=10", "-rss_limit_mb=1024"]
    limits += [f"-artifact_prefix={work}/failing-", "-print_final_stats=1"]
    done = libfuzzer(target, [work / "corpus", *limits], stderr=subprocess.PIPE)
    (work / "log").write_text(done.stderr)
    if done.returncode != 0:
        failed(target, done.stderr)
    executions = re.search(r"number_of_executed_units: (\d+)", done.stderr)[1]
    edges, features = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)[-1]
    inputs = sum(1 for _ in (work / "corpus").iterdir())
    return f"{target:16} {seconds:8} {executions:>11} {edges:>7} {features:>9} {inputs:7}"


def failed(target, log):
    said = log[log.find("panicked at"):] if "panicked at" in log else log[-2000:]
    print(said[:2000], file=sys.stderr)
    artifact = re.search(r"Test unit written to (\S+)", log)
    if artifact:
        print(f"the input, for fuzz/corpus/{target}.txt:\n{escaped(pathlib.Path(artifact[1]).read_bytes())}")
    sys.exit(f"fuzz: {target} fails; the whole log is {WORK / target / 'log'}")


def unpack(target):
    folder = WORK / target / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate((CORPUS / f"{target}.txt").read_text().splitlines()):
        (folder / f"kept-{number:04}").write_bytes(codecs.decode(line, "unicode_escape").encode("latin1"))


def minimise(target):
    """Leaves as many inputs as the coverage needs."""
    folder, smaller = WORK / target / "corpus", WORK / target / "smaller"
    shutil.rmtree(smaller, ignore_errors=True)
    smaller.mkdir()
    libfuzzer(target, ["-set_cover_merge=1", smaller, folder], stderr=subprocess.DEVNULL, check=True)
    shutil.rmtree(folder)
    smaller.rename(folder)


def pack(target):
    """Writes the corpus: the short inputs first, and none any more when the file is full."""
    inputs = [path.read_bytes() for path in (WORK / target / "corpus").iterdir()]
    lines, room = [], LARGEST_FILE
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        line = escaped(data)
        room -= len(line) + 1
        if room >= 0:
            lines.append(line)
    (CORPUS / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))


def escaped(data):
    """As Rust's `escape_ascii`."""
    plain = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    return "".join(plain.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data)


if __name__ == "__main__":
    main()
