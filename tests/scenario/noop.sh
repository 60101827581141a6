#!/bin/bash
# Jobs without files: many chunks, few chunks, and every kind of death while they run. fault.* count their chunks and
# add up their numbers, so a chunk that was lost or counted twice shows.
. "$(dirname "$0")/lib.sh"

setup() {
    start_pwcd --workers 2
}

# counted N: the last run counted each of the chunks 0 to N-1 exactly once.
counted() {
    equal "chunks" "$1" "$(field chunks)"
    equal "sum of their numbers" $(($1 * ($1 - 1) / 2)) "$(field sum)"
}

test_a_million_chunks() {
    run_ok noop n=1000000 --json
    equal "chunks done" 1000000 "$(field "done")"
    equal "deaths" 0 "$(field deaths)"
}

test_one_chunk() {
    run_ok noop n=1 --json
    equal "chunks done" 1 "$(field "done")"
}

test_results_are_exact() {
    run_ok fault.none n=100001 --json
    counted 100001
}

listed() {
    [[ $("$PWCCTL" "$1" --json | jq -c '[.jobs[].job]') == "$2" ]]
}

# A daemon remembers a thousand jobs that are over: who asks how it is wants the others.
test_status_has_the_jobs_that_are_not_over() {
    run_ok noop n=1
    in_background job "$PWCCTL" run sleep n=1 ms=600000
    until_true "the job that runs in status" listed status '[2]'
    equal "lines for people" 1 "$("$PWCCTL" status | grep -cE '^ +[0-9]+ ')"
    listed jobs '[1,2]' || fail "jobs: $("$PWCCTL" jobs)"
    "$PWCCTL" cancel 2
    finish_background "$BG"
    equal "exit status" 4 "$RC"
    listed status '[]' || fail "status: $("$PWCCTL" status)"
    rm job.*
}

test_no_descriptor_leaks() {
    local before
    run_ok noop n=100000
    run_ok fault.none n=1000
    until_true "pwcd to be at rest" eval '[[ $("$PWCCTL" jobs --json | jq "[.. | objects | select(.state? == \"running\")] | length") == 0 ]]'
    before=$(count_fds)
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        run_ok noop n=100000
        run_ok fault.none n=1000
    done
    until_true "as many descriptors as before ($before)" count_fds_is "$before"
}

test_many_clients_at_once() {
    local pids=() pid
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        in_background "c$i" "$PWCCTL" run fault.none n=20000 --json
        pids+=("$BG")
    done
    for pid in "${pids[@]}"; do
        finish_background "$pid"
        equal "exit status" 0 "$RC"
    done
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        cp "c$i.out" "$T/out"
        counted 20000
    done
}

test_killed_worker() {
    in_background job "$PWCCTL" run fault.none n=1200 ms=5 --json
    until_true "a little of the job" job_done_at_least 100
    kill_stage KILL "$WORKING"
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    cp job.out "$T/out"
    counted 1200
    equal "deaths" 1 "$(field deaths)"
    until_true "the worker to be gone" gone "$VICTIM"
    "$PWCCTL" deaths --json >list
    grep -q "$VICTIM" list || fail "no record of the death of $VICTIM: $(<list)"
}

test_worker_killed_ten_times() {
    in_background job "$PWCCTL" run fault.none n=2400 ms=5 --json
    for i in 1 2 3 4 5 6 7 8 9 10; do
        until_true "chunk $((i * 60))" job_done_at_least $((i * 60))
        kill_stage KILL "$WORKING"
    done
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    cp job.out "$T/out"
    counted 2400
}

test_both_workers_killed() {
    in_background job "$PWCCTL" run fault.none n=1200 ms=5 --json
    until_true "a little of the job" job_done_at_least 100
    until_true "two workers" eval '[[ $(stage_pids "$WORKING" | wc -l) -eq 2 ]]'
    # shellcheck disable=SC2046 # two words
    kill -KILL $(stage_pids "$WORKING") || :
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    cp job.out "$T/out"
    counted 1200
}

test_killed_nursery() {
    expect_log 'nursery'
    in_background job "$PWCCTL" run fault.none n=1200 ms=5 --json
    until_true "a little of the job" job_done_at_least 100
    kill_stage KILL '.role == "nursery"'
    local nursery=$VICTIM
    kill_stage KILL "$WORKING"
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    cp job.out "$T/out"
    counted 1200
    until_true "another nursery" a_stage ".role == \"nursery\" and .pid != $nursery"
    "$PWCCTL" workers --json | jq -e '.workers[] | select(.role == "nursery") | .age_ns > 0' >/dev/null ||
        fail "how old it is: $("$PWCCTL" workers)"
    run_ok fault.none n=1000 --json
    counted 1000
}

# A chunk that always kills its worker: three attempts, then the job fails and says which, why and how often.
test_poison_chunk() {
    refused 1 'chunk 17.*(SIGSEGV|signal 11).*3' -q fault.segv n=100 at=17 attempts=99
    run_ok fault.none n=1000 --json
    counted 1000
}

test_crash_once() {
    for op in segv abort exit scribble garbage lie; do
        [[ $op != garbage && $op != lie ]] || expect_log 'stage.*(garbage|protocol|malformed|frame|lease|kill)'
        run_ok fault."$op" n=500 at=123 attempts=1 --json
        counted 500
    done
}

# Most of them hold no chunk responsible: the slot cannot be believed.
test_every_death_is_told() {
    run_ok fault.scribble n=500 at=123 attempts=1 --json --progress json
    counted 500
    [[ $(field deaths) -ge 2 ]] || fail "$(field deaths) deaths: this proves nothing"
    equal "deaths told" "$(field deaths)" "$(jq -s '[.[] | select(.event == "death")] | length' "$T/err")"
}

# It would be at it for ever if nobody held it responsible.
test_reports_more_than_it_had() {
    expect_log 'reported what cannot be true'
    refused 1 'chunk 123 .*reported what cannot be true, attempt 3 of 3' -q fault.boast n=500 at=123 attempts=99
    run_ok fault.boast n=500 at=123 attempts=2 --json
    counted 500
}

test_error_is_not_retried() {
    refused 1 'chunk 9' -q fault.error n=100 at=9 attempts=1
}

test_chunk_timeout() {
    expect_log ': its time is up'
    run_ok fault.hang n=100 at=50 attempts=1 --chunk-timeout 200ms --json
    counted 100
    refused 1 'chunk 50.*(long|time)' -q fault.hang n=100 at=50 attempts=99 --chunk-timeout 200ms
}

test_stopped_worker() {
    in_background job "$PWCCTL" run fault.none n=1200 ms=5 --json
    until_true "a little of the job" job_done_at_least 100
    kill_stage STOP "$WORKING"
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    cp job.out "$T/out"
    counted 1200
}

test_forbidden_system_call() {
    refused 1 'mount' -q fault.syscall n=10 at=3 attempts=99
}

# ^C: the job is cancelled, the client says so with 130.
test_interrupted() {
    in_background job "$PWCCTL" run fault.none n=100000 ms=5
    until_true "a little of the job" job_done_at_least 10
    kill -INT "$BG"
    finish_background "$BG"
    equal "exit status" 130 "$RC"
    until_true "the job to be cancelled" eval '[[ $(job_field state) == cancelled ]]'
    daemon_alive
}

slice_of() {
    awk '$1 == "se.slice" { print $3 }' "/proc/$1/sched"
}

# Who takes over a chunk, and the supervisor, get the processor when they are woken; who works on has slices as all do.
test_slices() {
    local pid usual n=0
    usual=$(slice_of self 2>/dev/null) || skip "/proc/PID/sched is not there"
    [[ $usual -gt 100000 && $(slice_of "$PID") -eq 100000 ]] || skip "this kernel gives no slices of one's own"
    for pid in $(stage_pids '.role == "spare"'); do
        equal "slice of a spare" 100000 "$(slice_of "$pid")"
        n=$((n + 1))
    done
    [[ $n -gt 0 ]] || fail "no spare"
    run_ok fault.none n=100000 --json
    n=0
    for pid in $(stage_pids true); do
        [[ $(slice_of "$pid") -ne $usual ]] || n=$((n + 1))
    done
    [[ $n -ge 2 ]] || fail "$n stages have usual slices" # a worker, beside the nursery
}

# kill -9 of the client: its job ends, too.
test_client_killed() {
    in_background job "$PWCCTL" run fault.none n=100000 ms=5
    until_true "a little of the job" job_done_at_least 10
    kill -KILL "$BG"
    finish_background "$BG"
    until_true "the job to end" eval '[[ $(job_field state) == cancelled ]]'
}

# kill -9 of the daemon: nobody outlives it (crash_pwcd looks), the client says so.
test_daemon_killed() {
    in_background job "$PWCCTL" run fault.none n=100000 ms=5
    until_true "a little of the job" job_done_at_least 10
    crash_pwcd
    finish_background "$BG"
    [[ $RC -eq 69 || $RC -eq 70 ]] || fail "exit status $RC: $(<job.err)"
    start_pwcd --workers 2
    run_ok fault.none n=100 --json
    counted 100
}

run_tests "$@"
