#!/bin/bash
# Do the sanitizers see what happens in a sandboxed stage, and does this harness see what they say? Each test makes one
# mistake on purpose and asks for its report: with no report, a green run of all the others would mean nothing. Part of
# `make check` in builds with sanitizers.
. "$(dirname "$0")/lib.sh"

reported() {
    grep -rqsE -- "$1" "$T/reports"
}

# expect_report PATTERN: it must come, the harness must count it against the test, and then it is forgotten.
expect_report() {
    until_true "a report with $1" reported "$1"
    ! (check_reports) 2>/dev/null || fail "the harness overlooks reports"
    find "$T/reports" -type f -delete
}

setup() {
    start_pwcd --workers 1 --set retries_crash=0
}

test_overrun() {
    run fault.overrun n=1
    expect_report 'heap-buffer-overflow'
    [[ $RC -ne 0 ]] || fail "the job ended well"
}

test_undefined() {
    run fault.undefined n=1
    expect_report 'signed integer overflow'
    [[ $RC -ne 0 ]] || fail "the job ended well"
}

# The stage lives on, and the next job of the same stage ends well.
test_leak() {
    run_ok fault.leak n=1 bytes=1
    expect_report 'Direct leak of 4194304 byte'
    run_ok fault.none n=10
}

run_tests "$@"
