#!/bin/bash
# Failure of the Nth allocation, once, in the client with its library, in the stages, in the supervisor; see alloc.c, and
# lib.sh for what must hold. What cannot go on without its memory aborts: a stage's death, a client that says nothing
# wrong, a supervisor that its service manager starts again. Nobody may use memory that is not there.
. "$(dirname "$0")/lib.sh"

PRELOAD=$PWC_BUILD/tests/faults/.libs/alloc.so

setup() {
    [[ -z $SANITIZED ]] || skip "sanitizers have the allocator"
    [[ -e $PRELOAD ]] || skip "built without shared libraries"
    faults_setup
    CONTROL=$T/control
    control 0
}

# ---- the words of alloc.c ----

# control COUNTDOWN: and the counters start from 0.
control() {
    local hex i bytes=
    printf -v hex %016x "$1"
    for i in 14 12 10 8 6 4 2 0; do bytes+="\\x${hex:i:2}"; done
    printf '%b' "$bytes\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" | dd of="$CONTROL" conv=notrunc status=none
}

seen() {
    od -An -t u8 -j 8 -N 8 "$CONTROL" | tr -d ' '
}

count_hit() {
    [[ $(od -An -t u8 -j 16 -N 8 "$CONTROL" | tr -d ' ') -eq 0 ]] || HIT=$((HIT + 1))
}

# A process that went on without its memory dies of these.
no_wild_pointer() {
    [[ $1 -ne 11 && $1 -ne 7 ]] || wrong "$2 died of signal $1"
}

# ---- the client ----

client_point() {
    POINT=$2
    control "$POINT"
    run_kind "$1"
    count_hit
    judge "$1"
    no_wild_pointer $((RC - 128)) pwcctl
    "$PWCCTL" ping >/dev/null 2>&1 || fail "at $POINT: pwcd is gone"
}

test_client() {
    local kind
    KINDS=(copy replace stream batch)
    start_pwcd --workers 2
    expect_kinds "${KINDS[@]}"
    TRACER=(env LD_PRELOAD="$PRELOAD" PWC_ALLOC_CONTROL="$CONTROL")
    for kind in "${KINDS[@]}"; do
        control 0
        run_kind "$kind"
        seq "$(seen)" >"$T/points.$kind"
    done
    each_kind client_point
    sum_up "allocations of the client"
}

# ---- stages ----

stage_point() {
    POINT=$2
    control "$POINT"
    run_kind "$1"
    count_hit
    judge "$1"
    "$PWCCTL" ping >/dev/null 2>&1 || fail "at $POINT: pwcd is gone"
}

# preloaded_stages PROGRAM: the daemon hands nothing of its environment to stages but what begins with PWC_: a script puts
# the rest back. Without memory for its vector code libvips goes on with plain C, whose rounding is another: so plain C it is
# from the start.
preloaded_stages() {
    printf '#!/bin/sh\nVIPS_NOVECTOR=1 LD_PRELOAD=%s exec %s "$@"\n' "$PRELOAD" "$1" >"$T/stage"
    chmod +x "$T/stage"
}

test_stages() {
    local kind
    KINDS=(copy whole sum batch)
    pictures_if_there
    preloaded_stages "$STAGE"
    STAGE=$T/stage
    PREFIX=(env PWC_ALLOC_CONTROL="$CONTROL")
    start_pwcd --workers 2
    expect_kinds "${KINDS[@]}"
    for kind in "${KINDS[@]}"; do
        control 0
        run_kind "$kind"
        seq "$(seen)" >"$T/points.$kind"
    done
    each_kind stage_point
    sum_up "allocations of stages"
}

# ---- the supervisor ----

# How it ended, and that what it had started ended, too.
end_of_pwcd() {
    [[ $WORD != ready ]] || read -r -t "$WAIT_LIMIT" -u "$MINDFD" WORD CODE || fail "at $POINT: pwcd does not end"
    mind_says left
    end_pwcd
}

super_point() {
    local lines kind=$1
    POINT=$2
    lines=$(wc -l <"$T/log")
    control "$POINT"
    PREFIX=(env LD_PRELOAD="$PRELOAD" PWC_ALLOC_CONTROL="$CONTROL")
    launch_pwcd --workers 2 --set shutdown_grace=2s
    if first_word; then
        run_kind "$kind"
        judge "$kind"
        kill -TERM "$PID" 2>/dev/null || :
    else
        CODE=$PID
    fi
    end_of_pwcd
    count_hit
    [[ $WORD == exit ]] || no_wild_pointer "$CODE" pwcd
    [[ $WORD == exit && $CODE -eq 0 ]] || tail -n "+$((lines + 1))" "$T/log" | grep -q . || wrong "pwcd ends with $WORD $CODE and says nothing"
    [[ $WORD == exit ]] || serves_again
}

test_supervisor() {
    local kind
    KINDS=(copy batch sum small)
    pictures_if_there
    for kind in "${KINDS[@]}"; do
        control 0
        PREFIX=(env LD_PRELOAD="$PRELOAD" PWC_ALLOC_CONTROL="$CONTROL")
        start_pwcd --workers 2
        expect_kinds "$kind"
        stop_pwcd
        seq "$(seen)" >"$T/points.$kind"
    done
    each_kind super_point
    sum_up "allocations of the supervisor"
}

# ---- the start: of the supervisor until it is ready, of the nursery and of the first stages, made by it and executed ----

# start_with KIND COUNTDOWN: whose allocations count. Stages are executed by scripts, which put the library back. Without its
# memory libseccomp (2.5) turns for ever while it writes a filter: until a stage's time to get ready is over.
start_with() {
    control "$2"
    STAGE=$T/stage PREFIX=(env PWC_ALLOC_CONTROL="$CONTROL")
    case $1 in
    main) STAGE=$PROGRAM PREFIX+=(LD_PRELOAD="$PRELOAD") ;;
    direct) STAGE=$T/direct ;;
    esac
    launch_pwcd --workers 2 --set ready_timeout=5s
}

start_point() {
    local kind=$1
    POINT=$2
    LINES_BEFORE=$(wc -l <"$T/log")
    start_with "$kind" "$POINT"
    if first_word_soon; then
        [[ $kind != main ]] || { count_hit && control 0; } # the start is over: no job's
        serves_well "$kind"
    else
        CODE=$PID
    fi
    end_of_pwcd
    count_hit
    [[ $WORD == exit ]] || no_wild_pointer "$CODE" pwcd
    if [[ $WORD == exit ]]; then
        [[ $CODE -eq 0 ]] || refuses_well
        return
    fi
    log_since | grep -q . || wrong "pwcd ends with $WORD $CODE and says nothing"
    STAGE=$PROGRAM
    serves_again
}

test_start() {
    local kind
    PROGRAM=$STAGE
    KINDS=(main nursery direct)
    start_pwcd --workers 2
    expect_kinds copy
    stop_pwcd
    preloaded_stages "$PROGRAM"
    direct_stages "$T/stage"
    for kind in "${KINDS[@]}"; do
        start_with "$kind" 0
        first_word || fail "pwcd did not get ready ($WORD): $(log_tail)"
        seq "$(seen)" >"$T/points.$kind"
        stop_pwcd
    done
    each_kind start_point
    sum_up "allocations of the start"
}

run_tests "$@"
