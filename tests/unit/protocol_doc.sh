#!/bin/bash
# protocol_doc.sh - doc/PROTOCOL.md must say what the contracts in proto/ say: every public message with sender, state
# and sizes, every code and job state with its number, every limit it names with the right value.
set -u
export LC_ALL=C
src=$(cd "$(dirname "$0")/../.." && pwd)
doc=$src/doc/PROTOCOL.md
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# compare WHAT: $tmp/want (from the contracts) and $tmp/have (from the page) must be the same, and not empty.
compare() {
    if [[ -s $tmp/want ]] && diff -u --label contract --label PROTOCOL.md "$tmp/want" "$tmp/have"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s differ between proto/ and doc/PROTOCOL.md\n' "$1"
    fi
}

# The rows of a table: cells separated by one '|', blanks around them removed.
rows() {
    grep -E "$1" "$doc" | sed -E 's/^\| *//; s/ *\| */|/g'
}

# ---- messages ----
sed -nE 's/^PWC_PUBLIC\(([0-9].*)\)$/\1/p' "$src/proto/messages.def" | tr -d ' ' |
    awk -F, '{ print $1 "|" $3 "|" tolower($4) "|" $5 "|" $6 "|" $7 "|" $8 }' >"$tmp/want"
rows '^\| [0-9]+ \| [a-z_]+ \| (client|daemon) ' | cut -d'|' -f1-7 >"$tmp/have"
compare messages

# ---- codes and job states ----
enum() {
    sed -nE "s/^ *($1_[A-Z_0-9]+) = ([0-9]+);.*/\1|\2/p" "$src/proto/pwc.proto"
}
for prefix in CODE JOB; do
    enum $prefix >"$tmp/want"
    rows "^\\| ${prefix}_[A-Z_]+ \\| [0-9]+ \\|" | cut -d'|' -f1-2 >"$tmp/have"
    compare "enum ${prefix}_*"
done

# ---- limits: what the page names must be right; C evaluates the expressions ----
rows '^\| PWC_[A-Z_]+ \| [0-9]+ \|' | cut -d'|' -f1-2 >"$tmp/have"
{
    printf '#include <stdio.h>\n#include "proto/limits.h"\nint main(void)\n{\n'
    cut -d'|' -f1 "$tmp/have" | sed 's/.*/printf("&|%llu\\n", (unsigned long long)(&));/'
    printf '}\n'
} >"$tmp/limits.c"
if ${CC:-cc} -I"$src" -o "$tmp/limits" "$tmp/limits.c"; then "$tmp/limits" >"$tmp/want"; else : >"$tmp/want"; fi
compare limits

# ---- the table itself is sorted and complete as a reader expects: no message named twice ----
rows '^\| [0-9]+ \| [a-z_]+ \| (client|daemon) ' | cut -d'|' -f2 | sort >"$tmp/have"
sort -u "$tmp/have" >"$tmp/want"
compare "message names (twice in the table)"

printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 && $passed -gt 0 ]]
