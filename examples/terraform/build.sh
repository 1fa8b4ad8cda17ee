#!/bin/sh
# Puts the function, its requirements and their bytecode into build/.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3.13}
rm -rf build
"$python" -m pip install --quiet --no-compile --only-binary :all: --platform manylinux2014_x86_64 \
    --requirement function/requirements.txt --target build
cp function/app.py build
"$python" -m compileall -q --invalidation-mode checked-hash build
