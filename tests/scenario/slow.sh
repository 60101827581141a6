#!/bin/bash
# A client's descriptor as a trap (DESIGN 3.2): the file lies on a FUSE file system whose server stops answering. A stage
# may hang in it; the daemon must not, nor anybody else's job.
. "$(dirname "$0")/lib.sh"

setup() {
    [[ -x $TOOLS/slowfs ]] || skip "built without libfuse3"
    [[ -c /dev/fuse && -w /dev/fuse ]] || skip "/dev/fuse cannot be used"
    head -c 400000 /dev/zero >"$T/bytes"
    mkdir "$T/mnt"
    mkfifo "$T/orders" "$T/answers"
    "$TOOLS/slowfs" "$T/mnt" "$T/bytes" <"$T/orders" >"$T/answers" 2>"$T/slowfs.err" &
    SLOWFS=$!
    exec {ORDERS}>"$T/orders" {ANSWERS}<"$T/answers"
    local word
    read -r -t 10 -u "$ANSWERS" word || skip "FUSE does not work here: $(<"$T/slowfs.err")"
    start_pwcd --workers 2 --set shutdown_grace=200ms
}

# order WORDS: returns when the file system has obeyed.
order() {
    local word
    printf '%s\n' "$*" >&"$ORDERS"
    until read -r -t "$WAIT_LIMIT" -u "$ANSWERS" word && [[ $word == ok ]]; do
        [[ -n $word ]] || fail "slowfs does not answer"
    done
}

# Somebody has come to a shut gate.
somebody_waits() {
    local word=
    read -r -t "$WAIT_LIMIT" -u "$ANSWERS" word || fail "nobody came to the gate"
    [[ $word == waiting* ]] || fail "slowfs said '$word'"
}

others_go_on() {

    for _ in 1 2 3 4 5; do
        daemon_alive
        run_ok fault.none n=1000 --json
    done
    run_ok array.sum "$T/bytes" type=int8
}

# A client closes its descriptor when it has sent it, which need not be before its job has begun. If that hung, no signal
# would reach it.
client_has_closed_it() {
    until_true "the client to close the file" eval '! readlink "/proc/$BG/fd"/* | grep -qxF "$T/mnt/slow"'
}

# The gates must open before mind and the shell can end, and a mount would stay. Who hangs in it may hold the pipe of
# orders open.
teardown() {
    [[ -n ${SLOWFS-} ]] || return 0
    echo open >&"$ORDERS"
    exec {ORDERS}>&-
    wait "$SLOWFS" || :
    unset SLOWFS
}

test_read_that_hangs() {
    order shut read
    in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8 --json
    somebody_waits
    others_go_on
    order open
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<job.err)"
}

# Reads fill every seat: others have them until somebody answers, and long before a stage is held to be stuck. Further
# stages of who sent the file would do nobody any good.
test_others_have_the_seats_while_all_reads_hang() {
    need_users
    stop_pwcd
    start_pwcd --workers 2 --set shutdown_grace=200ms --set socket_mode=0666
    truncate -s 64M "$T/bytes"
    order shut read
    in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8 --json
    until_true "both seats to wait for the file" eval '[[ $(stage_pids "$WORKING" | wc -l) -eq 2 ]]'
    local stuck
    stuck=$(stage_pids "$WORKING")
    for _ in 1 2 3; do
        as "$BOB" "$PWCCTL" run noop n=1 || fail "Bob's job: exit $?"
    done
    as "$BOB" "$PWCCTL" run fault.none n=100 ms=2 || fail "Bob's job: exit $?"
    equal "deaths meanwhile" 0 "$("$PWCCTL" deaths --json | jq '.deaths | length')"
    equal "stages of who sent the file" "$stuck" "$(stage_pids "$WORKING and .uid == 0")"
    order open
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<job.err)"
    run_ok array.sum "$T/bytes" type=int8 --json
    equal "sum" "$(jq .results "$T/out")" "$(jq .results job.out)"
}

test_cancel_while_a_read_hangs() {
    order shut read
    in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8
    somebody_waits
    kill -INT "$BG"
    until_true "the job to be cancelled" eval '[[ $(job_field state) == cancelled ]]'
    others_go_on
    order open
    finish_background "$BG"
    equal "exit status" 130 "$RC"
}

# fstat of the descriptor hangs, though its client has opened it long before. The client is the documented example of a
# sum, with this descriptor in place of the memory file.
test_getattr_that_hangs() {
    exec 9<"$T/mnt/slow"
    sed -e 's/^@ .*/@ fd 9/' -e 's/^    08011005 2a19 0a0373756d.*/    080110 */' "$PWC_SRC/doc/PROTOCOL.md" >"$T/doc"
    order shut getattr
    in_background client "$TOOLS/replay" "$S" "$T/doc" array-sum
    somebody_waits
    others_go_on
    order open
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "$(<client.err)"
    exec 9<&-
}

# close of a client's descriptor hangs: a thread waits for it, not the daemon.
test_close_that_hangs() {
    order shut flush
    in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8
    somebody_waits
    others_go_on
    order open
    finish_background "$BG"
}

# One that takes seconds, as on a busy disk or over a network, is waited for: the jobs whose descriptors are closed behind it
# are not refused.
test_close_that_takes_its_time() {
    expect_log 'survives SIGKILL: written off'
    order shut read
    in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8
    somebody_waits
    client_has_closed_it
    order shut flush
    kill -INT "$BG"
    until_true "the job to be cancelled" eval '[[ $(job_field state) == cancelled ]]'
    for _ in 1 2 3 4 5; do
        run_ok array.sum "$T/bytes" type=int8
    done
    run_ok sleep n=3 ms=1000
    run_ok array.sum "$T/bytes" type=int8
    order open
    finish_background "$BG"
}

worker_where() {
    "$PWCCTL" workers --json | jq -r "[.workers[] | select($1)][0] | .pid // empty"
}

# A worker that was killed cannot end: it has the file open, and close of that hangs. Another one takes its chunk all the
# same; only later it is seen what the first has died of.
test_others_take_over_from_who_has_not_ended_yet() {
    local linux victim chunk
    linux=$(uname -r)
    [[ $(printf '%s\n' 6.11 "$linux" | sort -V | head -n 1) == 6.11 ]] || skip "Linux $linux tells of an end when it is over"
    truncate -s 64M "$T/bytes"
    order shut read
    in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8 --json
    until_true "a worker in a chunk" eval '[[ -n $(worker_where ".role == \"worker\" and .chunk != null") ]]'
    somebody_waits
    victim=$(worker_where '.role == "worker" and .chunk != null')
    chunk=$("$PWCCTL" workers --json | jq --argjson pid "$victim" '.workers[] | select(.pid == $pid) | .chunk')
    client_has_closed_it
    order shut flush
    kill -KILL "$victim"
    until_true "its chunk to be elsewhere" eval "[[ -n \$(worker_where '.pid != $victim and .chunk == $chunk') ]]"
    equal "who is dying" "$victim" "$(worker_where '.state == "dying"')"
    ! grep -q 'written off' "$T/log" || fail "nobody took over before the first was written off"
    order open
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<job.err)"
    run_ok array.sum "$T/bytes" type=int8 --json
    equal "sum" "$(jq .results "$T/out")" "$(jq .results job.out)"
    until_true "the death to be told" eval '[[ $("$PWCCTL" deaths --json | jq ".deaths | length") -eq 1 ]]'
    "$PWCCTL" deaths --json | jq -e --argjson chunk "$chunk" '.deaths[0] | .chunk == $chunk and .attempt == 1 and .attempts_max == 3' >/dev/null ||
        fail "the record: $("$PWCCTL" deaths --json)"
}

# SIGKILL does not end it, so it is written off; its record says that, and when it is gone at last, of what it died.
test_who_is_written_off_is_told_of_when_it_is_gone() {
    local victim
    order shut read
    in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8
    until_true "a worker in a chunk" eval '[[ -n $(worker_where ".role == \"worker\" and .chunk != null") ]]'
    somebody_waits
    victim=$(worker_where '.role == "worker" and .chunk != null')
    client_has_closed_it
    order shut flush
    expect_log 'stage [0-9]+ .*survives SIGKILL: written off'
    kill -KILL "$victim"
    until_true "it to be written off" grep -q "pid $victim) survives SIGKILL: written off" "$T/log"
    [[ -e /proc/$victim ]] || fail "it was gone before it was written off"
    last_death 'select(has("signal") | not) | .reason' | grep -q 'ended, of what is not known' || fail "the record: $(last_death .)"
    order open
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<job.err)"
    until_true "it to be gone" eval '[[ $(last_death .signal) == SIGKILL ]]'
    last_death 'select(.pid == '"$victim"') | .reason' | grep -q '^chunk [0-9]* .*killed by SIGKILL, attempt 1 of 3$' ||
        fail "the record: $(last_death .)"
}

last_death() {
    "$PWCCTL" deaths --json | jq -r ".deaths | last | $1"
}

# live_stages [FILTER]: how many there are, with those that are being ended.
live_stages() {
    "$PWCCTL" workers --json | jq "[.workers[] | select(.role != \"nursery\") | select(${1:-true})] | length"
}

written_off() {
    grep -c 'survives SIGKILL: written off' "$T/log" || :
}

# A job of another domain leaves stages that wait for more of it.
fill_the_pool() {
    run_ok fault.none n=4 --domain "$RANDOM"
    [[ $(live_stages) -eq 6 ]]
}

# Whoever waits for a read past the cache cannot be killed. Such processes count among stages_max, and their user is
# refused after a few; when they are gone he is welcome again.
test_processes_that_cannot_be_killed_are_counted() {
    local before
    stop_pwcd
    start_pwcd --workers 2 --set shutdown_grace=200ms --set stages_max=6
    expect_log 'survives SIGKILL: written off'
    until_true "all the stages there may be" fill_the_pool
    order direct
    order shut read
    while [[ $(written_off) -lt 2 ]]; do # one or two a job
        before=$(written_off)
        in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8
        somebody_waits
        kill -INT "$BG"
        until_true "another one to be written off" eval "[[ \$(written_off) -gt $before ]]"
        finish_background "$BG"
    done
    refused 75 'processes of yours hang in the kernel' fault.none n=10
    until_true "six stages at most" eval '[[ $(live_stages) -le 6 ]]'
    [[ $(live_stages '.state == "dying"') -ge 2 ]] || fail "they are not shown"
    order open
    until_true "them to be gone" eval '[[ $(live_stages ".state == \"dying\"") -eq 0 ]]'
    run_ok array.sum "$T/mnt/slow" type=int8
}

test_stop_while_a_read_hangs() {
    order shut read
    in_background job "$PWCCTL" run array.sum "$T/mnt/slow" type=int8
    somebody_waits
    kill -TERM "$PID"
    # A stage that waits for the file system cannot be killed; the daemon need not wait for it.
    mind_says "exit"
    mind_says "left"
    order open
    mind_says "stayed 0"
    wait "$MIND" || :
    unset PID
    finish_background "$BG"
}

# The nursery waits for a file, so that SIGKILL does not end it: pwcd ends all the same.
test_stop_while_the_nursery_hangs() {
    stop_pwcd
    order direct
    order shut read
    printf '#!/bin/bash\necho "$PPID" >%s\nread -r <%s\n' "$T/begun" "$T/mnt/slow" >"$T/stage"
    chmod 755 "$T/stage"
    # shellcheck disable=SC2034 # for lib.sh
    STAGE=$T/stage
    expect_log 'nursery .* survives SIGKILL: left behind'
    launch_pwcd
    await_line "$T/begun" '^[0-9]+$' >pid
    somebody_waits
    kill -TERM "$(<pid)"
    mind_says "exit 0"
    mind_says "left 1"
    order open
    end_pwcd
}

# One that is to go on does without it, and has another one.
test_a_nursery_that_cannot_be_killed() {
    stop_pwcd
    order direct
    order shut read
    cat >"$T/stage" <<-END
		#!/bin/bash
		[[ \$1 != --nursery || -e $T/begun ]] || { echo "\$\$" >$T/begun && read -r <$T/mnt/slow; }
		exec $STAGE "\$@"
	END
    chmod 755 "$T/stage"
    STAGE=$T/stage
    expect_log 'nursery .* (makes no stage in time: killed|survives SIGKILL: written off)'
    start_pwcd --workers 2 --set ready_timeout=300ms
    somebody_waits
    await_line "$T/log" 'survives SIGKILL: written off' >line
    others_go_on
    until_true "another nursery" another_nursery "$(<"$T/begun")"
    order open
    until_true "the end of the first" gone "$(<"$T/begun")"
}

another_nursery() {
    a_stage '.role == "nursery"' && [[ $VICTIM -ne $1 ]]
}

# ---- results that nobody takes ----

all_wait_for_consumers() {
    [[ $(stage_pids '.role == "consumer"' | wc -l) -eq 6 && $(stage_pids "$WORKING" | wc -l) -eq 0 ]]
}

# Eighty jobs of one user, whose consumers would all stand still: his other jobs do not wait for them, nor does the daemon
# hold the files of those that cannot begin.
test_consumers_that_stand_still_delay_no_other_job() {
    local pids=() i jobs=80
    for ((i = 0; i < jobs; i++)); do
        in_background "copy$i" "$PWCCTL" run fault.copy "$T/bytes" -o "out$i" chunk=60000 slow=merge ms=60000
        pids+=("$BG")
    done
    until_true "all jobs" eval "[[ \$(\"\$PWCCTL\" jobs --json | jq '.jobs | length') -eq $jobs ]]"
    until_true "as many consumers as there may be" all_wait_for_consumers
    others_go_on
    equal "jobs without a turn" $((jobs - 6)) "$("$PWCCTL" jobs --json | jq '[.jobs[] | select(.waiting == "turn")] | length')"
    for i in "${pids[@]}"; do
        kill -INT "$i" 2>/dev/null || fail "somebody waited for a consumer to end"
    done
    for i in "${pids[@]}"; do finish_background "$i"; done
}

# ---- a disk that fails ----

cause_is() {
    equal "cause" "$1" "$("$PWCCTL" deaths --json | jq -r '.deaths | last | .cause')"
}

# Whoever reads it, by read or by a map, the reason names the input; when the disk is well again, so is the job.
test_read_error() {
    order spoil 300000
    refused 1 'reading at byte [0-9]+: Input/output error, attempt 1 of 1' -q array.sum "$T/mnt/slow" type=int8
    cause_is input-io
    refused 1 'ended: reading the input failed' -q fault.bus "$T/mnt/slow" --retries 0
    cause_is input-io
    refused 1 'Input/output error' -q fault.copy "$T/mnt/slow" -o out chunk=30000
    [[ ! -e out ]] || fail "a job that failed left an output"
    run fault.copy "$T/mnt/slow" "$T/bytes" --out-dir outs
    equal "exit status" 5 "$RC"
    same "$T/bytes" outs/bytes
    others_go_on
    order spoil
    run_ok fault.copy "$T/mnt/slow" -o out chunk=30000
    same "$T/bytes" out
    rm -rf out outs
}

test_read_error_in_a_picture() {
    need_vips
    vips black big.v 3000 1200 --bands 3
    vips linear big.v big.tif 1 77
    cat big.tif >"$T/bytes"
    order spoil 5000000
    refused 1 'reading failed' -q image.gaussblur "$T/mnt/slow" -o out.tif sigma=8
    [[ ! -e out.tif ]] || fail "a job that failed left an output"
    order spoil
    run_ok image.gaussblur "$T/mnt/slow" -o out.tif sigma=8
    run_ok image.gaussblur big.tif -o right.tif sigma=8
    same right.tif out.tif
}

# As over NFS: nobody hears of it but who closes the file.
test_output_that_cannot_be_written_in_the_end() {
    run_ok fault.copy "$T/bytes" -o "$T/mnt/out"
    same "$T/bytes" "$T/mnt/out"
    rm "$T/mnt/out"
    order full
    refused 1 "mnt/out': No space left on device" -q fault.copy "$T/bytes" -o "$T/mnt/out"
    [[ ! -e $T/mnt/out ]] || fail "it is there all the same"
}

run_tests "$@"
