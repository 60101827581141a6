#!/bin/bash
# bench_same.sh - what the benchmark takes for the same pictures: equal bytes or pixels in files that are as large, of every
# peer that has made any; what is not there is not the same.
set -u
export LC_ALL=C
same=$(cd "$(dirname "$0")/../.." && pwd)/contrib/bench.d/same
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
passed=0 failed=0

# check WHAT STATUS ARGUMENT...
check() {
    local what=$1 expected=$2 status=0
    shift 2
    "$same" "$@" >out 2>&1 || status=$?
    if [[ $status -eq $expected ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s: status %d, not %d: %s\n' "$what" "$status" "$expected" "$(<out)"
    fi
}

printf 'one' >a
printf 'one' >b
printf 'two' >c
check "equal bytes" 0 0 a b
check "other bytes" 1 0 a c
check "ours is missing" 1 0 missing b
check "one of theirs is missing" 0 0 a missing b
check "the other one is wrong" 1 0 a missing c
check "both of theirs are missing" 1 0 a missing lost

mkdir ours theirs more empty
cp a ours/1
cp a ours/2
cp a theirs/1
cp a theirs/2
cp a more/1
check "equal folders" 0 0 ours theirs
check "an empty one of theirs" 0 0 ours empty theirs
check "one too many" 1 0 ours more
check "one too few" 1 0 more ours
check "none of ours" 1 0 empty theirs
cp c more/2
check "one that is other" 1 0 ours theirs more

if [[ -n $(type -P vips) ]]; then
    vips gaussnoise noise.v 200 200 --seed 1
    vips cast noise.v byte.v uchar
    vips linear byte.v brighter.v 1 2 --uchar
    for name in byte brighter; do
        vips copy "$name.v" "$name.tif"
    done
    vips copy byte.v "small.png[compression=9]"
    vips copy byte.v "large.png[compression=0]"
    check "within the tolerance" 0 2 byte.tif brighter.tif
    check "outside of it" 1 1 byte.tif brighter.tif
    check "a file that was less work" 1 0 large.png small.png
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
