#!/bin/bash
# The rows of the table "Failure semantics" however results come together (modes.sh): what a chunk may end of, budgets and
# what becomes of what is given up, generations of those who put results together, who calls the job off or goes away, and
# the end of the supervisor. steps.sh has where in its life a stage may die.
. "$(dirname "$0")/modes.sh"

setup() {
    modes_setup
}

# ---- what a chunk may end of ----

# Mode, role, chunk, and what the record says: role and chunk.
WHO=(
    "serial process 2 worker 2" "placed process 2 worker 2" "folded process 2 worker 2" "none process 2 worker 2"
    "small process 0 worker 0" "whole whole 0 whole 0"
)

# each_ends CAUSE WAY PATTERN [ARGUMENT...]: all of them at a time; two attempts end so, then there is none left.
each_ends() {
    local cause=$1 way=$2 pattern=$3 row mode role at record id
    local -A jobs=()
    shift 3
    for row in "${WHO[@]}" "serial plan 2 planner null" "serial produce 2 producer 2" "serial merge 2 consumer 2" \
        "folded finish $CHUNKS worker null"; do
        read -r mode role at record <<<"$row"
        TAG=.$mode.$role job_of "$mode" "$role" "$way" "$at"
        jobs[$row]=$("$PWCCTL" submit "${JOB[@]}" attempts=9 --retries 1 "$@") || fail "$row: not accepted"
    done
    for row in "${!jobs[@]}"; do
        read -r mode role at record <<<"$row"
        id=${jobs[$row]} RC=0
        "$PWCCTL" wait "$id" >"$T/out" 2>"$T/err" || RC=$?
        equal "$row, $cause: exit status" 1 "$RC"
        grep -qE -- "$pattern" "$T/err" || fail "$row, $cause: no '$pattern' in: $(<"$T/err")"
        equal "$row: attempts" "$record 1 $cause, $record 2 $cause" "$(records "$id")"
        [[ ! -e out.$mode.$role ]] || fail "$row, $cause: a job that failed left an output"
    done
}

test_each_cause() {
    expect_log ': its time is up'
    expect_log ': neither progress nor CPU time'
    start_pwcd --workers 8 --set stall_timeout=600ms --set stages_max=48
    each_ends op fail 'this [a-z]+ always fails'
    each_ends crash die 'killed by SIG(KILL|SEGV).*, attempt 2 of 2'
    each_ends timeout burn 'its time is up, attempt 2 of 2' --chunk-timeout 1s # with ten jobs at once, on few processors
    each_ends stalled stick 'neither progress nor CPU time, attempt 2 of 2'
}

# Seen by the supervisor, who looks at them.
test_each_out_of_memory() {
    [[ -z $SANITIZED ]] || skip "sanitizers take more memory than any limit"
    start_pwcd --workers 2 --set cgroups=no
    local row mode role at record
    for row in "${WHO[@]}" "batch whole 2 worker 2" "serial merge 2 consumer 2" "serial produce 2 producer 2"; do
        read -r mode role at record <<<"$row"
        run_job "$mode" "$role" eat "$at" attempts=9 --retries 0 --memory 100M -q
        [[ $mode == batch ]] || refused_with "$row" 1 'over its memory limit of 100M, attempt 1 of 1'
        equal "$row: attempts" "$record 1 oom" "$(records)"
        equal "$row: seen by" supervisor "$("$PWCCTL" deaths "$(newest_job)" --json | jq -r '.deaths[0].oom_by')"
        nothing_there "$row"
        run_job "$mode" "$role" eat "$at" --memory 100M
        equal "$row: exit status" 0 "$RC"
        judge "$mode" "$T/out"
        equal "$row: attempts" "$record 1 oom" "$(records)"
    done
}

# refused_with WHAT RC PATTERN: the last run ended so.
refused_with() {
    equal "$1: exit status ($(<"$T/err"))" "$2" "$RC"
    grep -qE -- "$3" "$T/err" || fail "$1: no '$3' in: $(<"$T/err")"
}

# An item of a batch is a chunk whose failure does not fail the others.
test_each_cause_in_a_batch() {
    expect_log ': its time is up'
    expect_log ': neither progress nor CPU time'
    start_pwcd --workers 2 --set stall_timeout=400ms
    local row way cause pattern
    for row in "fail op this whole always fails" "die crash killed by SIGKILL" "burn timeout its time is up" \
        "stick stalled neither progress nor CPU time"; do
        read -r way cause pattern <<<"$row"
        local -a more=()
        [[ $way != burn ]] || more=(--chunk-timeout 300ms)
        run_job batch whole "$way" 2 attempts=9 --retries 0 "${more[@]}"
        refused_with "batch, $cause" 5 "chunk 2 \(files/102\) .*$pattern.*, attempt 1 of 1"
        equal "batch, $cause: attempts" "worker 2 1 $cause" "$(records)"
        equal "batch, $cause: what is missing" "Only in files: 102" "$(diff -rq files outs)"
        rm -r outs
    done
}

# ---- budget spent: fail, skip, fill ----

# given_up MODE POLICY: chunk 2 is.
given_up() {
    case $1:$2 in
    *:fail | whole:*)
        refused_with "$1 $2" 1 'attempt 3 of 3'
        nothing_there "$1 $2"
        ;;
    serial:* | placed:*)
        refused_with "$1 $2" 5 "1 of $CHUNKS chunks failed"
        local byte=${2#skip}
        byte=${byte#fill=}
        filled_with "${byte:-0}" 2 out
        rm out
        ;;
    folded:skip | none:skip | small:skip)
        [[ $1 != small ]] || local CHUNKS=1
        refused_with "$1 $2" 5 "1 of $CHUNKS chunks failed"
        equal "$1 $2: chunks" $((CHUNKS - 1)) "$(field "done")"
        [[ $1 != folded ]] || equal "$1 $2: sum of their numbers" $((CHUNKS * (CHUNKS - 1) / 2 - 2)) "$(field sum)"
        ;;
    batch:skip)
        refused_with "$1 $2" 5 'attempt 3 of 3'
        equal "$1 $2: what is missing" "Only in files: 102" "$(diff -rq files outs)"
        rm -r outs
        ;;
    *) refused_with "$1 $2" 2 'on failure: ' ;; # which says why it cannot be filled
    esac
}

test_budget_spent() {
    start_pwcd --workers 2
    local row mode role at record policy
    for row in "${WHO[@]}" "batch whole 2 worker 2"; do
        read -r mode role at record <<<"$row"
        for policy in fail skip fill=7; do
            run_job "$mode" "$role" die "$at" attempts=9 --on-failure "$policy"
            given_up "$mode" "$policy"
            [[ $RC -eq 2 ]] || equal "$row: attempts" "$record 1 crash, $record 2 crash, $record 3 crash" "$(records)"
        done
    done
}

# A thousand may fail, if nothing else is asked for; or as many as do. All behind the first two.
test_more_failures_than_may_be() {
    start_pwcd --workers 2
    local mode CHUNKS=1500 two=400
    for mode in serial placed folded none; do
        run_job "$mode" process fail 2 attempts=9 every=true --on-failure skip -q
        refused_with "$mode" 1 'more than 1000 failures; the last: chunk [0-9]+'
        nothing_there "$mode"
        run_job "$mode" process fail 2 attempts=9 every=true --on-failure skip --max-failures none -q
        refused_with "$mode" 5 ''
        equal "$mode: failures" $((CHUNKS - 2)) "$(field failed)"
        [[ $mode != serial && $mode != placed ]] || { head -c "$two" in && head -c $((300000 - two)) /dev/zero; } | cmp - out ||
            fail "$mode: the output is not the first two chunks and zeros"
        rm -f out
    done
}

# ---- generations ----

# Who puts results together dies: another one does, and once more. A third time is one too many.
test_generations() {
    start_pwcd --workers 2
    local row mode role at record
    for row in "serial merge 2 consumer 2" "placed process 2 worker 2" "folded finish $CHUNKS worker null" "whole whole 0 whole 0" \
        "batch whole 2 worker 2"; do
        read -r mode role at record <<<"$row"
        run_job "$mode" "$role" die "$at" attempts=2
        equal "$row: exit status ($(<"$T/err"))" 0 "$RC"
        judge "$mode" "$T/out"
        equal "$row: attempts" "$record 1 crash, $record 2 crash" "$(records)"
        run_job "$mode" "$role" die "$at" attempts=3
        refused_with "$row" "$([[ $mode == batch ]] && echo 5 || echo 1)" 'attempt 3 of 3'
        equal "$row: attempts" "$record 1 crash, $record 2 crash, $record 3 crash" "$(records)"
        nothing_there "$row"
    done
}

# What was there before is as it was, until all of the new is there; nothing flows into a pipe before it is whole.
test_generations_of_a_consumer_for_each_kind_of_output() {
    start_pwcd --workers 2
    install -m 640 small out
    local before
    before=$(stat -c '%i %a %s' out)
    run_job serial merge die 2 attempts=3
    refused_with replace 1 'attempt 3 of 3'
    equal "the file that was to be replaced" "$before" "$(stat -c '%i %a %s' out)"
    same small out
    run_job serial merge die 2 attempts=2
    equal "exit status" 0 "$RC"
    same in out
    equal "mode" 640 "$(stat -c %a out)"
    rm out
    "$PWCCTL" run -q fault.copy in -o - chunk=7500 die=merge at=2 attempts=2 | cmp - in || fail "a pipe after two consumers"
    "$PWCCTL" run -q fault.copy in -o - chunk=7500 die=merge at=2 attempts=3 2>"$T/err" | cmp - /dev/null ||
        fail "bytes in a pipe of a job that failed"
}

# ---- called off, or alone ----

AT_WORK=(
    "serial merge 2" "serial process 2" "serial produce 2" "serial plan 2" "placed process 2" "folded process 2"
    "folded finish $CHUNKS" "none process 2" "small process 0" "whole whole 0" "batch whole 2"
)

job_is() {
    [[ $(job_field state) == "$1" ]]
}

# called_off ROW: the job is cancelled, who did not listen is gone, and nothing is there. That it had to be ended is told.
called_off() {
    local mode role at record=
    read -r mode role at <<<"$1"
    case $role in
    process | finish) record="worker ${at/#"$CHUNKS"/null} 1 cancelled" ;;
    plan) record="planner null 1 cancelled" ;;
    whole) record="$([[ $mode == batch ]] && echo worker || echo whole) $at 1 cancelled" ;;
    esac
    until_true "$1: the job to end" job_is cancelled
    until_true "$1: the deaf stage to be gone" gone "$VICTIM"
    nothing_there "$1"
    equal "$1: attempts that ended badly" "$record" "$(records)"
    rm -f job.*
}

test_cancelled_at_work() {
    start_pwcd --workers 2
    local row mode role at
    for row in "${AT_WORK[@]}"; do
        read -r mode role at <<<"$row"
        start_job "$mode" "$role" hold "$at"
        await_hold "$role" "$at"
        "$PWCCTL" cancel "$(newest_job)" >/dev/null
        finish_background "$BG"
        equal "$row: exit status" 4 "$RC"
        called_off "$row"
    done
    run_job serial
    judge serial "$T/out"
}

test_client_gone_at_work() {
    start_pwcd --workers 2
    local row mode role at
    for row in "${AT_WORK[@]}"; do
        read -r mode role at <<<"$row"
        start_job "$mode" "$role" hold "$at"
        await_hold "$role" "$at"
        kill -KILL "$BG"
        finish_background "$BG"
        called_off "$row"
    done
}

# again HOW MODE ROLE AT: a client that goes, or asks again, when it is told to; a batch would need its client.
again() {
    local -a files=() params
    job_of "$2" "$3" hold "$4"
    params=("${JOB[0]}")
    local word
    for word in "${JOB[@]:1}"; do [[ $word != *=* ]] || params+=("$word"); done
    case $2 in
    whole) files=(-- small out1 out2) ;;
    serial | placed) files=(-- in out1 out2) ;;
    esac
    exec {GO}<>go
    "$TOOLS/again" "$S" "$1" "${params[@]}" "${files[@]}" <go >again.out 2>again.err &
    BG=$!
    await_hold "$3" "$4"
}

# Who asks again before the time is over, or whenever he likes, finds the job that the first one left; its output is where
# the first one wanted it.
test_client_gone_and_back() {
    start_pwcd --workers 2
    mkfifo go
    local row mode role at how
    for row in "${AT_WORK[@]}"; do
        read -r mode role at <<<"$row"
        [[ $mode != batch ]] || continue
        for how in linger lost; do
            again "$how,asked" "$mode" "$role" "$at"
            echo >&"$GO"
            await_line again.out '^gone' >line
            release "$VICTIM"
            finish_background "$BG"
            grep -q '^again: the same job, done, ' again.out || fail "$row, $how: $(cat again.out again.err)"
            case $mode in
            serial | placed) same in out1 ;;
            whole) same small out1 ;;
            folded) grep -q "done, $CHUNKS\$" again.out || fail "$row, $how: $(<again.out)" ;;
            esac
            equal "$row, $how: attempts that ended badly" "" "$(records)"
            exec {GO}>&-
            rm -f out1 out2 again.* line
        done
    done
    rm go
}

# Nobody comes back.
test_client_gone_for_too_long() {
    start_pwcd --workers 2
    mkfifo go
    local row mode role at
    for row in "${AT_WORK[@]}"; do
        read -r mode role at <<<"$row"
        [[ $mode != batch ]] || continue
        again "expires,asked" "$mode" "$role" "$at"
        echo >&"$GO"
        finish_background "$BG"
        exec {GO}>&-
        called_off "$row"
        equal "$row: why" "its client went away" "$("$PWCCTL" jobs --json | jq -r '.jobs | last | .reason')"
        rm -f out1 out2 again.*
    done
    rm go
}

# ---- the supervisor ----

hold_there() {
    [[ $(stage_pids "$1" | wc -l) -eq 3 ]]
}

# For a file that is new, one that is there already, and a pipe at a time: each client is told, with one line; no new file
# appears, the old one is as it was, nothing came out of the pipe, no result is printed, and nothing is left beside them.
test_supervisor_killed() {
    local row mode role at filter kind before
    for row in "serial plan 2" "serial produce 2" "serial process 2" "serial merge 2" "placed process 2" "folded process 2" \
        "folded finish $CHUNKS" "none process 2" "small process 0" "whole whole 0"; do
        read -r mode role at <<<"$row"
        start_pwcd --workers 6 --set stages_max=24
        install -m 640 small old
        before=$(stat -c '%i %a %s %Y' old)
        local -A client=()
        for kind in new old -; do
            job_of "$mode" "$role" hold "$at"
            in_background "job.$kind" "$PWCCTL" run "${JOB[@]/#out/$kind}"
            client[$kind]=$BG
        done
        case $role in # all three
        process) filter=".role == \"worker\" and .chunk == $at" ;;
        produce) filter='.role == "producer"' ;;
        merge) filter='.role == "consumer"' ;;
        finish) filter=$BETWEEN ;;
        *) filter='.role == "planner" and .state == "busy"' ;;
        esac
        until_true "three stages with $filter" hold_there "$filter"
        crash_pwcd
        for kind in new old -; do
            finish_background "${client[$kind]}"
            equal "$row, $kind: exit status" 69 "$RC"
            equal "$row, $kind: lines" 1 "$(grep -c . "job.$kind.err")"
            grep -qE 'pwcctl: .*(pwcd|daemon)' "job.$kind.err" || fail "$row, $kind: $(<"job.$kind.err")"
        done
        equal "$row: the file that was there" "$before" "$(stat -c '%i %a %s %Y' old)"
        same small old
        equal "$row: bytes on stdout" 0 "$(cat job.*.out | wc -c)"
        rm job.*
        files_are in small files old
        check_nothing_left
    done
    start_pwcd --workers 2
    run_job serial
    judge serial "$T/out"
}

# A batch's files are each as they were, or whole.
test_supervisor_killed_in_a_batch() {
    start_pwcd --workers 1
    mkdir outs
    local i
    for ((i = 100; i < 100 + CHUNKS; i++)); do cp small "outs/$i"; done
    start_job batch whole hold 20
    await_hold whole 20
    until_true "files that are whole" eval 'cmp -s files/100 outs/100'
    crash_pwcd
    finish_background "$BG"
    equal "exit status" 69 "$RC"
    for ((i = 100; i < 100 + CHUNKS; i++)); do
        if ((i < 120)) && cmp -s "files/$i" "outs/$i"; then continue; fi
        same small "outs/$i"
    done
    equal "files" "$CHUNKS" "$(find outs -type f | wc -l)"
    equal "hidden files" "" "$(find outs -name '.*' -type f)"
    rm -r outs job.*
    start_pwcd --workers 2
    run_job batch
    judge batch "$T/out"
}

run_tests "$@"
