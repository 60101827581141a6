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
    local -a as_built=()
    [[ -z $SANITIZED ]] || as_built=("-fsanitize=address,undefined")
    ${CC:-cc} "${as_built[@]}" -Wall -Wextra -Werror -Iinc sum.c -L"$PWC_BUILD/.libs" -lpwc -Wl,-rpath,"$PWC_BUILD/.libs" -o sum
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

# As they stand in pwcctl(1), in a directory that has the files they name.
test_examples_of_the_man_page() {
    need_vips
    start_pwcd
    local line out
    vips gaussnoise n.v 300 200 --mean 128 --sigma 30 --seed 5
    vips cast n.v photo.jpg uchar
    vips copy photo.jpg huge.tif
    cp photo.jpg a.jpg
    perl -e 'print pack("l*", 1 .. 1000)' >numbers.bin
    perl -e 'print pack("S*", 0 .. 65535)' >big.raw
    curl() {
        cat a.jpg
    }
    pwcctl() {
        "$PWCCTL" "$@"
    }
    export PWC_PWCD=$T/pwcd
    printf '#!/bin/sh\nexec "%s" --stage "%s" --scratch "%s" "$@"\n' "$PWCD" "$STAGE" "$T/scratch" >"$T/pwcd"
    chmod 755 "$T/pwcd"
    sed -n '/^\.SH EXAMPLES/,/^\.EE/p' "$PWC_SRC/doc/pwcctl.1" | grep -v '^\.' | sed 's/\\e$/\\/; s/\\-/-/g' >"$T/examples"
    [[ $(grep -c pwcctl "$T/examples") -ge 8 ]] || fail "examples: $(<"$T/examples")"
    set -o pipefail
    # read without -r joins lines that end in a backslash
    # shellcheck disable=SC2162
    while read line <&3; do
        out=$(eval "$line" 2>&1) || fail "$line: $out"
    done 3<"$T/examples"
    for out in blurred.png half.tif small/photo.jpg web/huge.webp b.png b.jpg; do
        [[ -s $out ]] || fail "no output $out"
    done
    rm -r ./*
}

# What the user's shell would put in: candidates of the last word, and "quoted" if it would quote them as files' names.
candidates() {
    local -a QUOTED=()
    local -a COMP_WORDS=("$@") COMPREPLY=()
    local COMP_CWORD=$(($# - 1))
    compopt() {
        [[ $* != '-o filenames' ]] || QUOTED=(quoted)
    }
    _pwcctl
    printf '%s ' "${COMPREPLY[@]}" "${QUOTED[@]}"
}

test_completion() {
    start_pwcd
    pwcctl() {
        "$PWCCTL" "$@"
    }
    # shellcheck source=/dev/null
    source <(pwcctl completion bash)
    touch 'nice file' milk.jpg
    equal "verbs" 'status ' "$(candidates pwcctl sta)"
    equal "ops" 'sleep ' "$(candidates pwcctl run sle)"
    equal "parameters" 'ms= milk.jpg ' "$(candidates pwcctl run sleep m)"
    equal "files" 'milk.jpg quoted ' "$(candidates pwcctl run sleep mi)"
    equal "words" 'plain ' "$(candidates pwcctl run --progress p)"
    "$PWCCTL" help sleep | grep -q ' 1 to 4611686018427387904, required' || fail "limits: $("$PWCCTL" help sleep)"
    rm -r ./*
}

run_tests "$@"
