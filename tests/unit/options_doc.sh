#!/bin/bash
# options_doc.sh - what the programs take is what their help, man pages and completion say, no more and no less.
# Usage: options_doc.sh       PWC_BUILD: top of the build tree (default: the current directory)
set -u
export LC_ALL=C
src=$(cd "$(dirname "$0")/../.." && pwd)
build=${PWC_BUILD:-.}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# compare WHAT FILE FILE: the same words, and not none.
compare() {
    if [[ -s $2 ]] && diff -u --label "the program" --label "$1" "$2" "$3"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s\n' "$1"
    fi
}

# Text of a man page with the markup taken off: \- is a dash, font changes and quotes go.
bare() {
    sed -e 's/\\f[BIPR]//g; s/\\-/-/g; s/"//g' "$1"
}

long_options() {
    grep -oE -- '--[a-z][a-z-]*' | sort -u
}

# ---- pwcctl: options and verbs ----
mapfile -t verbs < <("$build/pwcctl" completion words none | grep -v '^-')
for verb in "${verbs[@]}"; do "$build/pwcctl" completion words "$verb"; done | grep '^-' | tr -d = | sort -u >"$tmp/taken"
printf '%s\n' "${verbs[@]}" | sort >"$tmp/verbs"

{
    "$build/pwcctl" --help
    for verb in "${verbs[@]}"; do "$build/pwcctl" "$verb" --help; done
} >"$tmp/help"
sed -nE 's/^ *(-[a-zA-Z], )?(--[a-z-]+).*/\2/p' "$tmp/help" | sort -u >"$tmp/have"
compare "pwcctl --help, options" "$tmp/taken" "$tmp/have"
sed -nE '/^Usage: pwcctl VERB/,/^Options may/s/^  ([a-z]+) .*/\1/p' "$tmp/help" | sort >"$tmp/have"
compare "pwcctl --help, verbs" "$tmp/verbs" "$tmp/have"

bare "$src/doc/pwcctl.1" | sed -n '/^\.SH OPTIONS/,/^\.SH EXIT/p' | grep -A1 '^\.TP' | long_options >"$tmp/have"
compare "pwcctl(1), options" "$tmp/taken" "$tmp/have"
# One paragraph tags status and jobs together, so the tags are looked for, not listed.
bare "$src/doc/pwcctl.1" | sed -n '/^\.SH VERBS/,/^\.SH RUN/p' >"$tmp/section"
for verb in "${verbs[@]}"; do
    ! grep -qE "^\.(B|BI|BR) +$verb( |$)" "$tmp/section" || printf '%s\n' "$verb"
done | sort >"$tmp/have"
compare "pwcctl(1), verbs" "$tmp/verbs" "$tmp/have"

# Nothing in the page, the README or the completion names an option that is not taken.
{
    cat "$tmp/taken"
    "$build/pwcd" --help | long_options
} | sort -u >"$tmp/any"
for page in README.md doc/pwcctl.1 contrib/completions/pwcctl; do
    bare "$src/$page" | grep -v -e configure -e systemd -e contrib/ -e pkg-config -e compgen |
        long_options |
        comm -23 - "$tmp/any" >"$tmp/unknown"
    if [[ -s $tmp/unknown ]]; then
        failed=$((failed + 1))
        printf 'FAILED: %s names what no program takes: %s\n' "$page" "$(tr '\n' ' ' <"$tmp/unknown")"
    else
        passed=$((passed + 1))
    fi
done

# ---- pwcd: options and settings ----
"$build/pwcd" --help >"$tmp/help"
sed -nE 's/^ *(-[a-zA-Z], )?(--[a-z-]+).*/\2/p' "$tmp/help" | sort -u >"$tmp/taken"
bare "$src/doc/pwcd.8" | sed -n '/^\.SH OPTIONS/,/^\.SH [^O]/p' | grep -A1 '^\.TP' | long_options >"$tmp/have"
compare "pwcd(8), options" "$tmp/taken" "$tmp/have"
sed -nE '/^Settings/,/^$/s/^  ([a-z_]+) .*/\1/p' "$tmp/help" | sort >"$tmp/taken"
bare "$src/doc/pwcd.conf.5" | grep -A1 '^\.TP' | sed -nE 's/^\.(B|BI|BR|RB) +([a-z]+_?[a-z_]*)( .*)?$/\2/p' |
    sort -u >"$tmp/have"
compare "pwcd.conf(5), settings" "$tmp/taken" "$tmp/have"

printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 && $passed -gt 0 ]]
