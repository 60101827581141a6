#!/bin/bash
# The supervisor itself killed: its stages are gone within a second (mind's STAY_MS; the time is noted, too), clients are told
# at once, outputs are absent rather than half there, and the next start on the same socket, which the last left behind,
# serves and leaves nothing of the last's.
. "$(dirname "$0")/../scenario/lib.sh"

# What is left on the disk is for the next start to bear: unlike crash_pwcd this removes nothing.
kill_pwcd() {
    local begin
    kill -KILL "$PID"
    mind_says "signal 9"
    begin=${EPOCHREALTIME/./}
    mind_says "left"
    end_pwcd
    note "its stages are gone after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
}

# killed_in NAME READY ARGUMENT...: the job is at work when the command READY succeeds.
killed_in() {
    local name=$1 ready=$2
    shift 2
    start_pwcd --workers 2
    in_background "$name" "$PWCCTL" run "$@"
    until_true "$name to be at work" "$ready"
    kill_pwcd
    finish_background "$BG"
    [[ $RC -eq 69 || $RC -eq 70 ]] || fail "$name: exit status $RC: $(<"$name.err")"
    [[ $(grep -c . "$name.err") -ge 1 ]] || fail "$name: nobody was told"
    [[ ! -e out && -z $(find . -name '.?*') ]] || fail "$name: an output is there: $(ls -A)"
    [[ -S $S ]] || fail "the socket is not there: this proves nothing"
    start_pwcd --workers 2
    run_ok fault.none n=100
    stop_pwcd
}

a_little_done() {
    job_done_at_least 3
}

a_consumer_writes() {
    a_stage '.role == "consumer"' && a_little_done
}

test_counting() {
    killed_in count a_little_done fault.none n=100000 ms=5
}

test_consumer_and_output() {
    head -c 4000000 /dev/urandom >in
    killed_in copy a_consumer_writes fault.copy in -o out chunk=20000 slow=merge ms=20
}

test_picture() {
    need_vips
    vips black large.tif 5000 5000 --bands 3
    killed_in blur a_little_done image.gaussblur large.tif -o out sigma=60 --format tiff
}

test_batch() {
    mkdir files
    local i
    for ((i = 0; i < 60; i++)); do head -c 200000 /dev/urandom >"files/$i"; done
    mkdir out.d
    killed_in batch a_little_done fault.copy --out-dir out.d files/* slow=whole ms=100
    for i in out.d/*; do
        same "$i" "files/${i##*/}" # what was published is whole
    done
}

run_tests "$@"
