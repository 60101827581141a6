#!/bin/bash
# The same request again: a client that lost its connection, or an answer, submits with the same request key. The
# job is done once, and whoever asked hears its end.
. "$(dirname "$0")/lib.sh"

setup() {
    start_pwcd --workers 2
}

# again HOW LINES [ARGUMENT...]: the lines that it must print.
again() {
    local how=$1 lines=$2
    shift 2
    equal "$how" "$lines" "$("$TOOLS/again" "$S" "$how" "$@" 2>&1)"
}

jobs_done() {
    "$PWCCTL" status --json | jq .daemon.jobs_done
}

test_connection_lost() {
    again lost "again: the same job, done, 12" fault.none n=12 ms=50
    equal "jobs done" 1 "$(jobs_done)"
}

test_connection_lost_and_lingering() {
    again linger "again: the same job, done, 12" fault.none n=12 ms=50
    equal "jobs done" 1 "$(jobs_done)"
}

# The job was to end with its client: now it has two.
test_connection_lost_after_the_second_request() {
    again left "again: the same job, done, 12" fault.none n=12 ms=50
    equal "jobs done" 1 "$(jobs_done)"
}

# Records of chunks that the first one had no room for, and those to come, are the second one's: while the job runs,
# not only at its end.
test_records_after_the_first_is_gone() {
    again told "again: the same job, cancelled, 0" fault.none n=400 ms=20
}

test_first_client_is_there() {
    again beside $'again: the same job, done, 12\nfirst: a new job, done, 12' fault.none n=12 ms=50
    equal "jobs done" 1 "$(jobs_done)"
}

test_same_connection() {
    again here $'again: the same job, done, 12\nfirst: a new job, done, 12' fault.none n=12 ms=50
    equal "jobs done" 1 "$(jobs_done)"
}

test_job_is_over() {
    again ended $'first: a new job, done, 3\nagain: the same job, done, 3\nagain: the same job, done, 3' fault.none n=3
    equal "jobs done" 1 "$(jobs_done)"
}

# It ended because its client was gone: who asks again wants it done. (The daemon may see the new request before the
# end of the old connection; then the job simply goes on.)
test_job_went_with_its_client() {
    local out
    out=$("$TOOLS/again" "$S" gone fault.none n=12 ms=50 2>&1)
    [[ $out == "again: "*" job, done, 12" ]] || fail "$out"
}

test_output_is_the_first_ones() {
    head -c 1000000 /dev/urandom >in
    again linger "again: the same job, done, 0" fault.copy slow=process ms=50 -- in out1 out2
    same in out1
    equal "bytes of the output that was not used" 0 "$(stat -c %s out2)"
    again ended $'first: the same job, done, 0\nagain: the same job, done, 0\nagain: the same job, done, 0' \
        fault.copy -- in out3 out4
    equal "bytes of the outputs that were not used" "0 0" "$(stat -c %s out3 out4 | paste -sd ' ')"
}

# keyed VERB OP...: pwcctl with a key.
keyed() {
    "$PWCCTL" "$@" --request-key "nightly run 7"
}

test_pwcctl_with_a_key() {
    local id
    id=$(keyed submit fault.none n=3)
    equal "number, again" "$id" "$(keyed submit fault.none n=3)"
    equal "results" "chunks 3" "$("$PWCCTL" wait "$id" | grep chunks)"
    equal "number and existing, submit" "$id true" "$(keyed submit fault.none --json | jq -r '"\(.job) \(.existing)"')"
    equal "number and existing, run" "$id true done" \
        "$(keyed run fault.none --json | jq -r '"\(.job) \(.existing) \(.state)"')"
    equal "jobs done" 1 "$(jobs_done)"
    equal "without a key" false "$("$PWCCTL" run fault.none n=3 --json | jq .existing)"
    equal "jobs done" 2 "$(jobs_done)"
}

test_pwcctl_with_a_key_and_an_output() {
    local rc=0
    head -c 100000 /dev/urandom >in
    keyed run fault.copy in -o out1
    same in out1
    keyed run fault.copy in -o out2 2>err
    grep -q "its output is where the first command put it" err || fail "$(<err)"
    keyed run fault.copy in -o - >stdout 2>err || rc=$?
    equal "exit status" 1 "$rc"
    grep -q "'-' gets nothing" err || fail "$(<err)"
    [[ ! -s stdout ]] || fail "bytes on stdout"
    files_are in out1 err stdout
    equal "jobs done" 1 "$(jobs_done)"
}

run_tests "$@"
