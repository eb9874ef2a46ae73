#!/bin/sh
# Locks what the images install, by hashes: images/lock.sh [--upgrade]
#
# Without --upgrade, what is locked stays as far as the .in files allow. Needs uv, which the project's development
# environment has. The locks name no package index: any that has these files will do.
set -eu
cd "$(dirname "$0")"
uv=$(command -v uv || echo ../.venv/bin/uv)

# lock PYTHON FOLDER NAME [OPTION...]
lock() {
    python=$1 folder=$2 name=$3
    shift 3
    (cd "$folder" && UV_NO_CONFIG=1 env -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS \
        "$uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --only-binary :all: \
        --custom-compile-command images/lock.sh --python-version "$python" "$@" "$name.in" -o "$name.txt")
}
case $uv in /*) ;; *) uv=$PWD/$uv ;; esac

linux=x86_64-manylinux_2_28
lock 3.11 tensorflow jupyter --python-platform $linux "$@"
lock 3.11 tensorflow uv --python-platform $linux "$@"
lock 3.9 tensorflow tensorflow --python-platform $linux "$@"
lock 3.9 tensorflow cuda --python-platform $linux "$@"
grep -ln '://' ./*/*.txt && exit 1
exit 0
