#!/bin/bash
# What the input of a job is called: told to whoever asks what died at it, and in the command that does the job again.
. "$(dirname "$0")/lib.sh"

setup() {
    start_pwcd --workers 2
}

bytes() {
    head -c "$1" /dev/urandom
}

# named NAME: that is what the newest job's input is called, wherever it is told to a program; for people it is one line.
named() {
    local job
    job=$(job_field job)
    "$PWCCTL" show "$job" --json >shown # the job, and an attempt
    "$PWCCTL" quarantine ls "$job" --json >>shown
    jq -se --arg name "$1" '[.. | objects | select(has("input")) | .input] == [$name, $name, $name]' shown >/dev/null ||
        fail "not all say '$1': $(<shown)"
    equal "lines" 1 "$("$PWCCTL" deaths "$job" | wc -l)"
    "$PWCCTL" deaths "$job" | grep -qF "job $job, ${1//$'\n'/?}: chunk 2 (bytes 60000 to 89999) killed" ||
        fail "$("$PWCCTL" deaths "$job")"
    AGAIN=$(again "$job")
    rm shown
}

pwcctl() {
    "$PWCCTL" "$@"
}

# Of a job that is no batch, too: each attempt's record tells the file, and so does the command that does the job again,
# which may be pasted. The line on stderr need not: who has typed the name reads it.
test_name_of_the_input() {
    local name
    local -a dies=(die=process at=2 attempts=1 chunk=30000 --retries 0)
    for name in $'it\'s "one"\n$HOME' '-x=y'; do
        bytes 300000 >"./$name"
        refused 1 '^pwcctl: chunk 2 \(bytes 60000 to 89999\) killed by SIGKILL, attempt 1 of 1$' fault.copy "${dies[@]}" -o out \
            -- "$name"
        named "$name"
        eval "$AGAIN"
        same "./$name" OUTPUT
        rm "./$name" OUTPUT
    done
    bytes 300000 >in
    RC=0
    "$PWCCTL" run fault.copy "${dies[@]}" -o out - <in 2>"$T/err" || RC=$?
    equal "exit status" 1 "$RC"
    equal "name of stdin" '' "$(job_field input)"
    "$PWCCTL" quarantine show "$(job_field job)" >shown
    grep -q -- '-o OUTPUT INPUT$' shown || fail "$(<shown)"
    rm in shown
}

# again JOB[.CHUNK]: the command that does it again.
again() {
    "$PWCCTL" quarantine show "$1" | sed -n 's/.*run it again: //p'
}

# With the options that came with the names of the files, too; who pastes it gets what the job would have made.
test_options_of_the_command() {
    need_vips
    vips black big.v 3000 1200 --bands 3
    vips linear big.v big.tif 1 77
    in_background blur "$PWCCTL" run image.gaussblur 'big.tif[page=0]' -o 'out.tif[compression=lzw]' sigma=40 --retries 0
    kill_stage KILL "$WORKING"
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    equal "the command" \
        'pwcctl run image.gaussblur sigma=40 --format tiff --save compression=lzw --load page=0 -o OUTPUT big.tif' "$(again 1)"
    eval "$(again 1)"
    equal "what it made" tiffload "$(vipsheader -f vips-loader OUTPUT)"
    printf '1 1\n1\n' >mask.mat
    run image.conv --out-dir out missing.png --in mask=mask.mat
    equal "the command" 'pwcctl run image.conv --format png --out-dir DIR --in mask=FILE missing.png' "$(again 3)"
    local many
    printf -v many '%0200d' 0
    run image.linear --out-dir out missing.png a="${many//0/1 }" b=0
    equal "one that is too long" 'pwcctl run image.linear ... missing.png' "$(again 4)"
    rm -r big.* OUTPUT mask.mat blur.*
}

# Bytes that are no UTF-8, too: exact for programs and in the command, as text for people.
test_name_that_is_no_text() {
    local name=$'caf\351 \303\251t\351.png'
    bytes 300000 >"./$name"
    run fault.copy -o out "$name" die=process at=2 attempts=1 chunk=30000 --retries 0
    equal "the command" "'caf\351 é" "$(again "$(job_field job)" | grep -oF "'caf\351 é")"
    eval "$(again "$(job_field job)")"
    same "./$name" OUTPUT
    run fault.copy --out-dir out "./$name" in/missing die=whole attempts=1 --retries 0
    equal "what it covers" './caf? ét?.png' "$("$PWCCTL" deaths --json | jq -r '.deaths | last | .covers')"
    "$PWCCTL" deaths "$(job_field job)" | grep -qF "job $(job_field job): chunk 0 (./caf? ét?.png) " ||
        fail "its name is told twice, or not: $("$PWCCTL" deaths)"
    eval "$(again "$(job_field job).0")"
    same "./$name" "DIR/$name"
    rm -r DIR "$name" OUTPUT
}

# A name that was cut is no file's: then none is told where it would be taken for one.
test_long_names() {
    local long
    printf -v long '%0200d' 0
    mkdir -p "$long/$long/$long" in
    bytes 300000 >"$long/$long/$long/file"
    run fault.copy -o out "$long/$long/$long/file" die=process at=2 attempts=1 chunk=30000 --retries 0
    named "$(printf %.512s "$long/$long/$long/file")"
    [[ $AGAIN == *' INPUT' ]] || fail "$AGAIN"
    bytes 1000 >"in/$long"
    run fault.copy --out-dir out "in/$long" in/missing die=whole attempts=1 --retries 0
    equal "input" "in/$long" "$("$PWCCTL" deaths --json | jq -r '.deaths | last | .input')"
    eval "$(again "$(job_field job).0")"
    same "in/$long" "DIR/$long"
    rm -r in DIR "$long"
}

run_tests "$@"
