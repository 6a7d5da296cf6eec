#!/bin/sh
# Install depthmask from its sources in this folder into the environment PREFIX, with the versions that requirements.lock pins.
# Usage: install.sh PREFIX COMPUTE EXTRAS     COMPUTE: cpu or cuda     EXTRAS: of pyproject.toml, separated by commas, or nothing
# Both the Dockerfile and the Apptainer definition run it.
set -eu

prefix=$1 compute=$2 extras=$3

python3 -m venv "$prefix"
pip=$prefix/bin/pip

case $compute in
  cpu)
    # PyPI's torch for Linux brings CUDA's libraries, 4 GB; this index has the same version without them
    torch=$(sed -n 's/^torch==\([^ ;]*\).*/torch==\1/p' requirements.lock)
    "$pip" install --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch"
    ;;
  cuda) ;;
  *)
    echo "error: COMPUTE=$compute; allowed: cpu or cuda" >&2
    exit 2
    ;;
esac

"$pip" install --constraint requirements.lock ".${extras:+[$extras]}"
"$prefix/bin/depthmask" --help > /dev/null  # an image in which it does not start is not built
