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
    AGAIN=$("$PWCCTL" quarantine show "$job" | sed -n 's/.*run it again: //p')
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
    eval "$("$PWCCTL" quarantine show "$(job_field job).0" | sed -n 's/.*run it again: //p')"
    same "in/$long" "DIR/$long"
    rm -r in DIR "$long"
}

run_tests "$@"
