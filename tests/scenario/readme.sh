#!/bin/bash
# What the README shows works as it stands there: its client program, its commands.
. "$(dirname "$0")/lib.sh"

test_first_client_program() {
    start_pwcd
    # From its first line to the brace in the first column of the indented block.
    sed -n '/^    #include <err.h>/,/^    }/s/^    //p' "$PWC_SRC/README.md" >sum.c
    grep -q 'pwc_submit' sum.c || fail "no program in the README"
    mkdir inc
    cp "$PWC_SRC/client/pwc.h" inc
    ${CC:-cc} -Wall -Wextra -Werror -Iinc sum.c -L"$PWC_BUILD/.libs" -lpwc -Wl,-rpath,"$PWC_BUILD/.libs" -o sum
    perl -e 'print pack("l*", 1 .. 1000)' >numbers.i32
    equal "sum" 500500 "$(./sum numbers.i32)"
    local rc=0
    ./sum none 2>/dev/null || rc=$?
    equal "exit status" 1 "$rc"
}

# Every verb and option that the README's commands use is one.
test_commands_are_real() {
    local word
    "$PWCCTL" --help >"$T/verbs"
    "$PWCCTL" help run >"$T/options"
    grep -oE '^    (.*\| )?pwcctl .*' "$PWC_SRC/README.md" | sed 's/ #.*//' >"$T/lines"
    while read -r word; do
        grep -qw -- "$word" "$T/verbs" || fail "no such verb: $word"
    done < <(grep -oE 'pwcctl [a-z]+' "$T/lines" | sed 's/pwcctl //' | sort -u)
    while read -r word; do
        grep -q -- "$word" "$T/options" || fail "no such option: $word"
    done < <(grep -oE -- '--[a-z-]+' "$T/lines" | sort -u)
}

run_tests "$@"
