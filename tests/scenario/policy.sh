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

# ---- what stands in the place of a chunk given up ----

# bytes_not FILE BYTE FROM TO: how many of these bytes of the file are another.
bytes_not() {
    perl -e 'open my $f, "<:raw", $ARGV[0] or die; local $/; my $s = substr <$f>, $ARGV[2], $ARGV[3] - $ARGV[2];
        print length($s) - eval sprintf "\$s =~ tr/\\x%02x//", $ARGV[1]' "$@"
}

# Rows that workers write themselves, of a picture that is black but for those nobody could compute.
test_fill_of_placed_rows() {
    need_vips
    vips black black.v 3000 1200 --bands 3
    vips copy black.v black.tif
    local policy byte job from to
    for policy in fill=200 skip; do
        byte=${policy#skip} byte=${byte#fill=}
        in_background raw "$PWCCTL" run image.gaussblur black.tif -o out.raw --format raw sigma=40 --retries 0 \
            --on-failure "$policy" --json
        job=$BG
        kill_stage KILL "$WORKING"
        finish_background "$job"
        equal "exit status" 5 "$RC"
        equal "size" $((3000 * 1200 * 3)) "$(stat -c %s out.raw)"
        read -r from to < <("$PWCCTL" quarantine --json | jq -r '.quarantine[-1].covers' | sed 's/rows \(.*\) to/\1/')
        from=$((from * 9000)) to=$(((to + 1) * 9000))
        equal "bytes of the filled rows that are not ${byte:-0}" 0 "$(bytes_not out.raw "${byte:-0}" "$from" "$to")"
        equal "bytes before them that are not black" 0 "$(bytes_not out.raw 0 0 "$from")"
        equal "bytes behind them that are not black" 0 "$(bytes_not out.raw 0 "$to" $((3000 * 1200 * 3)))"
        rm out.raw
    done
    rm black.* raw.*
}

test_fill_needs_an_output() {
    bytes 1000 >n
    refused 2 'on failure: array.sum has no output that could be filled; it can fail or skip' \
        array.sum n type=uint8 --on-failure fill=7
    mkdir in
    bytes 1000 >in/a
    refused 2 'on failure: a file of a batch is not filled but left out; that is skip' \
        fault.copy --out-dir out in/a --on-failure fill=7
    rm -r in n
}

# What takes much longer than the others is no failure, but the log has it, once, and what it is.
test_a_slow_chunk_is_told() {
    in_background job "$PWCCTL" run fault.hang n=300 ms=2 at=250 attempts=9
    until_true "the log to tell" grep -qE 'job 1: chunk 250 has taken [1-9][0-9.]* s, where half of them take less than 0\.' "$T/log"
    kill -INT "$BG"
    finish_background "$BG"
    equal "how often" 1 "$(grep -c 'chunk 250 has taken' "$T/log")"
}

# ---- the one line ----

test_one_line_for_a_chunk_given_up() {
    expect_log ': its time is up'
    bytes 300000 >in
    run fault.copy in -o out die=process at=2 attempts=99 chunk=30000
    equal "exit status" 1 "$RC"
    told 'pwcctl: chunk 2 \(bytes 60000 to 89999\) killed by SIGKILL, attempt 3 of 3'
    run fault.segv n=20 at=4 attempts=99
    told 'pwcctl: chunk 4 killed by SIGSEGV in [^ ]+, attempt 3 of 3'
    run fault.hang n=20 at=4 attempts=99 --chunk-timeout 200ms
    told 'pwcctl: chunk 4 killed in [A-Za-z0-9_.]+: its time is up, attempt 2 of 2'
    run fault.error n=20 at=4 attempts=99
    told 'pwcctl: chunk 4 failed: this chunk always fails, attempt 1 of 1'
    run fault.exit n=20 at=4 attempts=99 status=9
    told 'pwcctl: chunk 4 exited with status 9, attempt 3 of 3'
    run fault.syscall n=20 at=4 attempts=99
    told 'pwcctl: chunk 4 killed by the sandbox: system call [a-z0-9]+, attempt 3 of 3'
    rm in
}

# Also one that was given up before the job ended of something else, and to the end of the line.
test_a_line_that_is_not_lost() {
    run fault.error n=100000 ms=5 at=4 attempts=99 --on-failure skip --timeout 3s
    equal "exit status" 124 "$RC"
    told 'pwcctl: chunk 4 failed: this chunk always fails, attempt 1 of 1' "pwcctl: the job's time is up"
    run fault.talk call=error n=3 at=1 attempts=99 --on-failure skip
    told 'pwcctl: chunk 1 failed: x{500,}, attempt 1 of 1' 'pwcctl: 1 of 3 chunks failed'
    "$PWCCTL" deaths 2.1 >"$T/out"
    grep -qE 'job 2: chunk 1 failed: x{500,}, attempt 1 of 1$' "$T/out" || fail "deaths: $(<"$T/out")"
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
        'pwcctl: chunk 2 \(in/b\) killed by SIGKILL, attempt 3 of 3' 'pwcctl: 2 of 4 files failed'
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

# ---- quarantine ----

quarantine() {
    RC=0
    "$PWCCTL" quarantine "$@" >"$T/out" 2>"$T/err" || RC=$?
}

# answered RC PATTERN: the last quarantine ended so, with one line that matches.
answered() {
    [[ $RC -eq $1 ]] || fail "exit $RC instead of $1: $(cat "$T/out" "$T/err")"
    equal "lines" 1 "$(cat "$T/out" "$T/err" | wc -l)"
    cat "$T/out" "$T/err" | grep -qE -- "$2" || fail "no '$2' in: $(cat "$T/out" "$T/err")"
}

in_quarantine() {
    [[ $("$PWCCTL" quarantine ls --json | jq -r '[.quarantine[] | "\(.job).\(.chunk)"] | join(" ")') == "$1" ]]
}

test_quarantine_of_a_running_job() {
    in_background job "$PWCCTL" run fault.segv n=2000 ms=5 at=4 attempts=3 --on-failure skip --json
    local job=$BG
    until_true "a chunk in quarantine" in_quarantine 1.4
    quarantine show 1.4 --json
    jq -e '.quarantine[0] | .cause == "crash" and .attempts == 3 and .instead == "skipped" and .can_retry and
        (.reason | test("killed by SIGSEGV"))' "$T/out" >/dev/null || fail "$(<"$T/out")"
    quarantine show 1.4
    grep -q "possible: 'pwcctl quarantine retry 1.4'" "$T/out" || fail "$(<"$T/out")"
    quarantine retry 1.5
    answered 1 '1.5 is not in quarantine'
    quarantine retry 1.4
    answered 0 '^1 chunk tried again$'
    finish_background "$job"
    equal "exit status" 0 "$RC" # the fourth attempt went well: nothing is missing
    cp job.out "$T/out"
    equal "chunks" 2000 "$(field chunks)"
    equal "sum of their numbers" $((2000 * 1999 / 2)) "$(field sum)"
    in_quarantine '' || fail "still in quarantine: $("$PWCCTL" quarantine)"
    rm job.*
}

# retried_before_the_end FILTER ARG...: the retry comes while that stage makes results of all but that chunk.
retried_before_the_end() {
    local filter=$1 job
    shift
    in_background job "$PWCCTL" run fault.error at=0 attempts=1 finish_ms=1000 --on-failure skip --json "$@"
    job=$BG
    until_true "a chunk in quarantine" in_quarantine 1.0
    until_true "a chunk done" job_done_at_least 1
    kill_stage STOP "$filter"
    quarantine retry 1.0
    answered 0 '^1 chunk tried again$'
    kill -CONT "$VICTIM"
    finish_background "$job"
    equal "exit status" 0 "$RC"
    cp job.out "$T/out"
    equal "sum of the numbers" "$SUM" "$(field sum)"
    equal "chunks" "$CHUNKS" "$(field chunks)"
    rm job.*
}

test_retry_during_the_last_lease() {
    CHUNKS=3 SUM=3 retried_before_the_end '.role == "worker" and .chunk == 2' n=3 -j 1 ms=1000 # to be found at that one
}

test_retry_while_results_are_made() {
    CHUNKS=2 SUM=1 retried_before_the_end '.role == "worker" and .state == "busy" and (has("chunk") | not)' n=2 ms=200
}

# A whole budget more, which is spent, too: attempts go on counting.
test_retried_in_vain() {
    in_background job "$PWCCTL" run fault.segv n=2000 ms=5 at=4 attempts=99 --on-failure skip --json
    local job=$BG
    until_true "a chunk in quarantine" in_quarantine 1.4
    quarantine retry 1
    answered 0 '^1 chunk tried again$'
    until_true "it to be back" in_quarantine 1.4
    equal "attempts" 6 "$("$PWCCTL" quarantine show 1.4 --json | jq '.quarantine[0].attempts')"
    finish_background "$job"
    equal "exit status" 5 "$RC"
    grep -q 'attempt 6 of 6' job.err || fail "$(<job.err)"
    quarantine retry 1.4
    answered 1 '^pwcctl: job 1 has ended; run it again: pwcctl run fault.segv n=2000 ms=5 at=4 attempts=99$'
    quarantine drop 1.4
    answered 0 '^1 chunk forgotten$'
    quarantine drop 1
    answered 0 '^0 chunks forgotten$'
    quarantine show 1.4
    answered 3 'not in quarantine'
    quarantine drop 99
    answered 3 'no such job'
    quarantine bury 1
    answered 2 'ls, show, retry or drop'
    quarantine retry
    answered 2 'which'
    rm job.*
}

# ask RC PATTERN ARGUMENT...: pwcctl ends so; with another status than 0 there is one line on stderr that matches.
ask() {
    local rc=$1 pattern=$2
    shift 2
    RC=0
    "$PWCCTL" "$@" >"$T/out" 2>"$T/err" || RC=$?
    [[ $RC -eq $rc ]] || fail "pwcctl $*: exit $RC instead of $rc: $(cat "$T/out" "$T/err")"
    if [[ $rc -ne 0 ]]; then told "$pattern"; fi
}

test_what_is_not_there() {
    run fault.error n=10 at=4 attempts=99 --on-failure skip
    ask 0 '' show 1.9
    ask 3 'pwcctl: job 1 has no chunk 10: they are 0 to 9' show 1.10
    ask 3 'pwcctl: there is no job 99' show 99
    ask 0 '' deaths 1
    ask 0 '' deaths 1.5
    ask 3 'pwcctl: there is no job 99' deaths 99
    ask 3 'pwcctl: job 1 has no chunk 10: they are 0 to 9' deaths 1.10
    ask 5 'pwcctl: job 1: 1 of 10 chunks failed' wait 1
    ask 0 '' quarantine 1.4 --json # ls need not be said
    equal "in quarantine" 4 "$(jq '.quarantine[].chunk' "$T/out")"
    ask 3 'pwcctl: job 99: no such job' quarantine 99
    ask 3 "pwcctl: 1.5 is not in quarantine: 'pwcctl quarantine' lists what is" quarantine show 1.4 1.5
    grep -q '^chunk    1\.4,' "$T/out" || fail "what is there is not shown: $(<"$T/out")"
    ask 3 'pwcctl: job 99: no such job' quarantine ls 99 1.4
    grep -q '^1\.4 ' "$T/out" || fail "what is there is not listed: $(<"$T/out")"
    ask 3 'pwcctl: job 99: no such job' quarantine drop 1.4 99
    equal "what was done" '1 chunk forgotten' "$(<"$T/out")"
}

# aligned HEAD PATTERN: under this head of a column stands what matches.
aligned() {
    local line at
    line=$(head -n 1 "$T/out") at=${line%%"$1"*}
    grep -qE "^.{${#at}}$2" "$T/out" || fail "not under $1: $(<"$T/out")"
}

test_columns() {
    bytes 3000 >in
    run_ok noop n=1000000
    run fault.copy in -o out die=process at=2 attempts=99 chunk=1000 --retries 0 --on-failure fill=200
    ask 0 '' jobs
    aligned OP 'noop +$'
    aligned OP 'fault\.copy '
    aligned NOTE '1 of 3 chunks failed$'
    ask 0 '' quarantine
    aligned INSTEAD 'filled with 200 '
    aligned REASON 'in: chunk 2 '
    rm in out
}

# The command that is told goes through a shell as it is.
test_retried_by_a_command() {
    mkdir in out
    local name="in/it's \$HOME;a"
    bytes 1000 >"$name"
    run fault.copy --out-dir out "$name" in/missing die=whole attempts=9 --retries 0
    quarantine retry 1.0
    equal "exit status" 1 "$RC"
    local said
    said=$(grep -oE "fault.copy.*" "$T/err")
    eval "set -- $said"
    equal "the file's name" "$name" "${!#}"
    rm -r in out
}

# The client of a batch is asked for the file again.
test_quarantine_of_a_batch() {
    mkdir in
    local i job
    for i in 1 2 3 4 5 6 7 8 9; do bytes 1000 >"in/$i"; done
    in_background batch "$PWCCTL" run fault.copy --out-dir out in/0 in/{1..9} slow=whole ms=1000 --json
    job=$BG
    until_true "the missing file in quarantine" in_quarantine 1.0
    equal "what it covers" in/0 "$("$PWCCTL" quarantine ls --json | jq -r '.quarantine[0].covers')"
    quarantine retry 1.0 # in vain: it is still missing
    answered 0 '1 chunk tried again'
    until_true "the missing file in quarantine" in_quarantine 1.0
    bytes 1000 >in/0
    quarantine retry 1.0
    answered 0 '1 chunk tried again'
    finish_background "$job"
    equal "exit status" 0 "$RC"
    for i in 0 1 2 3 4 5 6 7 8 9; do same "in/$i" "out/$i"; done
    rm in/5
    run fault.copy --out-dir out in/{1..9}
    equal "exit status" 5 "$RC"
    quarantine retry 2
    answered 1 "job 2 has ended and its files are closed; run it again: pwcctl run fault.copy --out-dir DIR in/5$"
    rm -r in out batch.*
}

# What stands in the output already, filled, is not computed behind its back.
test_quarantine_of_what_was_written() {
    bytes 300000 >in
    in_background copy "$PWCCTL" run fault.copy in -o out die=process at=0 attempts=99 chunk=30000 slow=merge ms=300 \
        --on-failure fill=7
    local copy=$BG
    until_true "a chunk in quarantine" in_quarantine 1.0
    equal "instead" 'filled with 7' "$("$PWCCTL" quarantine --json | jq -r '.quarantine[0].instead')"
    quarantine retry 1.0
    answered 1 'job 1 has (written something in its place already|ended and its files are closed); run it again: pwcctl run fault.copy'
    finish_background "$copy"
    equal "exit status" 5 "$RC"
    rm -f in out copy.*
}

# With a halt, which says when it fails, the job goes on without the chunk.
test_quarantine_of_what_a_halt_left_out() {
    bytes 300000 >in
    run fault.copy in -o out die=process at=0 attempts=99 chunk=30000 --halt soon,fail=2
    equal "exit status" 5 "$RC"
    equal "instead" skipped "$("$PWCCTL" quarantine --json | jq -r '.quarantine[0].instead')"
    rm in out
}

test_quarantine_is_bounded() {
    stop_pwcd
    start_pwcd --workers 2 --set quarantine_kept=2 --set history=3
    mkdir in
    run fault.copy --out-dir out in/{1..5}
    equal "exit status" 5 "$RC"
    in_quarantine '1.3 1.4' || fail "$("$PWCCTL" quarantine)"
    local i
    for i in 1 2 3; do run_ok noop n=1; done
    in_quarantine '' || fail "records of a job that is forgotten: $("$PWCCTL" quarantine)"
    rm -r in
}

# ---- several who follow a job ----

test_several_wait_for_a_job() {
    in_background job "$PWCCTL" run fault.none n=2000 ms=5 --json
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
        equal "its chunks" 2000 "$(jq .results.chunks "wait$i.out")"
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

# Nor is what its process held before, if it is more. An op's error, which its process survives, says what it used, too.
test_memory_of_an_attempt() {
    stop_pwcd
    start_pwcd --workers 1
    run fault.error n=3 at=1 attempts=9
    "$PWCCTL" deaths --json | jq -e '.deaths[0] | .cpu_ns > 0 and .rss_peak > 1000000 and .rss_before > 0' >/dev/null ||
        fail "an error: $("$PWCCTL" deaths --json)"
    ! grep -q 'PWC_SANITIZED 1' "$PWC_BUILD/config.h" || return 0 # which have no limit of memory, and object to leaks
    run_ok fault.leak n=3 at=1 attempts=9 bytes=60000000
    run fault.segv n=3 at=1 attempts=9 --retries 0
    "$PWCCTL" deaths "$(job_field job)" --json | jq -e '.deaths | length == 1 and .[0].rss_before > 60000000 and
        .[0].rss_peak >= .[0].rss_before and .[0].rss_peak < .[0].rss_before + 30000000' >/dev/null ||
        fail "what was leaked before: $("$PWCCTL" deaths --json)"
    run fault.leak n=3 at=1 attempts=9 --memory 100M --retries 0
    "$PWCCTL" deaths "$(job_field job)" --json | jq -e '.deaths[0] | .rss_peak > .rss_before + 50000000' >/dev/null ||
        fail "its own: $("$PWCCTL" deaths "$(job_field job)" --json)"
}

# What its process had computed before is no part of an attempt.
test_cpu_time_of_an_attempt() {
    stop_pwcd
    start_pwcd --workers 1
    truncate -s 3G sparse
    run_ok array.sum sparse type=int8
    run fault.segv n=3 at=1 attempts=9 --retries 0
    "$PWCCTL" deaths --json | jq -e '.deaths | length == 1 and all(.[]; 0 < .cpu_ns and .cpu_ns <= .elapsed_ns + 200000000)' >/dev/null ||
        fail "$("$PWCCTL" deaths --json)"
    rm sparse
}

# recorded ROLE CHUNK COVERS INPUT: the last job's records are three attempts in that role, at that chunk ("null": at none),
# and are found by it.
recorded() {
    local job which
    job=$("$PWCCTL" jobs --json | jq '.jobs | last | .job')
    [[ $2 == null ]] && which=$job || which=$job.$2
    "$PWCCTL" show "$which" --json >shown
    jq -e --arg role "$1" --argjson chunk "$2" --arg covers "$3" --arg input "$4" '[.deaths[].attempt] == [1, 2, 3] and
        all(.deaths[]; .role == $role and .chunk == $chunk and .covers == $covers and .input == $input and
        .attempts_max == 3)' shown >/dev/null ||
        fail "not all there: $(<shown)"
}

test_records_of_roles() {
    bytes 300000 >in
    bytes 1000 >small
    run fault.copy small -o out die=whole attempts=99
    told 'pwcctl: chunk 0 killed by SIGKILL, attempt 3 of 3'
    recorded whole 0 '' small
    run fault.copy small -o out fail=whole attempts=99 --retries 2
    told 'pwcctl: this whole always fails'
    recorded whole 0 '' small
    run fault.copy in -o out die=plan attempts=99
    told 'pwcctl: planner killed by SIGKILL, attempt 3 of 3'
    recorded planner null '' in
    run fault.copy in -o out die=produce at=2 attempts=99 chunk=30000
    told 'pwcctl: producer at chunk 2 \(bytes 60000 to 89999\) killed by SIGKILL, attempt 3 of 3'
    recorded producer 2 'bytes 60000 to 89999' in
    run fault.copy in -o out die=merge at=2 attempts=99 chunk=30000
    told 'pwcctl: consumer at chunk 2 \(bytes 60000 to 89999\) killed by SIGKILL, attempt 3 of 3'
    recorded consumer 2 'bytes 60000 to 89999' in
    run fault.segv n=200 at=200 attempts=99
    told 'pwcctl: worker at the results killed by SIGSEGV in act_segv, attempt 3 of 3'
    recorded worker null '' ''
    rm in small
}

# What it says of an attempt: the end of stderr, the beginning of the stack, no more of either than is promised.
test_size_of_a_record() {
    run fault.talk n=20 at=4 attempts=99 --retries 0
    "$PWCCTL" deaths --json | jq -e '.deaths | last | (.stderr | length <= 2048 and length > 1500 and
        endswith("\nline 3000\n?[31mlast words\n")) and (.stack | length <= 4096 and test("#47 .* die_deep\\+0x") and
        (test("#48 ") | not)) and .signal == "SIGABRT"' >/dev/null || fail "$("$PWCCTL" deaths --json)"
    "$PWCCTL" deaths -v | grep -q 'last words' || fail "deaths -v does not tell: $("$PWCCTL" deaths -v)"
    run fault.talk n=20 at=4 attempts=99 call=error
    "$PWCCTL" deaths --json | jq -e '.deaths | last | (.reason | length < 1024 and length > 500 and test("failed: xxx.*attempt 1 of 1$")) and
        (.stderr | endswith("last words\n"))' >/dev/null || fail "$("$PWCCTL" deaths --json)"
}

# Nor anything of an attempt before it, be it of another job, though the same process made both.
test_a_record_tells_its_own_words() {
    stop_pwcd
    start_pwcd --workers 1
    run fault.talk n=20 at=4 attempts=99 call=error
    run fault.segv n=20 at=4 attempts=99 --retries 0
    "$PWCCTL" deaths --json | jq -e '.deaths | length == 2 and .[0].stage == .[1].stage and (.[0].stderr | endswith("last words\n")) and
        (.[1].stderr | contains("line") | not)' >/dev/null || fail "$("$PWCCTL" deaths --json)"
}

# ---- a stage that floods its stderr ----

# reads_of_pwcd: how many calls of read(2) it has made so far.
reads_of_pwcd() {
    sed -n 's/^syscr: //p' "/proc/$PID/io"
}

has_read() {
    [[ $(reads_of_pwcd) -ge $1 ]]
}

# Milliseconds of some clock.
now() {
    printf '%s\n' $((${EPOCHREALTIME/./} / 1000))
}

# It waits for itself: what pwcd reads of it is so much a tick, a tenth of a second or more; a tick has other things to read, too.
test_a_flood_of_words() {
    local begin reads most
    in_background flood "$PWCCTL" run fault.talk n=1 attempts=99 call=flood
    until_true "the job to run" a_stage "$WORKING"
    begin=$(now) reads=$(reads_of_pwcd)
    until_true "pwcd to have read for some ticks" has_read $((reads + 1000))
    reads=$(($(reads_of_pwcd) - reads)) most=$(((($(now) - begin) / 100 + 2) * 150))
    [[ $reads -le $most ]] || fail "pwcd has called read(2) $reads times, expected $most at most"
    "$PWCCTL" cancel 1
    finish_background "$BG"
    run fault.talk n=1 attempts=99 call=flood bytes=400000 --retries 0
    "$PWCCTL" deaths --json | jq -e '.deaths | last | .stderr | endswith("\nline 50000\n?[31mlast words\n")' >/dev/null ||
        fail "its last words are not recorded: $("$PWCCTL" deaths --json)"
    rm flood.*
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
    expect_log ': its time is up'
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
    for bad in 0 x -5 1y '' 0ms 1e400 0x10; do
        refused 2 '--timeout' --timeout="$bad" noop n=1
        refused 2 '--chunk-timeout' --chunk-timeout="$bad" noop n=1
    done
    for bad in 0% 99% % x% 100%% 9999999999%; do refused 2 '--chunk-timeout' --chunk-timeout="$bad" noop n=1; done
    for bad in 0 x -1 1.5 18446744073709551615 never; do refused 2 '--max-failures' --max-failures="$bad" noop n=1; done
    for bad in 0 x -1 1T 0X1M; do refused 2 '--memory' --memory="$bad" noop n=1; done
    for bad in x fill fill= fill=256 fill=-1 fill=x skip=1; do
        refused 2 '--on-failure' --on-failure="$bad" noop n=1
    done
    for bad in '' now soon,fail now,fail=0 now,fail=0% now,fail=101% later,fail=1 now,fail=x now,fail=1.5 \
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

# It is the job's time, not its turn's.
test_timeout_of_a_job_that_waits() {
    local i
    for i in {1..12}; do
        "$PWCCTL" submit sleep n=1 ms=60000 >>ids || fail "job $i was not accepted"
    done
    refused 124 "the job's time is up" noop n=1 --timeout 300ms
    # shellcheck disable=SC2046 # words
    "$PWCCTL" cancel $(<ids) >/dev/null
}

# Chunks take 5 ms; one that hangs is over any percentage of the median once there is one.
test_chunk_timeout_in_per_cent() {
    expect_log ': its time is up'
    run_ok fault.hang n=200 ms=5 at=150 attempts=1 --chunk-timeout 1000% --json
    equal "chunks" 200 "$(field chunks)"
    equal "retried" 1 "$(field retried)"
    # Also where there are few of them.
    run_ok fault.hang n=8 ms=200 at=7 attempts=1 --chunk-timeout 300% --timeout 60s --json
    equal "retried" 1 "$(field retried)"
    # The lesser of the two holds.
    run_ok fault.hang n=200 ms=5 at=0 attempts=1 --chunk-timeout 1000000% --chunk-timeout 200ms
}

# batch_ends PATTERN ARGUMENT...
batch_ends() {
    local pattern=$1
    shift
    run fault.copy --out-dir out "$@"
    equal "exit status" 1 "$RC"
    grep -qE "$pattern" "$T/err" || fail "no '$pattern' in: $(<"$T/err")"
}

# Files that cannot be opened are failures like any other, be they the first of all.
test_a_batch_that_fails_ends() {
    mkdir in
    echo a >in/a
    batch_ends 'halted after 1 failures; the last: in/no1: cannot open' in/no1 in/a --on-failure fail
    batch_ends 'halted after 1 failures; the last: in/no1: cannot open' in/no1 in/a --on-failure fail --halt never
    batch_ends 'halted after 2 failures; the last: in/no2: cannot open' in/no1 in/no2 --halt now,fail=2
    batch_ends 'more than 1 failures; the last: in/no2: cannot open' in/no1 in/no2 in/no3 in/a --max-failures 1
    batch_ends 'more than 1 failures; the last: chunk 1' in/no1 in/a --max-failures 1 die=whole at=1 attempts=99 --retries 0
    run fault.copy in/no1 in/a --out-dir out --on-failure skip
    equal "exit status" 5 "$RC"
    same in/a out/a
    rm -r in out
}

# A thousand may fail, if nothing else is asked for; or more; or as many as do.
test_failures_that_are_only_counted() {
    mkdir in
    echo a >in/a
    batch_ends 'more than 1000 failures; the last: in/no1001: cannot open' in/no{1..1200} in/a --on-failure skip
    local most
    for most in none 200000; do
        run fault.copy --out-dir out in/no{1..1200} in/a --on-failure skip --max-failures "$most" --json
        equal "exit status" 5 "$RC"
        equal "failures" 1200 "$(field failed)"
        same in/a out/a
        rm -r out
    done
    rm -r in
}

test_halt() {
    refused 1 'halted after 1 failures; the last: chunk 4 failed: this chunk always fails, attempt 1 of 1' -q fault.error n=50 at=4 \
        attempts=99 --halt now,fail=1
    refused 1 'halted after 1 failures; the last: chunk 4 killed by SIGSEGV in act_segv, attempt 3 of 3' -q fault.segv n=50 at=4 \
        attempts=99 --halt soon,fail=1
    # The last chunk of all: that nothing is left to halt makes it no other failure.
    refused 1 'halted after 1 failures; the last: chunk 49 failed' -q fault.error n=50 at=49 attempts=99 --halt soon,fail=1
    run fault.error n=50 at=4 attempts=99 --halt soon,fail=2 -q --json
    equal "exit status" 5 "$RC"
    equal "chunks" 49 "$(field chunks)"
    # After so many of any kind: it tells whether all of them were good.
    run fault.error n=500 ms=2 at=0 attempts=99 --halt soon,done=10
    equal "exit status" 5 "$RC"
    told 'pwcctl: chunk 0 failed: this chunk always fails, attempt 1 of 1' 'pwcctl: halted after 10 chunks'
    run_ok fault.error n=500 ms=2 at=0 attempts=99 --halt now,success=10
    run_ok fault.none n=100000 ms=2 --halt soon,success=10 --json
    ((10 <= $(field "done") && $(field "done") < 100000)) || fail "$(field "done") chunks"
    run_ok fault.none n=100000 ms=2 --halt now,done=1% --json
    ((1000 <= $(field "done") && $(field "done") < 100000)) || fail "$(field "done") chunks"
}

# It has what was asked for. Which files it had come to by then is chance: they are told, and change nothing.
test_halt_of_a_batch_after_a_success() {
    mkdir in
    echo a | tee in/a >in/b
    run fault.copy --out-dir out in/no1 in/a in/no2 in/b -j 1 --halt soon,success=1 --json
    equal "exit status" 0 "$RC"
    equal "state" "done" "$(jq -r .state "$T/out")"
    equal "files that failed" in/no1 "$(jq -r '.files_failed[0].file' "$T/out")"
    grep -qx 'pwcctl: in/no1: cannot open: No such file or directory' "$T/err" || fail "not told: $(<"$T/err")"
    same in/a out/a
    "$PWCCTL" wait "$(job_field job)" >/dev/null || fail "wait: exit status $?"
    run fault.copy --out-dir out in/a in/no1 -j 1 --halt soon,success=1 # with the last of them, or before
    equal "exit status of two" 0 "$RC"
    run fault.copy --out-dir out in/no1 in/a in/no2 in/b -j 1 --halt soon,done=2 --json # of which one at least was bad
    equal "exit status" 5 "$RC"
    rm -r in out
}

# Of one output that all chunks make there is no part to be had.
test_halt_leaves_no_half_of_an_output() {
    bytes 300000 >in
    local when
    for when in now,success=2 soon,done=30%; do
        refused 1 'halted after (2 successes|30 % chunks): its output is not whole' fault.copy in -o out chunk=1000 \
            slow=process ms=5 --halt "$when"
        [[ ! -e out ]] || fail "--halt $when: $(stat -c %s out) bytes of 300000"
    done
    run_ok fault.copy in -o out chunk=100000 --halt soon,success=3 # none is left out
    same in out
    rm in out
}

# Nor of one result.
test_halt_leaves_no_half_of_a_result() {
    truncate -s 256M big
    local when
    for when in soon,success=3 now,success=2 now,done=1 soon,done=1% now,success=1%; do
        refused 1 'halted after [0-9]+( %)? (successes|chunks): its result is not whole' -q array.sum big type=int32 --halt "$when"
        equal "what --halt $when prints" "" "$(<"$T/out")"
    done
    run_ok array.sum big type=int32 --halt now,success=100%
    grep -qE '^sum +0$' "$T/out" || fail "of all chunks: $(<"$T/out")"
    rm big
}

# A job that could not be told to a stage is refused before it is one.
test_too_many_values() {
    need_vips
    vips black in.png 20 20
    local many
    printf -v many '%0900d' 0
    refused 2 '^pwcctl: b: takes 72[0-9]+ bytes, all parameters together 144[0-9]+; at most 12288 fit a job$' -q \
        image.linear in.png out.png a="${many//0/1 }" b="${many//0/1 }1"
    refused 2 '^pwcctl: a: takes [0-9]+ bytes, all parameters together [0-9]+; no job may be larger than 16384$' -q \
        image.linear in.png out.png a="${many//0/1234567890123456789 }" b=1
    equal "jobs" 0 "$("$PWCCTL" jobs --json | jq '.jobs | length')"
    printf -v many '%0700d' 0
    run image.linear in.png out.png a="${many//0/1 }" b="${many//0/1 }" # what fits reaches a stage, which may refuse it
    [[ $RC -eq 0 || $(wc -l <"$T/err") -eq 1 ]] || fail "$(<"$T/err")"
    equal "deaths" 0 "$("$PWCCTL" jobs --json | jq '.jobs[0].counts.deaths')"
}

run_tests "$@"
