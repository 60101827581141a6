#!/bin/bash
# valgrind.sh - some of the units that parse and decide, again, under valgrind: it knows what has never been written, and
# sanitizers do not. Those that take a second or two there; `contrib/check --long` has the others.
#
#   valgrind.sh [UNIT...]      PWC_BUILD: top of the build tree (default: the current directory)
set -euo pipefail
cd "${PWC_BUILD:-.}"
[[ $# -gt 0 ]] || set -- frame params core tail restart ring

[[ -n $(type -P valgrind) ]] || { echo "skip: no valgrind" && exit 77; }
# Tests that reach the limit of descriptors stay out: valgrind keeps it for itself.
export CK_TIMEOUT_MULTIPLIER=60 CK_EXCLUDE_TAGS=nofile
memcheck=(valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite)

passed=0 failed=0
for unit; do
    rc=0 p=0 f=1
    said=$(./libtool --mode=execute "${memcheck[@]}" "tests/unit/test_$unit" 2>&1) || rc=$?
    [[ ${said##*$'\n'} =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]] && p=${BASH_REMATCH[1]} f=${BASH_REMATCH[2]}
    # What it finds in no test but around them shows in the status alone.
    [[ $rc -eq 0 || $f -gt 0 ]] || f=1
    [[ $f -eq 0 ]] || printf 'FAILED: %s:\n%s\n' "$unit" "$said"
    passed=$((passed + p)) failed=$((failed + f))
done
printf 'counts: %d units under valgrind\n' $#
printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
