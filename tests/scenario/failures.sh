#!/bin/bash
# What happens when something fails, row by row (the table "Failure semantics" of the architecture): for planner,
# producer, worker and consumer, for stages that do everything at once, for spares and the nursery. steps.sh kills them at
# every step of their lives, rows.sh goes through the rows however results come together.
. "$(dirname "$0")/lib.sh"

setup() {
    head -c 300000 /dev/urandom >in
    head -c 1000 in >small
}

# job NAME ARGUMENT...: in the background, its process in BG.
job() {
    in_background "$1" "$PWCCTL" run "${@:2}"
}

ended_well() {
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<"$1.err")"
}

counted() {
    equal "chunks" "$1" "$(field chunks)"
    equal "sum of their numbers" $(($1 * ($1 - 1) / 2)) "$(field sum)"
}

a_death() {
    "$PWCCTL" deaths --json | jq -e "[.. | objects | select(has(\"signal\") and ($1))] | length > 0" >/dev/null
}

# A copy in which one role takes its time; the others wait for it.
slow_copy() {
    job copy fault.copy in -o out slow="$1" ms="$2" chunk=30000
}

ROLES=(plan:planner produce:producer process:worker merge:consumer)

# ---- a stage dies of a signal: nobody notices ----

each_role_killed() {
    local pair
    for pair in "${ROLES[@]}"; do
        rm -f out
        slow_copy "${pair%:*}" "$([[ $pair == plan:* ]] && echo 500 || echo 50)"
        kill_stage "$1" ".role == \"${pair#*:}\""
        ended_well copy
        same in out
    done
}

test_each_role_killed() {
    start_pwcd --workers 2
    each_role_killed KILL
    each_role_killed ABRT
    each_role_killed SEGV
    a_death '.signal == "SIGSEGV" and .role == "consumer"' || fail "no record of a consumer's SIGSEGV"
}

test_each_role_stopped() {
    start_pwcd --workers 2 --set stall_timeout=300ms
    each_role_killed STOP
    # What is seen first, that it is stopped or that it stands still, is all the same.
    ! grep -q ': neither progress' "$T/log" || expect_log ': neither progress nor CPU time'
}

# What a consumer had when it died is computed again: fewer are done than before.
test_progress_that_goes_backwards() {
    start_pwcd --workers 2
    job copy fault.copy in -o out chunk=75000 slow=process ms=2000 --progress json
    await_line copy.err '"done": *2' >seen
    kill_stage KILL '.role == "consumer"'
    ended_well copy
    same in out
    jq -s '[.[] | select(.event == "progress")]' copy.err >events
    equal "goes backwards" true "$(jq '[.[].counts.done] | . != sort' events)"
    equal "rates are possible" true "$(jq 'all(.[]; .rate < 1000)' events)"
}

# One worker hangs in the middle of its lease, the other has done all else: it gets half of what the first has not begun,
# and the first dies holding less than it was given.
# dumps N: so many times was it told to say where it stands, and did.
dumps() {
    [[ $(grep -c 'steals [0-9]' "$T/log") -eq $1 ]]
}

# How many chunks a lease has depends on how quick the first ones were: who hangs at its last has no tail.
test_death_after_the_tail_was_taken_back() {
    expect_log ': its time is up'
    start_pwcd --workers 2
    local at n=0
    for at in {100..119}; do
        run_ok fault.hang n=300 ms=1 at="$at" attempts=1 --chunk-timeout 1s --json
        counted 300
        equal "deaths" 1 "$(field deaths)"
        kill -USR1 "$PID"
        n=$((n + 1))
        until_true "what the daemon says" dumps "$n"
        [[ $n -lt 3 ]] || ! grep -qE 'steals [1-9]' "$T/log" || return 0
    done
    fail "no tail was ever taken back"
}

# All is computed, and one worker makes results of what all of them had.
test_death_where_states_become_results() {
    start_pwcd --workers 2
    local sig
    for sig in KILL SEGV; do
        job fold fault.none n=200 ms=2 finish_ms=1000 --json
        until_true "all chunks" job_done_at_least 200
        kill_stage "$sig" '.role == "worker"'
        ended_well fold
        cp fold.out "$T/out"
        counted 200
        equal "deaths" 1 "$(field deaths)"
    done
    refused 1 'worker at the results killed by SIGSEGV in act_segv' fault.segv n=200 at=200 attempts=99
    refused 1 'this chunk always fails' -q fault.error n=200 at=200 attempts=99
    run_ok fault.none n=200 --json
    counted 200
}

# One worker's last lease holds chunks and makes the results: that it dies of the latter is no chunk's fault.
test_death_where_states_become_results_behind_chunks() {
    start_pwcd --workers 1
    local what
    for what in "" "--on-failure skip"; do
        # shellcheck disable=SC2086 # words
        refused 1 'worker at the results killed by SIGSEGV in act_segv, attempt 3 of 3' -q fault.segv n=5 at=5 attempts=99 $what
    done
    run_ok fault.segv n=5 at=5 attempts=2 --json
    counted 5
    equal "retried chunks" 0 "$(field retried)"
    refused 1 'chunk 0 killed by SIGSEGV in act_segv, attempt 3 of 3' -q fault.segv n=1 at=0 attempts=99
    run_ok fault.segv n=1 at=1 attempts=2 --json
    counted 1
}

test_whole_in_one_process() {
    start_pwcd --workers 2
    job whole fault.copy small -o out slow=whole ms=400
    kill_stage KILL '.role == "planner"'
    ended_well whole
    same small out
    refused 1 'killed by SIGKILL' -q fault.copy small -o gone die=whole attempts=99
    [[ ! -e gone ]] || fail "a job that failed left an output"
}

test_one_process_a_chunk() {
    start_pwcd --workers 2
    # Each lives long enough to be found on a busy machine, where listing and killing take a tenth of a second.
    job chunks fault.none n=50 ms=300 --isolation chunk --json
    local i
    for i in 4 8 12; do
        until_true "chunk $i" job_done_at_least "$i"
        kill_stage KILL "$WORKING"
    done
    ended_well chunks
    cp chunks.out "$T/out"
    counted 50
}

# Results that workers write into the output themselves.
test_placed() {
    need_vips
    start_pwcd --workers 2
    vips black big.v 3000 1200 --bands 3
    vips linear big.v big.tif 1 77
    run_ok image.gaussblur big.tif -o right.raw sigma=8 --format raw
    job placed image.gaussblur big.tif -o out.raw sigma=8 --format raw
    kill_stage KILL "$WORKING"
    kill_stage KILL "$WORKING"
    ended_well placed
    same right.raw out.raw
}

# ---- time ----

test_time_of_a_chunk() {
    expect_log ': its time is up'
    start_pwcd --workers 2
    refused 1 'chunk [0-9]+ \(bytes .*time is up, attempt 2 of 2' -q fault.copy in -o out slow=process ms=60000 chunk=30000 \
        --chunk-timeout 300ms
    refused 1 'time is up' -q fault.copy small -o out slow=whole ms=60000 --chunk-timeout 300ms
    [[ ! -e out ]] || fail "a job that failed left an output"
    run_ok fault.hang n=20 at=7 attempts=1 --chunk-timeout 300ms --json
    counted 20
}

# The lease goes on: nobody dies for a chunk that is over, least of all the next one.
test_a_late_chunk_ends_after_all() {
    expect_log 'job 1, chunk 100: stage 1 \(pid [0-9]+, worker\): its time is up'
    start_pwcd --workers 1
    run_ok fault.late n=1000 at=100 ms=400 --chunk-timeout 2s --json
    counted 1000
    equal "deaths" 0 "$("$PWCCTL" deaths --json | jq '.deaths | length')"
}

# Whoever computes for ever is ended in every role; whoever only takes long for all of it is not.
test_time_of_a_step() {
    expect_log 'job 1: stage [0-9]+ \(pid [0-9]+, producer\): its time is up'
    expect_log ': its time is up'
    start_pwcd --workers 2
    local pair
    for pair in produce:producer merge:consumer; do
        refused 1 "${pair#*:} at chunk 2 .*its time is up, attempt 2 of 2" -q fault.copy in -o out burn="${pair%:*}" at=2 \
            attempts=99 chunk=30000 --chunk-timeout 300ms
        run_ok fault.copy in -o out burn="${pair%:*}" at=2 attempts=1 chunk=30000 --chunk-timeout 300ms
        same in out
        run_ok fault.copy in -o out slow="${pair%:*}" ms=150 chunk=20000 --chunk-timeout 1500ms --json
        equal "deaths" 0 "$(field deaths)"
    done
    refused 1 'planner killed in burn: its time is up, attempt 2 of 2' -q fault.copy in -o out burn=plan attempts=99 \
        --chunk-timeout 300ms
    refused 1 'worker at the results killed in act_hang: its time is up, attempt 2 of 2' -q fault.hang n=40 ms=2 at=40 attempts=99 \
        --chunk-timeout 300ms --timeout 60s
    run_ok fault.hang n=5 at=5 attempts=1 --chunk-timeout 300ms --json
    counted 5
}

# The number of attempts that a record gives is the one that is kept to, also when the first ended otherwise.
test_attempts_of_two_causes() {
    expect_log ': its time is up'
    start_pwcd
    in_background job "$PWCCTL" run fault.hang n=3 at=1 attempts=9 --chunk-timeout 2s
    kill_stage KILL '.role == "worker" and .chunk == 1'
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    equal "attempts" "1 of 3, 2 of 3, 3 of 3" \
        "$("$PWCCTL" deaths --json | jq -r '[.deaths[] | "\(.attempt) of \(.attempts_max)"] | join(", ")')"
}

# A slot is its stage's to write: what it says of progress is believed as often as its lease has chunks, and not for ever.
test_progress_without_end() {
    expect_log ': its time is up'
    start_pwcd --workers 2
    refused 1 'chunk 0 .*its time is up, attempt 1 of 1' -q fault.restless n=1 --chunk-timeout 500ms --retries 0 --timeout 30s
    run_ok fault.restless n=40 at=7 attempts=1 --chunk-timeout 500ms --timeout 60s --json
    equal "deaths" 1 "$(field deaths)"
}

# All stages share what the service may have.
test_threads_without_end() {
    start_pwcd --workers 2
    run_ok fault.crowd n=9 at=3 attempts=2 --json
    counted 9
    equal "deaths" 2 "$(field deaths)"
    refused 1 'chunk 3 killed.*: over the limit of threads, attempt 1 of 1' -q fault.crowd n=9 at=3 attempts=9 --retries 0
    equal "cause" rlimit "$(newest_death cause)"
}

# Where it was: in the one line and in the record, names of static functions included.
test_the_reason_names_the_function() {
    expect_log ': its time is up'
    start_pwcd --workers 2
    refused 1 'chunk 3 killed by SIGSEGV in act_segv, attempt 1 of 1' -q fault.segv n=9 at=3 attempts=9 --retries 0
    refused 1 'chunk 3 killed by SIGSEGV in act_jump, attempt 1 of 1' -q fault.jump n=9 at=3 attempts=9 --retries 0 call=null
    refused 1 'chunk 3 killed by SIGABRT in act_abort, attempt 1 of 1' -q fault.abort n=9 at=3 attempts=9 --retries 0
    refused 1 'chunk 3 killed in act_hang: its time is up, attempt 1 of 1' -q fault.hang n=9 at=3 attempts=9 --retries 0 \
        --chunk-timeout 200ms
    a_death '.cause == "timeout" and (.stack | test(" act_hang\\+0x[0-9a-f]+ \\(pwc-stage-test\\)\n(.* misbehave\\+.*\n)?.* fault_process\\+0x"))' ||
        fail "no stack of the one that hung: $("$PWCCTL" deaths --json)"
}

# The slot names the chunk before its thread is there: wait for CPU time of a thread that is not the first.
a_thread_spins() {
    local task
    a_stage '.role == "worker" and .chunk == 3' || return 1
    for task in "/proc/$VICTIM/task"/*; do
        if [[ ${task##*/} != "$VICTIM" ]] && awk '$14 <= 5 {exit 1}' "$task/stat"; then
            return 0
        fi
    done
    return 1
}

# Of the thread that is at it, not of the one that waits for that.
test_the_reason_names_the_thread() {
    expect_log ': its time is up'
    expect_log ': neither progress nor CPU time'
    start_pwcd --workers 2 --set stall_timeout=300ms
    refused 1 'chunk 3 killed in thread_spins: its time is up, attempt 1 of 1' -q fault.thread n=9 at=3 attempts=9 --retries 0 \
        call=spin --chunk-timeout 200ms
    refused 1 'chunk 3 killed in thread_(runs_made|spins): its time is up, attempt 1 of 1' -q fault.thread n=9 at=3 attempts=9 \
        --retries 0 call=made --chunk-timeout 200ms
    a_death '.cause == "timeout" and (.stack | test("^thread pwc-stage-test computes:\n#0 .*thread_spins(.*\n)*thread pwc-stage-test waits"))' ||
        fail "no stacks of the threads: $("$PWCCTL" deaths --json)"
    refused 1 'chunk 3 killed in thread_sleeps: neither progress nor CPU time, attempt 1 of 1' -q fault.thread n=9 at=3 attempts=9 \
        --retries 0 call=sleep
    refused 1 'chunk 3 killed by SIGSEGV in thread_overflows, attempt 1 of 1' -q fault.thread n=9 at=3 attempts=9 --retries 0 \
        call=overflow
    in_background job "$PWCCTL" run fault.thread n=9 at=3 attempts=9 --retries 0 call=spin
    until_true "a thread that spins" a_thread_spins
    kill -ABRT "$VICTIM"
    finish_background "$BG"
    grep -qx 'pwcctl: chunk 3 killed by SIGABRT in thread_spins, attempt 1 of 1' job.err || fail "$(<job.err)"
    rm job.*
}

# ---- other causes: each has its name and says more than a signal ----

newest_death() {
    "$PWCCTL" deaths --json | jq -r ".deaths | last | .$1"
}

test_the_sandbox_names_the_call() {
    ! grep -q 'PWC_SANITIZED 1' "$PWC_BUILD/config.h" || skip "sanitizers open files"
    start_pwcd --workers 2
    local call
    for call in mount ptrace; do
        refused 1 "chunk 3 killed by the sandbox: system call $call, attempt 1 of 1" -q fault.syscall n=9 at=3 attempts=9 \
            call="$call" --retries 0
        equal "cause" sandbox "$(newest_death cause)"
        equal "call" "$call" "$(newest_death syscall)"
        [[ $(newest_death layers) == *seccomp* ]] || fail "layers: $(newest_death layers)"
        [[ $(newest_death stack) == *act_syscall* ]] || fail "stack: $(newest_death stack)"
    done
    run_ok fault.syscall n=20 at=7 attempts=1 --json
    counted 20
}

# Signals that nothing in a stage sends: it dies of them by their own name, and of no cause that the kernel would mean by
# them. USR1 is no death, and leaves nothing that a later one could be mistaken for.
test_signals_from_outside() {
    start_pwcd --workers 2
    local sig name
    for sig in USR2 ALRM VTALRM IO 40 64 SYS XCPU XFSZ TRAP; do
        job sent fault.none n=40 ms=20 --json
        kill_stage "$sig" "$WORKING"
        ended_well sent
        cp sent.out "$T/out"
        counted 40
        name=SIG${sig/#IO/POLL}
        [[ $sig != [0-9]* ]] || name="signal $sig"
        equal "cause" crash "$(newest_death cause)"
        newest_death reason | grep -qE "^(chunk [0-9]+|worker) killed by $name( in [a-z0-9_.]+)?(, attempt 1 of 3)?$" ||
            fail "SIG$sig: $(newest_death reason)"
    done
    job sent fault.none n=40 ms=20 --json
    kill_stage USR1 "$WORKING"
    kill -KILL "$VICTIM"
    ended_well sent
    equal "stack of one that could not write any" '' "$(newest_death stack)"
}

# A limit of the process that nobody here set: the unit's LimitCPU=, the shell's ulimit. Those two are soft and hard at once.
test_limit_of_cpu_time() {
    over_cpu_time -S -t 2
}

test_hard_limit_of_cpu_time() {
    over_cpu_time -t 3
}

over_cpu_time() {
    # shellcheck disable=SC2016 # expanded there
    PREFIX=(bash -c 'ulimit $0; exec "$@"' "$*")
    start_pwcd --workers 1
    refused 1 'chunk 3 killed by SIGXCPU in act_hang: over its limit of CPU time, attempt 1 of 1' -q fault.hang n=9 at=3 \
        attempts=9 --retries 0
    equal "cause" rlimit "$(newest_death cause)"
    run_ok fault.hang n=20 at=7 attempts=1 --json
    counted 20
}

test_limit_of_a_files_size() {
    need_root
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit"
    start_pwcd --workers 2
    slow_copy merge 100
    until_true "a consumer" a_stage '.role == "consumer"'
    as_stage "$VICTIM" prlimit --pid "$VICTIM" --fsize=1
    ended_well copy
    same in out
    a_death '.cause == "rlimit" and .signal == "SIGXFSZ" and .role == "consumer" and (.reason | test("over the limit of a file.s size"))' ||
        fail "$("$PWCCTL" deaths --json)"
}

# The memory files that pwcd makes count as well: who may not have them is told so at once, and others go on.
test_limit_of_the_size_of_pwcds_own_files() {
    local limit before
    start_pwcd --workers 2
    before=$(prlimit --pid "$PID" --fsize --raw --noheadings -o SOFT) && truncate -s 120000000 large
    for limit in "8388608 the plan of a job" "80000000 the arena of a stage"; do
        prlimit --pid "$PID" --fsize="${limit%% *}:"
        refused 1 "^pwcctl: pwcd cannot make ${limit#* }: File too large: LimitFSIZE= of the service" -q fault.copy large -o out \
            chunk=40000000
        run_ok fault.none n=20 --json
        counted 20
    done
    prlimit --pid "$PID" --fsize="$before:"
    run_ok fault.copy in -o out
    same in out
}

test_input_that_shrinks() {
    need_root # to see what a stage maps
    start_pwcd --workers 2
    cp in shrinks
    job bus fault.bus shrinks ms=1500 --retries 0
    until_true "a planner" a_stage '.role == "planner"'
    until_true "the input to be mapped" grep -q '/shrinks$' "/proc/$VICTIM/maps"
    truncate -s 0 shrinks
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    grep -q 'ended: the input became shorter while it was read' bus.err || fail "$(<bus.err)"
    equal "cause" input-shrank "$(newest_death cause)"
}

# It computes, for longer than anything that stands still may: long, not stuck.
test_long_is_not_stuck() {
    expect_log ': its time is up'
    start_pwcd --workers 2 --set stall_timeout=300ms
    refused 1 'chunk 3 killed in act_hang: its time is up' -q fault.hang n=9 at=3 attempts=9 --retries 0 --chunk-timeout 2s
    equal "cause" timeout "$(newest_death cause)"
}

# Nor is it while pwcd has no descriptor to look at it with.
test_who_cannot_be_looked_at_is_not_stuck() {
    expect_log ': its time is up'
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit"
    start_pwcd --workers 1 --set stall_timeout=300ms
    in_background job "$PWCCTL" run -q fault.hang n=9 at=3 attempts=9 --retries 0 --chunk-timeout 3s
    until_true "a chunk, and all spares" settled 2
    local most
    most=$(prlimit --nofile --raw --noheadings --output SOFT --pid "$PID")
    prlimit --nofile=4: --pid "$PID"
    finish_background "$BG"
    prlimit --nofile="$most": --pid "$PID"
    ! grep -q 'cannot make .*: Too many open files' "$T/log" || expect_log 'cannot make' # of the dead one's successor
    grep -q 'chunk 3 killed in act_hang: its time is up' job.err || fail "exit $RC: $(<job.err)"
    equal "cause" timeout "$(newest_death cause)"
}

# Neither progress nor CPU time, though nobody stopped it.
test_stuck() {
    expect_log ': neither progress nor CPU time'
    start_pwcd --workers 2 --set stall_timeout=500ms
    local pair
    for pair in plan:planner process:worker whole:planner; do
        refused 1 'neither progress nor CPU time' -q fault.copy "$([[ $pair == whole* ]] && echo small || echo in)" -o out \
            slow="${pair%:*}" ms=60000
    done
    for pair in produce:producer merge:consumer; do
        refused 1 "${pair#*:} .*neither progress nor CPU time" -q fault.copy in -o out slow="${pair%:*}" ms=60000
    done
    run_ok fault.stop n=20 at=7 attempts=1 --json
    counted 20
}

# stopped_in FUNCTION: the newest record is of a stage that was stopped at chunk 3, and its stack names who was at it.
stopped_in() {
    counted 20
    equal "deaths" 1 "$(field deaths)"
    equal "what ended it" "chunk 3 killed in $1: it was stopped, attempt 1 of 2" "$(newest_death reason)"
    equal "cause" stalled "$(newest_death cause)"
    newest_death stack | grep -qE " $1\\+0x[0-9a-f]+ \\(pwc-stage-test\\)\$" || fail "no stack of it: $(newest_death stack)"
}

# It is continued to say where it stands, and comes no further than that: what lies behind is another one's.
test_stopped_says_where() {
    start_pwcd --workers 1
    run_ok fault.stop n=20 at=3 attempts=1 --json
    stopped_in act_stop
    job where fault.thread n=20 at=3 attempts=1 call=spin --json
    until_true "a thread that spins" a_thread_spins
    kill -STOP "$VICTIM"
    ended_well where
    cp where.out "$T/out"
    stopped_in thread_spins
}

# Whoever stops it while it is to say so: it is ended all the same.
test_stopped_again_and_again() {
    start_pwcd --workers 1
    job again fault.stick n=20 at=3 attempts=1 --json
    kill_stage STOP '.role == "worker" and .chunk == 3'
    until_true "the stage that is stopped again and again to be gone" eval '! kill -STOP "$VICTIM" 2>/dev/null'
    ended_well again
    cp again.out "$T/out"
    counted 20
    equal "cause" stalled "$(newest_death cause)"
}

test_stopped_spare_and_nursery() {
    start_pwcd --workers 2
    expect_log 'nursery'
    local old
    kill_stage STOP '.role == "spare"'
    old=$VICTIM
    until_true "the stopped spare to be gone" gone "$old"
    kill_stage STOP '.role == "nursery"'
    old=$VICTIM
    until_true "the stopped nursery to be gone" gone "$old"
    until_true "another nursery" a_stage ".role == \"nursery\" and .pid != $old"
    run_ok fault.none n=1000 --json
    counted 1000
}

more_stages_than_processes() {
    PIDS=$(stage_pids '.role != "nursery"')
    [[ $("$PWCCTL" status --json | jq .daemon.stages) -gt $(wc -w <<<"$PIDS") ]]
}

# What `workers` lists can be signalled. The nursery, which is to make it, stands still: a stage is no process yet.
test_a_stage_that_is_no_process_yet() {
    start_pwcd --workers 2
    expect_log nursery
    local nursery
    run_ok fault.none n=2
    kill_stage STOP '.role == "nursery"'
    nursery=$VICTIM
    kill_stage KILL '.role == "spare"'
    until_true "a stage that is no process" more_stages_than_processes
    [[ " ${PIDS//$'\n'/ } " != *" 0 "* ]] || fail "listed: $PIDS"
    until_true "the stopped nursery to be gone" gone "$nursery"
    run_ok fault.none n=2
}

health_is() {
    [[ $("$PWCCTL" status --json | jq -r .daemon.health) == "$1" ]]
}

# The nursery lives and can make none: whoever waits for a stage is told of what there is none, status too; and when there
# can be some again, all is well.
test_no_process_to_be_had() {
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit"
    start_pwcd --workers 1
    expect_log 'nursery cannot make a stage: Resource temporarily unavailable'
    local why='the nursery cannot make a process: Resource temporarily unavailable' nursery most
    until_true "the nursery" a_stage '.role == "nursery"'
    nursery=$VICTIM
    most=$(limit_of "$nursery" --nproc --raw --noheadings --output SOFT)
    limit_of "$nursery" --nproc=1:
    refused 70 "no stage can be started: $why" -q fault.none n=100 --isolation chunk
    until_true "status to say so" health_is "$why"
    limit_of "$nursery" --nproc="$most":
    until_true "a stage" a_stage '.role == "spare"'
    run_ok fault.none n=10
    until_true "status to say that all is well" health_is ok
}

# Somebody's kill says nothing about whether stages can be started: however often, the next is there at once.
test_spares_killed_again_and_again() {
    start_pwcd --workers 2
    local i sig
    for i in {1..4}; do
        for sig in KILL SEGV 40 KILL; do
            kill_stage "$sig" '.role == "spare"'
            until_true "the spare to be gone" gone "$VICTIM"
        done
    done
    equal "health" ok "$("$PWCCTL" status --json | jq -r .daemon.health)"
    run_ok fault.none n=10
}

# They are for the supervisor; only SIGKILL is for a stage.
test_signals_that_stages_ignore() {
    start_pwcd --workers 1
    job signals fault.none n=200 ms=10 --json
    local sig first=
    for sig in INT TERM HUP QUIT TSTP TTIN TTOU PIPE; do
        kill_stage "$sig" "$WORKING"
        equal "the stage after SIG$sig" "${first:=$VICTIM}" "$VICTIM"
    done
    ended_well signals
    cp signals.out "$T/out"
    counted 200
    equal "deaths" 0 "$(field deaths)"
}

# A debugger stops and continues: no reason to end anybody.
test_stopped_and_continued() {
    start_pwcd --workers 1
    job pause fault.none n=100 ms=10 --json
    kill_stage STOP "$WORKING"
    kill -CONT "$VICTIM"
    ended_well pause
    cp pause.out "$T/out"
    counted 100
    equal "deaths" 0 "$(field deaths)"
}

# ---- budgets ----

test_budget_spent() {
    start_pwcd --workers 2
    refused 1 'chunk 2 \(bytes 60000 to 89999\) killed by SIGKILL.*attempt 3 of 3' -q fault.copy in -o out die=process at=2 \
        attempts=99 chunk=30000
    refused 1 'producer at chunk 2 .*killed by SIGKILL, attempt 3 of 3' -q fault.copy in -o out die=produce at=2 attempts=99
    refused 1 'consumer at chunk 2 .*killed by SIGKILL, attempt 3 of 3' -q fault.copy in -o out die=merge at=2 attempts=99
    refused 1 'planner killed by SIGKILL' -q fault.copy in -o out die=plan attempts=99
    [[ ! -e out ]] || fail "a job that failed left an output"
    refused 1 'chunk 5.*always fails' -q fault.error n=10 at=5 attempts=99
}

# attempts_at ROLE: how many of the last job's attempts ended in that role.
attempts_at() {
    "$PWCCTL" deaths "$("$PWCCTL" jobs --json | jq '.jobs | last | .job')" --json | jq "[.deaths[] | select(.role == \"$1\")] | length"
}

# Producer and consumer have the budgets of a chunk, by cause, and each its own.
test_budgets_of_producer_and_consumer() {
    expect_log ': neither progress nor CPU time'
    start_pwcd --workers 2 --set stall_timeout=500ms
    local pair role
    for pair in produce:producer merge:consumer; do
        role=${pair#*:}
        refused 1 'neither progress nor CPU time' -q fault.copy in -o out slow="${pair%:*}" ms=60000 --retries timeout=0,crash=5
        equal "attempts at $role, stalled" 1 "$(attempts_at "$role")"
        equal "the job's code" stalled "$("$PWCCTL" jobs --json | jq -r '.jobs | last | .code')"
        refused 1 'killed by SIGKILL' -q fault.copy in -o out die="${pair%:*}" at=2 attempts=99 --retries timeout=5,crash=1
        equal "attempts at $role, killed" 2 "$(attempts_at "$role")"
        refused 1 'always fails' -q fault.copy in -o out fail="${pair%:*}" at=2 attempts=99
        equal "attempts at $role, refused" 1 "$(attempts_at "$role")"
        refused 1 'always fails' -q fault.copy in -o out fail="${pair%:*}" at=2 attempts=99 --retries error=2
        equal "attempts at $role, refused and tried again" 3 "$(attempts_at "$role")"
        run_ok fault.copy in -o out fail="${pair%:*}" at=2 attempts=2 --retries error=2
        same in out
        rm out
    done
    run_ok fault.copy in -o out die=produce at=2 attempts=2 fail=merge --retries error=2
    same in out
}

test_budget_of_a_job() {
    start_pwcd --workers 2
    run_ok fault.segv n=20 at=4 attempts=6 --retries 6 --json
    counted 20
    equal "retried" 6 "$(field retried)"
    refused 1 'attempt 1 of 1' -q fault.segv n=20 at=4 attempts=1 --retries 0
}

test_a_chunk_skipped() {
    start_pwcd --workers 2
    run fault.segv n=20 at=4 attempts=99 --on-failure skip --json
    equal "exit status" 5 "$RC"
    equal "chunks" 19 "$(field chunks)"
    equal "sum of their numbers" $((190 - 4)) "$(field sum)"
}

# ---- they cannot start ----

# A program that ends at once, then one that works: each job fails with the reason, nothing storms, and later all is
# well again.
test_no_stage_can_be_started() {
    printf '#!/bin/sh\n[ ! -e %s/broken ] || { echo x >>%s/starts; exit 3; }\nexec %s "$@"\n' "$T" "$T" "$STAGE" >"$T/stage"
    chmod +x "$T/stage"
    STAGE=$T/stage
    start_pwcd --workers 2
    expect_log 'nursery|stage'
    : >"$T/broken"
    local pids
    pids=$(stage_pids 'true')
    # shellcheck disable=SC2086 # one word each
    kill -KILL $pids
    refused 70 'no stage can be started: .*exited with status 3' -q fault.none n=10
    daemon_alive
    [[ $(wc -l <"$T/starts") -le 40 ]] || fail "$(wc -l <"$T/starts") starts of a program that cannot start"
    rm "$T/broken"
    until_true "stages again" "$PWCCTL" run -q fault.none n=10
}

# dumped WORDS: the last number of "WORDS N" in a fresh dump.
dumped() {
    local n
    n=$(grep -ac 'dump: seats' "$T/log") || :
    kill -USR1 "$PID"
    until_true "a dump" eval "[[ \$(grep -ac 'dump: seats' '$T/log') -gt $n ]]"
    grep -aoE "$1 [0-9]+" "$T/log" | tail -n 1 | grep -oE '[0-9]+$'
}

# a_program WORDS: a stage program that becomes this once $T/broken is there.
a_program() {
    printf '#!/bin/bash\n[[ ! -e %s/broken ]] || { %s; }\nexec %s "$@"\n' "$T" "$1" "$STAGE" >"$T/stage"
    chmod +x "$T/stage"
    STAGE=$T/stage
}

# Whatever a stage does instead of getting ready: at first one a seat and one more, then one is tried at a time, each
# after twice the wait of the one before. pwcd serves when five waits are over without success: 3 + 4 starts, and one more
# while it was asked.
few_starts() {
    : >"$T/broken"
    start_pwcd --workers 2
    local spawned
    spawned=$(dumped spawned) unready=$(dumped unready)
    ((spawned >= 5 && spawned <= 8)) || fail "$spawned starts for five failures in a row"
    refused 70 "$1" fault.none n=10
    daemon_alive
    rm "$T/broken"
    until_true "stages again" "$PWCCTL" run -q fault.none n=10
}

test_stages_that_exit_at_once() {
    a_program 'exit 3'
    expect_log 'nursery'
    few_starts 'exited with status 3'
}

# Bytes that are no frame instead of Ready.
test_stages_that_send_garbage() {
    a_program 'printf "%0100d" 7 >&3; read -r _ <&3; exit 4'
    expect_log 'nursery|killed'
    few_starts 'pwc-stage was ended'
}

# A catalogue that is refused: a stage that says Ready and then describes ops that are none. The next spare is not asked
# at once.
test_catalogues_that_are_refused() {
    a_program "exec $TOOLS/badbook \"\$1\""
    expect_log 'catalogue refused|malformed'
    expect_log 'nursery|killed'
    few_starts 'describes its ops wrongly'
    ((unready <= 6)) || fail "$unready catalogues were asked for"
}

# ---- the client ----

test_cancel_of_what_does_not_listen() {
    start_pwcd --workers 2
    job deaf fault.hang n=2 at=0 attempts=99
    kill_stage CONT "$WORKING"
    kill -INT "$BG"
    finish_background "$BG"
    equal "exit status" 130 "$RC"
    until_true "the deaf stage to be gone" gone "$VICTIM"
    run_ok fault.none n=1000 --json
    counted 1000
}

test_client_killed_at_each_stage() {
    start_pwcd --workers 2
    local pair
    for pair in "${ROLES[@]}"; do
        slow_copy "${pair%:*}" 200
        until_true "a ${pair#*:}" a_stage ".role == \"${pair#*:}\""
        kill -KILL "$BG"
        finish_background "$BG"
        until_true "the job to end" eval '[[ $(job_field state) == cancelled ]]'
        [[ ! -e out ]] || fail "half an output is there"
    done
    run_ok fault.none n=1000 --json
    counted 1000
}

# ---- the supervisor ----

# Its stages end (mind tells of those that do not), its client is told, no output is there, and the next one serves on the
# same socket, stale as it is. How long it took is noted: within a second is what is wanted.
supervisor_killed() {
    local begin
    until_true "$1" a_stage "$1"
    begin=${EPOCHREALTIME/./}
    kill -KILL "$PID"
    mind_says "signal 9"
    mind_says left
    end_pwcd
    note "$1: its stages are gone after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
    finish_background "$BG"
    note "$1: its client has ended after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
    [[ $RC -eq 69 ]] || fail "exit status $RC instead of 69"
    [[ -z $(find . -name 'out*' -type f) ]] || fail "half an output is there"
    check_nothing_left
}

test_supervisor_killed() {
    local pair
    for pair in "${ROLES[@]}" whole:planner; do
        start_pwcd --workers 2
        if [[ $pair == whole* ]]; then job copy fault.copy small -o out slow=whole ms=5000; else slow_copy "${pair%:*}" 300; fi
        supervisor_killed ".role == \"${pair#*:}\""
    done
    start_pwcd --workers 2
    mkdir many
    local i
    for i in 1 2 3 4 5 6 7 8 9; do cp small "many/$i"; done
    job copy fault.copy --out-dir outs slow=whole ms=300 many/*
    supervisor_killed "$WORKING"
    start_pwcd --workers 2
    run_ok fault.copy in -o out
    same in out
}

run_tests "$@"
