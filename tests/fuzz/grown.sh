#!/bin/bash
# grown.sh - what fuzzers have found out, in one file a target: an input a line, in hexadecimal, short ones first. So who adds
# some shows which, and what two have added can be merged.
#
#   grown.sh unpack FILE FOLDER          a file for each, as libFuzzer wants them; no FILE: none
#   grown.sh pack FOLDER SEEDS FILE      all that are in FOLDER, but those that have the name of one in SEEDS
set -euo pipefail
export LC_ALL=C

unpack() {
    local n=0 bytes
    rm -rf "$2"
    mkdir -p "$2"
    [[ -e $1 ]] || return 0
    while IFS= read -r bytes; do
        n=$((n + 1))
        printf '%b' "$bytes" >"$2/$n"
    done < <(sed 's/../\\x&/g' "$1")
}

lines() {
    local f
    for f in "$1"/*; do
        [[ -s $f && ! -e $2/${f##*/} ]] || continue
        od -An -v -tx1 "$f" | tr -d ' \n'
        echo
    done
}

pack() {
    lines "$1" "$2" | awk '{ print length($0), $0 }' | sort -u -k1,1n -k2 | cut -d ' ' -f 2 >"$3.new"
    mv "$3.new" "$3"
    printf '%s: %s inputs, %s bytes\n' "$3" "$(wc -l <"$3")" "$(wc -c <"$3")"
}

case ${1-}:$# in
unpack:3) unpack "$2" "$3" ;;
pack:4) pack "$2" "$3" "$4" ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
