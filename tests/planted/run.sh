#!/bin/bash
# run.sh - plants each bug of this folder, one at a time, into a copy of the source and sees that the machine named in the
# patch finds it. A patch begins with what the bug is, what must be built ("asan": with sanitizers), and what must fail.
#
#   run.sh FOLDER [PATCH...]     FOLDER: for the copy and its builds; kept, so that a second run is quick
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
[[ $# -ge 1 ]] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
[[ $# -gt 0 ]] || set -- "$here"/*.patch
LIMIT=${PWC_PLANTED_LIMIT:-600} # s: a machine that hangs has found something too, but nobody waits for it

field() {
    sed -n "1,/^\$/s/^$1: //p" "$2"
}

# configured FLAG...: a build of the copy; its name is in BUILD.
configured() {
    BUILD=$folder/build${1+-asan}
    [[ -e $BUILD/Makefile ]] && return
    mkdir -p "$BUILD"
    (cd "$BUILD" && "$folder/src/configure" CC="${CC:-gcc}" "$@" && make -j"$(nproc)" all) >"$BUILD.log" 2>&1
}

one() {
    local patch name rc=0 begin targets
    patch=$(realpath "$1")
    name=$(basename "$patch" .patch)
    targets=$(field Build "$patch")
    case $targets in
    asan\ *) configured --enable-sanitizers && targets=${targets#asan } ;;
    *) configured ;;
    esac
    patch -s -p1 -d "$folder/src" <"$patch"
    # shellcheck disable=SC2086 # words
    if make -C "$BUILD" -j"$(nproc)" $targets >"$folder/$name.make" 2>&1; then
        begin=$SECONDS
        # shellcheck disable=SC2046 # words
        (cd "$BUILD" && srcdir=$folder/src timeout "$LIMIT" env $(field Run "$patch" | sed "s,bash tests,bash $folder/src/tests,")) \
            >"$folder/$name.log" 2>&1 || rc=$?
        printf '%s: %s: %s (%d s)\n' "$([[ $rc -ne 0 ]] && echo found || echo MISSED)" "$name" "$(field Bug "$patch")" \
            $((SECONDS - begin))
    else
        printf 'FAILED: %s does not build: see %s\n' "$name" "$folder/$name.make"
    fi
    patch -s -R -p1 -d "$folder/src" <"$patch"
    [[ $rc -ne 0 ]]
}

[[ -d $folder/src ]] || cp -r "$top" "$folder/src"
found=0 missed=0
for patch; do
    if one "$patch"; then found=$((found + 1)); else missed=$((missed + 1)); fi
done
printf '%d passed, %d failed\n' "$found" "$missed"
[[ $missed -eq 0 ]]
