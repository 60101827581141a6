#!/bin/bash
# What `pwcctl doctor` says of the machine, and require_sandbox where a layer is missing: the kernel is made to lack it.
. "$(dirname "$0")/../scenario/lib.sh"

LACKS=$PWC_BUILD/tests/hostile/lacks

setup() {
    ! grep -q '^#define PWC_SANITIZED' "$PWC_BUILD/config.h" || skip "sanitizers need what the sandbox forbids"
    [[ $1 == *_complete* ]] || "$LACKS" landlock_create_ruleset true || skip "no seccomp filter can be set here"
}

# doctor EXIT_STATUS: its words go to the file said.
doctor() {
    local rc=0
    "$PWCCTL" doctor >said 2>&1 || rc=$?
    [[ $rc -eq $1 ]] || fail "doctor: exit $rc: $(<said)"
}

says() {
    grep -qE -- "$1" said || fail "doctor does not say '$1': $(<said)"
}

says_not() {
    ! grep -qE -- "$1" said || fail "doctor says '$1': $(<said)"
}

test_complete() {
    start_pwcd --workers 2 --set memory=1G --set jobs_per_user=77
    doctor 0
    says '^workers .*of 2 \(config\)'
    says '^sandbox .*no_new_privs.*seccomp'
    says "^scratch .*$T/scratch \\([a-z0-9]+.* free"
    says '^limits .*descriptors.*memory of each 1G.*77 a user'
    says '^trial .*ok'
    says ': ok$'
    "$PWCCTL" doctor --json >doctor.json
    [[ $(jq -r .daemon.scratch doctor.json) == "$T/scratch ("* ]] || fail "$(<doctor.json)"
    equal "trial" ok "$(jq -r .trial doctor.json)"
    [[ $(jq -r .daemon.limits doctor.json) == *descriptors* ]] || fail "$(<doctor.json)"
}

test_complete_and_required() {
    start_pwcd --workers 2
    doctor 0
    grep -q '^missing' said && skip "this kernel lacks a layer"
    stop_pwcd
    rm "$T/log"
    start_pwcd --workers 2 --set require_sandbox=yes
    doctor 0
    run_ok noop n=100
    stop_pwcd
    start_pwcd --workers 2 --set require_sandbox=yes --set memory=1G
    run_ok noop n=100
}

test_without_landlock() {
    PREFIX=("$LACKS" landlock_create_ruleset)
    start_pwcd --workers 2
    doctor 0
    says '^missing .*landlock: Function not implemented'
    says '^sandbox .*seccomp'
    says_not '^sandbox .*landlock'
    run_ok noop n=100
    "$PWCCTL" workers --json | jq -e '[.workers[] | select(.layers != "")] | all(.layers | contains("landlock") | not)' >/dev/null ||
        fail "a stage says that it has landlock"
}

# refuses PATTERN: every job fails with this reason, the daemon lives and says why.
refuses() {
    expect_log "$1.*require_sandbox"
    refused 70 "$1.*require_sandbox" noop n=100
    refused 70 "$1.*require_sandbox" noop n=100
    doctor 1
    says "$1"
    daemon_alive
}

test_required_without_landlock() {
    PREFIX=("$LACKS" landlock_create_ruleset)
    start_pwcd --workers 2 --require-sandbox
    refuses landlock
}

test_required_without_dropping_rights() {
    PREFIX=("$LACKS" capset)
    start_pwcd --workers 2 --set require_sandbox=yes
    refuses nocaps
}

run_tests "$@"
