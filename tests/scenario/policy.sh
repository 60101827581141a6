#!/bin/bash
# Budgets and policy: how often a chunk is tried, what becomes of one that is given up, and what the user is told.
. "$(dirname "$0")/lib.sh"

setup() {
    start_pwcd --workers 2
}

# told LINE...: these lines and no other on stderr of the last run; each is a pattern (grep -E) for a whole line.
told() {
    local n=0 line
    for line; do
        n=$((n + 1))
        sed -n "${n}p" "$T/err" | grep -qxE -- "$line" || fail "line $n is not '$line': $(<"$T/err")"
    done
    equal "lines on stderr" "$#" "$(wc -l <"$T/err")"
}

bytes() {
    head -c "$1" /dev/urandom
}

# ---- the one line ----

test_one_line_for_a_chunk_given_up() {
    bytes 300000 >in
    run fault.copy in -o out die=process at=2 attempts=99 chunk=30000
    equal "exit status" 1 "$RC"
    told 'pwcctl: chunk 2 \(bytes 60000 to 89999\) killed by SIGKILL, attempt 3 of 3'
    run fault.segv n=20 at=4 attempts=99
    told 'pwcctl: chunk 4 killed by SIGSEGV in [^ ]+, attempt 3 of 3'
    run fault.hang n=20 at=4 attempts=99 --chunk-timeout 200ms
    told 'pwcctl: chunk 4 killed: its time is up, attempt 2 of 2'
    run fault.error n=20 at=4 attempts=99
    told 'pwcctl: chunk 4 failed: this chunk always fails, attempt 1 of 1'
    run fault.exit n=20 at=4 attempts=99 status=9
    told 'pwcctl: chunk 4 exited with status 9, attempt 3 of 3'
    run fault.syscall n=20 at=4 attempts=99
    told 'pwcctl: chunk 4 killed by the sandbox: system call [a-z0-9]+, attempt 3 of 3'
    rm in
}

# What ends the job and what it went on without are each told once.
test_a_line_each() {
    run fault.segv n=20 at=4 attempts=99 --on-failure skip --json
    equal "exit status" 5 "$RC"
    told 'pwcctl: chunk 4 killed by SIGSEGV in [^ ]+, attempt 3 of 3' '.*1 of 20 chunks failed.*'
    run fault.segv n=20 at=4 attempts=1
    told
    run fault.segv n=20 at=4 attempts=1 -v
    grep -qx 'pwcctl: chunk 4 killed by SIGSEGV in .*, attempt 1 of 3' "$T/err" || fail "-v: $(<"$T/err")"
}

test_lines_of_a_batch() {
    mkdir in
    local i
    for i in a b c; do bytes 1000 >"in/$i"; done
    run fault.copy --out-dir out in/a in/missing in/b in/c die=whole at=2 attempts=99
    equal "exit status" 5 "$RC"
    told 'pwcctl: in/missing: cannot open: No such file or directory' \
        'pwcctl: chunk 2 \(in/b\) killed by SIGKILL, attempt 3 of 3' 'pwcctl: 2 of 4 files failed' '.*2 of 4 items failed'
    same in/c out/c
    rm -r in out
}

test_rows_of_a_picture() {
    need_vips
    vips black big.v 3000 1200 --bands 3
    vips linear big.v big.tif 1 77
    in_background blur "$PWCCTL" run image.gaussblur big.tif -o out.tif sigma=40 --retries 0
    kill_stage KILL "$WORKING"
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    grep -qxE 'pwcctl: chunk [0-9]+ \(rows [0-9]+ to [0-9]+\) killed by SIGKILL, attempt 1 of 1' blur.err ||
        fail "$(<blur.err)"
    equal "lines" 1 "$(wc -l <blur.err)"
}

# ---- several who follow a job ----

test_several_wait_for_a_job() {
    in_background job "$PWCCTL" run fault.none n=400 ms=5 --json
    local job=$BG id i pids=()
    until_true "a little of the job" job_done_at_least 1
    id=$(job_field job)
    for i in 1 2 3; do
        in_background "wait$i" "$PWCCTL" wait "$id" --json
        pids+=("$BG")
    done
    in_background gone "$PWCCTL" wait "$id"
    until_true "five clients" eval '[[ $("$PWCCTL" status --json | jq .daemon.clients) -ge 6 ]]'
    kill -KILL "$BG"
    finish_background "$BG"
    finish_background "$job"
    equal "exit status" 0 "$RC"
    for i in 1 2 3; do
        finish_background "${pids[i - 1]}"
        equal "exit status of wait $i" 0 "$RC"
        equal "its chunks" 400 "$(jq .results.chunks "wait$i.out")"
    done
    rm -f job.* wait* gone.*
}

# Who follows a job is told of its end even when the one who submitted it is gone, and keeps one alive that lingers.
test_watcher_inherits() {
    "$PWCCTL" submit fault.none n=300 ms=5 >id
    in_background wait "$PWCCTL" wait "$(<id)" --json
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    equal "chunks" 300 "$(jq .results.chunks wait.out)"
    RC=0
    "$PWCCTL" wait "$(<id)" --json >wait.out || RC=$? # it has ended long ago
    equal "exit status" 0 "$RC"
    rm wait.* id
}

# ---- the whole record ----

test_records() {
    run fault.segv n=20 at=4 attempts=99
    local job
    job=$(job_field job)
    "$PWCCTL" show "$job.4" --json >shown
    jq -e '.deaths | length == 3 and all(.[]; .chunk == 4 and .cause == "crash" and .signal == "SIGSEGV" and
        .rss_peak > 0 and (.stack | test("#0")) and has("stderr") and (.cpu_ns | type == "number") and
        (.layers | length > 0) and .attempts_max == 3 and .pid > 0 and .at_ns > 0) and
        ([.[].attempt] == [1, 2, 3])' shown >/dev/null || fail "not all there: $(<shown)"
    "$PWCCTL" show "$job.5" --json | jq -e '.deaths == []' >/dev/null || fail "deaths of another chunk"
    "$PWCCTL" show "$job.4" >shown
    grep -q 'sandbox: [a-z]' shown || fail "show does not tell the sandbox: $(<shown)"
    "$PWCCTL" deaths "$job.4" -v --json | jq -e '.deaths | length == 3' >/dev/null || fail "deaths JOB.CHUNK"
    local rc=0
    "$PWCCTL" show 1.x >shown 2>&1 || rc=$?
    equal "exit status" 2 "$rc"
    equal "lines" 1 "$(wc -l <shown)"
    run fault.error n=3 at=1 attempts=9
    "$PWCCTL" deaths "$(job_field job)" --json | jq -e '.deaths | length == 1 and .[0].cause == "op" and
        (.[0].reason | test("always fails"))' >/dev/null || fail "an op's error leaves no record"
    printf 'no picture' >small
    if "$PWCCTL" ops | grep -q '^image.invert'; then
        run image.invert small -o out.png
        "$PWCCTL" deaths "$(job_field job)" --json | jq -e '.deaths | length == 1 and .[0].role == "planner"' >/dev/null ||
            fail "a planner's error leaves no record"
    fi
}

test_records_are_bounded() {
    stop_pwcd
    start_pwcd --workers 2 --set deaths_kept=5
    run fault.segv n=20 at=4 attempts=9 --retries 8
    equal "exit status" 1 "$RC"
    equal "records" '[5,6,7,8,9]' "$("$PWCCTL" deaths --json | jq -c '[.deaths[].attempt]')"
}

# ---- budgets ----

# fails_after ATTEMPTS OP [ARGUMENT...]: the chunk is given up at this attempt.
fails_after() {
    local n=$1
    shift
    refused 1 "attempt $n of $n" "$@" n=20 at=4 attempts=99
}

test_retries_by_cause() {
    local -a some=(--retries "error=1,crash=0,timeout=2" --chunk-timeout 150ms)
    fails_after 2 fault.error "${some[@]}"
    fails_after 1 fault.segv "${some[@]}"
    fails_after 3 fault.hang "${some[@]}"
    fails_after 3 fault.segv --retries error=4 # not named: the default
    fails_after 1 fault.error --retries crash=4
    fails_after 2 fault.error --retries 1
    local bad
    for bad in x -1 101 crash crash= crash=x crash=101 "crash=1," ",crash=1" crush=1 crash=1,,oom=1 error=0crash=1 \
        crash=00000000001; do
        refused 2 '--retries .*must be' --retries="$bad" noop n=1
    done
}

test_out_of_memory_has_a_budget() {
    fails_after 2 fault.leak --retries oom=1,crash=5 --memory 200M
}

test_nonsense_is_refused() {
    local bad
    for bad in 0 x -5 1y '' 0ms 1e400; do
        refused 2 '--timeout' --timeout="$bad" noop n=1
        refused 2 '--chunk-timeout' --chunk-timeout="$bad" noop n=1
    done
    for bad in 0% 99% % x% 100%% 9999999999%; do refused 2 '--chunk-timeout' --chunk-timeout="$bad" noop n=1; done
    for bad in 0 x -1 1.5; do refused 2 '--max-failures' --max-failures="$bad" noop n=1; done
    for bad in 0 x -1 1T; do refused 2 '--memory' --memory="$bad" noop n=1; done
    for bad in x fill fill= fill=256 fill=-1 fill=x skip=1; do
        refused 2 '--on-failure' --on-failure="$bad" noop n=1
    done
    for bad in now soon,fail now,fail=0 now,fail=0% now,fail=101% later,fail=1 now,fail=x now,fail=1.5 \
        now,fail=1x "now,fail=1$(printf '%070d' 0)"; do
        refused 2 'halt|never or' --halt="$bad" noop n=1
    done
}

test_timeout_of_a_job() {
    refused 124 "the job's time is up" fault.none n=100000 ms=5 --timeout 300ms
    # Chunks that ended badly before do not make it another failure.
    refused 124 "the job's time is up" fault.segv n=100000 ms=5 at=0 attempts=1 --timeout 500ms
    equal "a death in it" 1 "$(job_field deaths)"
}

# Chunks take 5 ms; one that hangs is over any percentage of the median once there is one.
test_chunk_timeout_in_per_cent() {
    run_ok fault.hang n=200 ms=5 at=150 attempts=1 --chunk-timeout 1000% --json
    equal "chunks" 200 "$(field chunks)"
    equal "retried" 1 "$(field retried)"
    # The lesser of the two holds.
    run_ok fault.hang n=200 ms=5 at=0 attempts=1 --chunk-timeout 1000000% --chunk-timeout 200ms
}

test_halt() {
    refused 1 'halted after 1 failures' -q fault.error n=50 at=4 attempts=99 --halt now,fail=1
    run fault.error n=50 at=4 attempts=99 --halt soon,fail=2 -q --json
    equal "exit status" 5 "$RC"
    equal "chunks" 49 "$(field chunks)"
    run_ok fault.none n=100000 ms=2 --halt soon,success=10 --json
    ((10 <= $(field "done") && $(field "done") < 100000)) || fail "$(field "done") chunks"
    run_ok fault.none n=100000 ms=2 --halt now,done=1% --json
    ((1000 <= $(field "done") && $(field "done") < 100000)) || fail "$(field "done") chunks"
}

# A job that could not be told to a stage is refused before it is one.
test_too_many_values() {
    need_vips
    vips black in.png 20 20
    local many
    printf -v many '%0900d' 0
    refused 2 'params: all values together take [0-9]+ bytes; at most 12288 fit a job' -q \
        image.linear in.png out.png a="${many//0/1 }" b="${many//0/1 }"
    equal "jobs" 0 "$("$PWCCTL" jobs --json | jq '.jobs | length')"
    printf -v many '%0700d' 0
    run image.linear in.png out.png a="${many//0/1 }" b="${many//0/1 }" # what fits reaches a stage, which may refuse it
    [[ $RC -eq 0 || $(wc -l <"$T/err") -eq 1 ]] || fail "$(<"$T/err")"
    equal "deaths" 0 "$("$PWCCTL" jobs --json | jq '.jobs[0].counts.deaths')"
}

run_tests "$@"
