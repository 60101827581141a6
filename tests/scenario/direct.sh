#!/bin/bash
# Stages that pwcd executes itself, because there is no nursery: what they have when they begin, and that they get at nothing,
# least of all at the jobs beside them. tests/hostile/test_cage.c tries each call; here it is pwcd that starts them.
. "$(dirname "$0")/lib.sh"

setup() {
    head -c 300000 /dev/urandom >in
}

no_nursery() {
    # shellcheck disable=SC2016 # the script's own
    printf '#!/bin/bash\n[[ $1 == --stage ]] || exit 5\nexec %s "$@"\n' "$STAGE" >"$T/stage"
    chmod +x "$T/stage"
    STAGE=$T/stage
    expect_log 'nursery'
}

# job_beside CHUNK ARGUMENT...: a job that stands still in the middle of that chunk; its stage goes to BESIDE.
job_beside() {
    in_background beside "$PWCCTL" run "${@:2}" --isolation job
    until_true "the job beside" a_stage ".role == \"worker\" and .chunk == $1"
    BESIDE=$VICTIM
    tr '\0' '\n' <"/proc/$BESIDE/cmdline" | grep -qx -e --stage || fail "its stage was not executed by pwcd"
}

# Asked for its stack it goes on.
beside_is_well() {
    kill -USR1 "$BESIDE"
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<beside.err)"
    equal "deaths beside it" 0 "$("$PWCCTL" deaths "$1" --json | jq '.deaths | length')"
}

# Two that lead nowhere, the log, the channel and its own statm: nothing of pwcd's, nor of the client's beside it.
test_inherited() {
    no_nursery
    start_pwcd --workers 2
    job_beside 2 fault.copy in -o out hold=process at=2 chunk=30000
    refused 1 'chunk 0 failed: descriptors: ccesf, attempt 1 of 1$' -q fault.probe n=1 --isolation job
    beside_is_well 1
    same in out
}

test_denied() {
    no_nursery
    start_pwcd --workers 2
    job_beside 0 fault.hold n=1 attempts=9
    local call
    local -a refused=(openat2 creat unlink socket unix netlink connect bind memfd_create) deadly=(execve execveat fork kill tkill
        tgkill rt_sigqueueinfo pidfd_open pidfd_getfd process_vm_readv process_vm_writev mount setns)
    if ! grep -q 'PWC_SANITIZED 1' "$PWC_BUILD/config.h"; then # whose run-time opens files, and stops its own threads
        refused+=(openat procmem procfd) deadly+=(ptrace)
    fi
    for call in "${refused[@]}"; do
        refused 1 "chunk 0 failed: $call: (Permission denied|Operation not permitted), attempt 1 of 1\$" -q fault.probe n=1 call="$call" \
            target="$BESIDE" --isolation job
    done
    for call in "${deadly[@]}"; do
        refused 1 "chunk 0 killed by the sandbox: system call $call, attempt 1 of 1\$" -q fault.probe n=1 call="$call" \
            target="$BESIDE" --isolation job --retries 0
    done
    beside_is_well 1
}

run_tests "$@"
