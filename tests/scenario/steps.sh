#!/bin/bash
# A stage dies at each step of its life, whatever it is (planner, producer, worker, consumer, all in one, spare, nursery) and
# however results come together (modes.sh): before it is ready, between chunks, in a chunk, reporting, and while a part of
# what it holds is taken back. Nobody notices: the output is that of the undisturbed run, and the chunk at which it died is
# charged, if it was at one, and no other. What it may die of is looked at in rows.sh.
. "$(dirname "$0")/modes.sh"

setup() {
    modes_setup
}

# ---- at each message ----

# Every message that a stage sends or receives is a step of its life. It dies as it is about to take that step: before
# it is ready, entering, between chunks, reporting, announcing, absorbing, done.
dies_at_each_step() {
    local mode=$1 role=$2 call=$3 i
    for ((i = 1; i <= 60; i++)); do
        order "arm $role $call $i KILL"
        run_job "$mode"
        [[ $RC -eq 0 ]] || fail "$mode, $role at $call $i: exit $RC: $(<"$T/err")"
        judge "$mode" "$T/out"
        [[ $(field deaths) -le 1 ]] || fail "$mode, $role at $call $i: $(field deaths) deaths of one kill"
        order result
        [[ $ANSWER == hit* ]] || break
        STEPS=$((STEPS + 1))
    done
}

traced_daemon() {
    need_tracer
    [[ -z $SANITIZED ]] || export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 # who is traced already cannot be searched for them
    start_traced "$@"
}

# each_step_of MODE ROLE...
each_step_of() {
    local mode=$1 role STEPS=0
    shift
    for role; do
        dies_at_each_step "$mode" "$role" sendmsg
        dies_at_each_step "$mode" "$role" recvmsg
    done
    note "$mode: $STEPS steps"
    ALL_STEPS=$((ALL_STEPS + STEPS))
}

test_death_at_each_step() {
    traced_daemon --workers 2
    local ALL_STEPS=0
    CHUNKS=6 # what is of interest are kinds of messages
    rm files/10[6-9] files/1[1-9]*
    each_step_of serial planner producer consumer worker idle spare
    each_step_of placed planner producer worker idle spare
    each_step_of folded worker idle spare
    each_step_of none worker idle spare
    each_step_of whole planner idle spare
    each_step_of batch worker idle spare
    each_step_of small worker idle spare
    [[ $ALL_STEPS -ge 100 ]] || fail "only $ALL_STEPS steps: this proves nothing"
}

# ---- the nursery ----

# In each mode who stands still in the middle of it: role, chunk.
MIDDLE=("serial process 2" "placed process 2" "folded process 2" "none process 2" "whole whole 0" "batch whole 2" "small process 0")

a_nursery() {
    a_stage '.role == "nursery" and .state == "ready"'
}

was_ready() {
    grep -qF "nursery ready (pid $1)" "$T/log"
}

run_and_judge() {
    run_job "$1" process none 0 --isolation job
    [[ $RC -eq 0 ]] || fail "$1, $2: exit $RC: $(<"$T/err")"
    judge "$1" "$T/out"
    [[ $(field deaths) -eq 0 ]] || fail "$1, $2: $(field deaths) deaths"
}

# nursery_died MODE CALL INDEX: it makes stages in its own time, and a job may end before it has come to that step. A small one
# needs no more than one.
nursery_died() {
    local i jobs=1
    [[ $1 != small ]] || jobs=4
    order "arm nursery $2 $3 KILL"
    for ((i = 0; i < jobs; i++)); do run_and_judge "$1" "nursery at $2 $3"; done
    order result
    [[ $ANSWER == hit* ]]
}

ready_or_dead() {
    grep -cE 'nursery (ready \(|\(pid [0-9]+\) died)' "$T/log" || :
}

another_is_ready_or_dead() {
    [[ $(ready_or_dead) -gt $1 ]]
}

# The first thing that the next one says is that it is ready: what it is asked for it is asked afterwards. The job has ended by
# then, or not.
nursery_died_before_it_was_ready() {
    until_true "a nursery" a_nursery
    local before
    before=$(ready_or_dead)
    order "arm nursery sendmsg 1 KILL"
    kill -KILL "$VICTIM"
    run_and_judge "$1" "nursery before it is ready"
    until_true "the next nursery" another_is_ready_or_dead $((before + 1))
    order result
    [[ $ANSWER == hit* ]] && ! was_ready "${ANSWER#hit }"
}

# Where a stage is made, by whichever call: the one that met it last is tried alone.
nursery_died_at_a_birth() {
    local call
    until_true "a nursery" a_nursery
    for call in ${BIRTH:-clone3 clone}; do
        nursery_died "$1" "$call" "$2" || continue
        BIRTH=$call
        return
    done
    return 1
}

# As it is told to make one, and when it has made one that nobody knows of yet: the first and a later one.
nursery_died_at() {
    until_true "a nursery" a_nursery
    nursery_died "$@" && was_ready "${ANSWER#hit }"
}

test_death_of_the_nursery_at_each_step() {
    traced_daemon --workers 2
    expect_log 'nursery .* died'
    CHUNKS=6
    rm files/10[6-9] files/1[1-9]*
    local row mode i BIRTH
    local -a births=(1 3)
    [[ -z $SANITIZED ]] || births=(1) # for the time that each takes
    for row in "${MIDDLE[@]}"; do
        mode=${row%% *}
        until_true "$mode: the nursery to be killed before it is ready" nursery_died_before_it_was_ready "$mode"
        for i in "${births[@]}"; do
            until_true "$mode: the nursery to be killed as it reads, $i" nursery_died_at "$mode" recvmsg "$i"
            until_true "$mode: the nursery to be killed as it makes one, $i" nursery_died_at_a_birth "$mode" "$i"
            until_true "$mode: the nursery to be killed as it names one, $i" nursery_died_at "$mode" sendmsg "$i"
        done
    done
}

full_stock() {
    [[ $("$PWCCTL" status --json | jq .daemon.spares) -eq $1 ]] && a_nursery
}

# killed_nursery: it has nothing to do.
killed_nursery() {
    until_true "a nursery" a_nursery
    local nursery=$VICTIM
    kill -KILL "$nursery"
    await_line "$T/log" "nursery \\(pid $nursery\\) died" >line
}

# undisturbed MODE OUTPUT: nobody has died of it but the nursery.
undisturbed() {
    equal "$1: deaths" 0 "$(jq '[.. | objects | select(has("deaths")) | .deaths] | first' "$2")"
    judge "$1" "$2"
}

# When nothing is to be done, and while a job runs, each of whose chunks wants another stage.
test_death_of_the_nursery_between_births() {
    start_pwcd --workers 2
    expect_log 'nursery .* died'
    CHUNKS=6
    rm files/10[6-9] files/1[1-9]*
    local row mode role at held
    for row in "${MIDDLE[@]}"; do
        read -r mode role at <<<"$row"
        until_true "all spares" full_stock 3
        killed_nursery
        run_job "$mode" process none 0 --isolation job
        [[ $RC -eq 0 ]] || fail "$row: exit $RC: $(<"$T/err")"
        undisturbed "$mode" "$T/out"
        start_job "$mode" "$role" hold "$at" --isolation chunk
        await_hold "$role" "$at"
        held=$VICTIM
        killed_nursery
        release "$held"
        finish_background "$BG"
        [[ $RC -eq 0 ]] || fail "$row: exit $RC: $(<job.err)"
        undisturbed "$mode" job.out
        rm job.*
    done
}

# has_said_stopping TIMES
has_said_stopping() {
    [[ $(grep -c stopping "$T/log") -ge $1 ]]
}

# pwcd is to stop, and a job that runs still wants stages.
test_death_of_the_nursery_while_pwcd_drains() {
    expect_log 'nursery .* died'
    CHUNKS=6
    rm files/10[6-9] files/1[1-9]*
    local row mode role at held n=0
    for row in "${MIDDLE[@]}"; do
        read -r mode role at <<<"$row"
        start_pwcd --workers 2 --set shutdown_grace=5m
        start_job "$mode" "$role" hold "$at" --isolation chunk
        await_hold "$role" "$at"
        held=$VICTIM
        until_true "a nursery" a_nursery
        kill -TERM "$PID"
        n=$((n + 1))
        until_true "pwcd to drain" has_said_stopping "$n"
        kill -KILL "$VICTIM"
        await_line "$T/log" "nursery \\(pid $VICTIM\\) died" >line
        release "$held"
        mind_says "exit 0"
        mind_says "left 0"
        end_pwcd
        finish_background "$BG"
        [[ $RC -eq 0 ]] || fail "$row: exit $RC: $(<job.err)"
        undisturbed "$mode" job.out
        rm job.*
    done
}

# ---- in a chunk ----

# Mode, role, chunk, and what the record says: role and chunk.
IN_A_CHUNK=(
    "serial plan 2 planner null" "serial produce 2 producer 2" "serial process 2 worker 2" "serial merge 2 consumer 2"
    "placed plan 2 planner null" "placed produce 2 producer 2" "placed process 2 worker 2"
    "folded process 2 worker 2" "folded finish $CHUNKS worker null"
    "none process 2 worker 2" "small process 0 worker 0"
    "whole whole 0 whole 0" "batch whole 2 worker 2"
)

# killed_in_a_chunk SIGNAL OTHER [ARGUMENT...]: of the one and of the other in turn.
killed_in_a_chunk() {
    local sig=$1 other=$2 row mode role at record
    shift 2
    for row in "${IN_A_CHUNK[@]}"; do
        read -r mode role at record <<<"$row"
        start_job "$mode" "$role" hold "$at" "$@"
        await_hold "$role" "$at"
        kill "-$sig" "$VICTIM"
        finish_job "$mode"
        equal "$row: attempts that ended badly" "$record 1 crash" "$(records)"
        equal "$row: signal" "SIG$sig" "$("$PWCCTL" deaths "$(newest_job)" --json | jq -r '.deaths[0].signal')"
        read -r sig other <<<"$other $sig"
    done
}

test_killed_in_a_chunk() {
    start_pwcd --workers 2
    killed_in_a_chunk KILL SEGV
}

test_killed_in_a_chunk_in_a_process_of_its_own() {
    start_pwcd --workers 2
    killed_in_a_chunk SEGV KILL --isolation chunk
}

# Stopped is not dead: it is ended, and another one does it. All of them at a time, because that takes a second.
test_stopped_in_a_chunk() {
    start_pwcd --workers 16 --set stages_max=64
    local i row mode role at record TAG
    local -a ids=() pids=()
    for i in "${!IN_A_CHUNK[@]}"; do
        TAG=.$i
        read -r mode role at record <<<"${IN_A_CHUNK[i]}"
        start_job "$mode" "$role" hold "$at"
        await_hold "$role" "$at"
        kill -STOP "$VICTIM"
        ids[i]=$(newest_job) pids[i]=$BG
    done
    for i in "${!IN_A_CHUNK[@]}"; do
        TAG=.$i BG=${pids[i]}
        read -r mode role at record <<<"${IN_A_CHUNK[i]}"
        finish_job "$mode"
        equal "${IN_A_CHUNK[i]}: attempts that ended badly" "$record 1 stalled" "$(records "${ids[i]}")"
    done
}

# Who writes in the place of a chunk that was given up dies before it has: another one does.
test_killed_filling() {
    start_pwcd --workers 2
    start_job placed process fail 2 attempts=9 hold=fill --on-failure fill=7
    local first
    await_hold fill 2
    first=$VICTIM
    kill -KILL "$first"
    until_true "the next one" eval 'holds_at fill 2 && [[ $VICTIM -ne '"$first"' ]]'
    release "$VICTIM"
    finish_background "$BG"
    equal "exit status" 5 "$RC"
    filled_with 7 2 out
    equal "attempts that ended badly" "worker 2 1 op, worker null 1 crash" "$(records)"
    rm out job.*
}

# A consumer that takes long for a chunk has a core of its own while it is behind. When it waits for one that takes longer
# still, others are computed meanwhile.
test_a_long_chunk_holds_up_no_other() {
    start_pwcd --workers 2
    in_background job "$PWCCTL" run --json fault.copy in -o out chunk=$((300000 / CHUNKS)) slow=merge ms=20 hold=process at=10
    await_hold process 10
    until_true "most others to be done" job_done_at_least 25 # what lies behind it in its lease is soon done afterwards
    release "$VICTIM"
    finish_job serial
}

# ---- while the tail of its lease is taken back ----

CUT=(serial:process placed:process folded:process none:process batch:whole)

# with_a_tail MODE ROLE WAY WHO: a stage is in the middle of its lease, at chunk AT, and what lies behind satisfies WHO. How many
# chunks a lease has depends on how quick the first were: a stage without is ended.
with_a_tail() {
    local mode=$1 role=$2
    for AT in {10..29} {10..29}; do
        SLOW=1 start_job "$mode" "$role" "$3" "$AT"
        until_true "a worker at chunk $AT" a_stage ".role == \"worker\" and .chunk == $AT"
        ! "$4" || return 0
        kill -KILL "$VICTIM"
        finish_job "$mode"
    done
    fail "$mode: no lease had a tail"
}

# Nobody else computes: two at least can be taken.
has_a_tail() {
    local end
    read -r end _ < <(lease_of "$VICTIM")
    ((end - AT > 2))
}

# All else has been done: so it was taken, if there was one.
lost_its_tail() {
    local victim=$VICTIM end given
    until_true "all else to be done" only_one_works
    VICTIM=$victim
    read -r end given < <(lease_of "$VICTIM")
    ((given > end))
}

test_killed_after_the_tail_was_taken_back() {
    start_pwcd --workers 2
    local pair sig
    for pair in "${CUT[@]}"; do
        for sig in KILL SEGV; do
            with_a_tail "${pair%:*}" "${pair#*:}" hold lost_its_tail
            kill "-$sig" "$VICTIM"
            finish_job "${pair%:*}"
            equal "$pair: attempts that ended badly" "worker $AT 1 crash" "$(records)"
        done
        with_a_tail "${pair%:*}" "${pair#*:}" hold lost_its_tail
        release "$VICTIM" # it looks, and stops where the tail began
        finish_job "${pair%:*}"
        equal "$pair: attempts that ended badly" "" "$(records)"
    done
}

# It has seen that its tail is gone, and dies as it says how far it came: nobody is charged, so that the next attempt is the
# first again.
test_killed_as_it_reports_without_its_tail() {
    traced_daemon --workers 2
    local pair victim
    for pair in "${CUT[@]}"; do
        with_a_tail "${pair%:*}" "${pair#*:}" hold lost_its_tail
        victim=$VICTIM
        order "arm idle sendmsg 1 KILL"
        release "$victim"
        until_true "its end" gone "$victim"
        await_hold "${pair#*:}" "$AT"
        release "$VICTIM"
        finish_job "${pair%:*}"
        order result
        equal "$pair: who was hit" "hit $victim" "$ANSWER"
        equal "$pair: attempts that ended badly" "worker null 0 crash" "$(records)"
    done
}

# watch WORD PID: it gets SIGKILL in the moment in which pwcd writes that word of its control page.
watch() {
    local job=$BG
    need_root
    in_background strike "$TOOLS/strike" "$PID" "$2" "$1" 9
    STRIKE=$BG BG=$job
    until_true "strike to be there" eval '[[ -s strike.out || -s strike.err ]]'
    [[ ! -s strike.out ]] || return 0
    finish_background "$STRIKE"
    [[ $RC -eq 77 ]] || fail "strike: $(<strike.err)"
    skip "no process may be looked into here: $(<strike.err)"
}

struck() {
    finish_background "$STRIKE"
    grep -q '^hit' strike.out
}

# The limit is lowered: in that moment it dies, before anybody has looked at it. Another job has the other seat until
# everything is in place. Both compute: who stands still would have its seat lent.
test_killed_as_the_tail_is_taken_back() {
    start_pwcd --workers 2
    local pair other
    for pair in "${CUT[@]}"; do
        in_background other "$PWCCTL" run fault.hang n=1
        until_true "the other job" a_stage "$WORKING"
        other=$BG
        with_a_tail "${pair%:*}" "${pair#*:}" burn has_a_tail
        watch limit "$VICTIM"
        kill -INT "$other"
        struck || fail "$pair: nobody took its tail: $(cat strike.out strike.err)"
        finish_background "$other"
        finish_job "${pair%:*}"
        equal "$pair: attempts that ended badly" "worker $AT 1 crash" "$(records)"
        rm other.* strike.*
    done
}

# The same word, when there is no tail: the job is called off.
test_killed_as_its_job_is_called_off() {
    start_pwcd --workers 2
    local row mode role at hits=0
    for row in "${IN_A_CHUNK[@]}"; do
        read -r mode role at _ <<<"$row"
        [[ $role != produce && $role != merge ]] || continue # which are killed at once
        start_job "$mode" "$role" hold "$at"
        await_hold "$role" "$at"
        watch cancel "$VICTIM"
        "$PWCCTL" cancel "$(newest_job)" >/dev/null
        ! struck || hits=$((hits + 1)) # else pwcd was faster, whose patience is short
        finish_background "$BG"
        equal "$row: exit status" 4 "$RC"
        nothing_there "$row"
        rm job.* strike.*
    done
    [[ $hits -gt 0 ]] || fail "nobody was struck"
    run_job serial
    judge serial "$T/out"
}

# ---- while small jobs that wait behind another are taken back ----

# many WARM BEHIND [NAME=VALUE...]: in the background; the first of them has these parameters.
many() {
    in_background many "$TOOLS/many" "$S" "$1" "$2" fault.lone "${@:3}"
}

# many_are_done DEATHS: of those of the first job, and none of any other.
many_are_done() {
    finish_background "$BG"
    equal "what happened" "first: 1 of 1 done, $1 deaths, $1 retried others: 30 of 30 done, 0 deaths, 0 retried" \
        "$(tail -n 2 many.out | paste -sd ' ')$(<many.err)"
    rm many.*
}

recalls_more() {
    [[ $(dumped recalled) -gt $1 ]]
}

# some_recalled: a stage holds, to which others were sent ahead, and they have been taken back. On a busy machine none may have
# been sent: then once more.
some_recalled() {
    local ahead recalled
    for _ in {1..20}; do
        ahead=$(dumped ahead) recalled=$(dumped recalled)
        many 300 30 way=hold
        until_true "a stage that holds" a_stage "$WORKING"
        if [[ $(dumped ahead) -gt $ahead ]]; then
            until_true "those behind it to be taken back" recalls_more "$recalled"
            return
        fi
        release "$VICTIM"
        many_are_done 0
    done
    fail "no small job was ever sent ahead"
}

# It dies at once: those behind it are still its own.
test_killed_before_small_jobs_behind_it_are_taken_back() {
    start_pwcd --workers 1
    local ahead
    ahead=$(dumped ahead)
    for _ in {1..20}; do
        many 300 30 way=die
        many_are_done 1
        [[ $(dumped ahead) -eq $ahead ]] || break
    done
    [[ $(dumped ahead) -gt $ahead && $(dumped recalled) -gt 0 ]] || fail "no small job was ever sent ahead"
}

test_killed_after_small_jobs_behind_it_were_taken_back() {
    start_pwcd --workers 1
    local sig n=1
    for sig in KILL SEGV; do
        some_recalled
        kill "-$sig" "$VICTIM"
        many_are_done 1
        equal "attempts that ended badly" "$n" "$("$PWCCTL" deaths --json | jq '.deaths | length')"
        n=$((n + 1))
    done
    some_recalled
    release "$VICTIM" # it comes upon those that were taken back
    many_are_done 0
}

# struck_or_idle PID AHEAD: it was, or it will not be: another one computes, or nothing was sent ahead.
struck_or_idle() {
    kill -0 "$STRIKE" 2>/dev/null || return 0
    a_stage "$WORKING" && [[ $VICTIM -ne $1 || $(dumped ahead) -eq $2 ]]
}

# done_or_held: the first job may be at its first attempt once more. Then it is let go, which does nothing to any other.
done_or_held() {
    local before
    kill -0 "$BG" 2>/dev/null || return 0
    a_stage "$WORKING" || return 1
    before=$VICTIM
    tick
    ! a_stage "$WORKING" || [[ $VICTIM -ne $before ]] || release "$VICTIM" 2>/dev/null || : # it may have ended
    return 1
}

# The word is written: in that moment it dies. Who will hold is most likely who has computed the most so far. On a busy machine
# it may not even have begun, or have come to another one before strike's turn: so it is not said who is charged.
test_killed_as_small_jobs_behind_it_are_taken_back() {
    start_pwcd --workers 1
    mkfifo go
    local ahead who hits=0
    for _ in {1..20}; do
        "$TOOLS/many" "$S" 300 30 fault.lone way=hold <go >many.out 2>many.err &
        BG=$!
        exec {GO}>go
        await_line many.out warm >line
        who=$("$PWCCTL" workers --json | jq '[.workers[] | select(.role == "parked")] | max_by(.chunks) | .pid')
        ahead=$(dumped ahead)
        watch revoke "$who"
        echo >&"$GO"
        exec {GO}>&-
        until_true "a stage that holds or was struck" struck_or_idle "$who" "$ahead"
        kill -KILL "$STRIKE" 2>/dev/null || :
        if struck; then
            hits=1
            break
        fi
        kill_stage KILL "$WORKING"
        many_are_done 1
    done
    [[ $hits -eq 1 ]] || fail "nobody was struck: $(cat strike.out strike.err)"
    until_true "the first job to be done" done_or_held
    finish_background "$BG"
    equal "done and died" "31 1" "$(awk '/^(first|others):/ {n += $2; deaths += $6} END {print n, deaths}' many.out)"
    rm many.* go line strike.*
}

# At each message of a stage behind which small jobs wait: they are taken back, or it comes to them.
test_death_at_each_step_before_small_jobs() {
    traced_daemon --workers 1
    local role call ms i steps=0
    many 300 30 ms=20
    many_are_done 0
    for role in worker idle; do
        for call in sendmsg recvmsg; do
            for ms in 20 0; do
                for i in {1..8}; do
                    order "arm $role $call $i KILL"
                    many 1 30 ms="$ms"
                    finish_background "$BG"
                    equal "$role at $call $i" "first: 1 of 1 others: 30 of 30" \
                        "$(tail -n 2 many.out | sed 's/ done.*//' | paste -sd ' ')$(<many.err)"
                    order result
                    [[ $ANSWER == hit* ]] || break
                    steps=$((steps + 1))
                done
            done
        done
    done
    note "$steps steps, $(dumped recalled) taken back"
    [[ $steps -ge 10 && $(dumped recalled) -gt 0 ]] || fail "$steps steps, $(dumped recalled) taken back: this proves nothing"
    rm many.*
}

run_tests "$@"
