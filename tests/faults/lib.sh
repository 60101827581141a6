# shellcheck shell=bash
# lib.sh - what the tests of faults have in common: points, jobs, verdicts. On top of the scenario tests' harness.
#
# Whatever goes wrong at a point: a job ends well with the right output, or fails with a reason and leaves no output;
# the daemon lives, unless it is the victim: then everybody is told, its stages are gone within a second, and the next
# one on the same socket serves.
#
#   PWC_FAULTS=all         every point, however long it takes; else a sample
#   PWC_FAULTS_PART=2/8    every eighth of them, from the second on: a part of a whole run, beside others or on another day;
#                          all with one PWC_FAULTS_SEED
#   PWC_FAULTS_SECONDS     how long the sample of each test may take (8)
#   PWC_FAULTS_SEED        repeats the choice; printed
#   PWC_POINT              this point alone
[[ -z ${PWC_FAULTS-} ]] || PWC_TEST_LIMIT=${PWC_TEST_LIMIT:-36000}
. "$(dirname "${BASH_SOURCE[0]}")/../scenario/lib.sh"
[[ ${1-} == --one ]] || exec 3>&1 # counts are shown whether it went well or not

SECONDS_EACH=${PWC_FAULTS_SECONDS:-8}
SEED=${PWC_FAULTS_SEED:-$((RANDOM * 32768 + RANDOM))}
PART=${PWC_FAULTS_PART:-1/1}
JOB_LIMIT=40 # s: a job that takes longer hangs
JOB_SLOW=12  # s: one that takes longer was brought to its end by the watch for stalls only
# The program itself: in a build tree pwcctl is a script of libtool's.
CLIENT=$PWCCTL
if [[ -x $PWC_BUILD/.libs/pwcctl ]]; then
    CLIENT=$PWC_BUILD/.libs/pwcctl
    export LD_LIBRARY_PATH=$PWC_BUILD/.libs
fi

INJECT=$PWC_BUILD/tests/faults/inject

need_tracer() {
    need_root # a stage cannot be traced by its own user: it is not dumpable
    "$INJECT" true || skip "system calls cannot be changed on this machine"
}

faults_setup() {
    # Who is traced already cannot be searched for leaks.
    [[ -z $SANITIZED ]] || export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
    head -c 300000 /dev/urandom >in
    head -c 1000 in >small
    mkdir files
    local i
    for i in 1 2 3 4 5; do head -c $((i * 3000)) in >"files/$i"; done
    [[ $PART =~ ^[1-9][0-9]*/[1-9][0-9]*$ ]] || fail "PWC_FAULTS_PART is $PART, and must be like 2/8"
    printf 'seed %s, part %s\n' "$SEED" "$PART" >&3
    RUN=0 HIT=0 WELL=0 REFUSED=0 WRONG=0
}

# ---- points ----

# each_point FILE COMMAND...: COMMAND with each point, or with as many as there is time for: a kind's share of it.
each_point() {
    local end=$((${EPOCHREALTIME/./} + SECONDS_EACH * 1000000 / ${#KINDS[@]})) file=$1 point
    shift
    [[ -z ${PWC_POINT-} ]] || printf '%s\n' "$PWC_POINT" >"$file"
    shuf --random-source=<(yes "$SEED") "$file" | sed -n "${PART%/*}~${PART#*/}p" >"$T/shuffled"
    while read -r point <&9; do
        RUN=$((RUN + 1))
        "$@" "$point"
        [[ ${PWC_FAULTS-} == all ]] || ((${EPOCHREALTIME/./} < end)) || break
    done 9<"$T/shuffled"
}

wrong() {
    WRONG=$((WRONG + 1))
    # shellcheck disable=SC2153 # the tests set it
    printf 'at "%s": %s\n' "$POINT" "$*" >>"$T/wrong"
}

# Which warnings come depends on the points; a bug in the log is a fault all the same.
sum_up() {
    ! grep -qE ': (warning|fatal): ' "$T/log" || expect_log ': (warning|fatal): '
    printf 'counts: %s: %d points of %d, %d hit: %d jobs well, %d refused with a reason, %d wrong\n' "$1" "$RUN" \
        "$(cat "$T"/points.* | grep -c .)" "$HIT" "$WELL" "$REFUSED" "$WRONG" >&3
    [[ $WRONG -eq 0 ]] || fail "$(head -n 20 "$T/wrong")"
    [[ $HIT -gt 0 ]] || fail "no point was hit: this proves nothing"
}

# ---- one job ----

# How a kind of job is run and what it gives; TRACER=(command...) goes before pwcctl.
run_kind() {
    rm -rf out
    RC=0
    local -a arguments
    case $1 in
    copy) arguments=(fault.copy in -o out) ;;
    replace)
        install -m 640 small out
        arguments=(fault.copy in -o out)
        ;;
    stream) arguments=(fault.copy in -o -) ;;
    whole) arguments=(fault.copy small -o out) ;;
    sum) arguments=(array.sum in type=int8) ;;
    small) arguments=(fault.lone n=1 --json) ;;
    batch)
        mkdir out
        arguments=(fault.copy --out-dir out files/*)
        ;;
    blur) arguments=(image.gaussblur in.png -o out sigma=3 --format png) ;;
    fresh) arguments=(image.gaussblur in.png -o out sigma=3 --format png --isolation job) ;;
    placed) arguments=(image.invert large.tif -o out --format raw) ;;
    tiled) arguments=(image.gaussblur large.png -o out sigma=2 --format tiff) ;;
    esac
    local start=$SECONDS
    timeout -k 5 "$JOB_LIMIT" "${TRACER[@]}" "$CLIENT" run -q "${arguments[@]}" >"$T/out" 2>"$T/err" </dev/null || RC=$?
    TOOK=$((SECONDS - start))
}

# right KIND: what the last run gave is what it must be.
right() {
    case $1 in
    sum | stream) cmp -s "$T/out" "$T/expected.$1" ;;
    small) grep -q '"total":1,"done":1,' "$T/out" ;;
    replace) cmp -s out in && [[ $(stat -c %a out) == 640 ]] ;;
    batch) diff -rq files out >/dev/null ;;
    *) [[ -e out ]] && cmp -s out "$T/expected.$1" ;;
    esac
}

# nothing_half KIND: after a run that failed. Items of a batch that went well stay.
nothing_half() {
    case $1 in
    batch) ! diff -rq files out | grep -qv '^Only in files: ' ;;
    replace) cmp -s out small || right replace ;;
    stream) cmp -s -n "$(stat -c %s "$T/out")" "$T/out" in ;;
    *) [[ ! -e out ]] || right "$1" ;;
    esac
}

expect_kinds() {
    TRACER=()
    local kind
    for kind in "$@"; do
        run_kind "$kind"
        [[ $RC -eq 0 ]] || fail "$kind does not run: $(<"$T/err")"
        case $kind in
        sum | stream) cp "$T/out" "$T/expected.$kind" ;;
        batch | small) right "$kind" || fail "$kind gives what it may not: $(<"$T/out")" ;;
        *) cp out "$T/expected.$kind" ;;
        esac
    done
}

# What replaces a file has a name of its own for a moment: who is killed then leaves a whole file.
nothing_hidden() {
    local left
    left=$(find . -name '.?*')
    [[ -z $left ]] || { [[ $1 == replace && $POINT == *KILL ]] && cmp -s "$left" in; }
}

# Of a picture: by how much. Other rounding is one thing, rows that nobody computed another.
how_wrong() {
    [[ $1 =~ ^(blur|fresh)$ && -n $(type -P vips) ]] || return 0
    vips subtract out "$T/expected.$1" "$T/difference.v" && vips abs "$T/difference.v" "$T/absolute.v" || return 0
    printf ', by up to %s, %s on average' "$(vips max "$T/absolute.v")" "$(vips avg "$T/absolute.v")"
}

# judge KIND: well, or refused with a reason and nothing left behind.
judge() {
    [[ $TOOK -le $JOB_SLOW ]] || wrong "took $TOOK s"
    if [[ $RC -eq 0 ]]; then
        right "$1" || wrong "$1: exit 0, and the result is wrong$(how_wrong "$1")"
        WELL=$((WELL + 1))
        return
    fi
    REFUSED=$((REFUSED + 1))
    [[ $RC -ne 124 && $TOOK -lt $JOB_LIMIT ]] || wrong "hangs"
    [[ -s $T/err || $RC -ge 128 ]] || wrong "exit $RC without a reason"
    nothing_half "$1" || wrong "exit $RC, and half an output is there"
    nothing_hidden "$1" || wrong "exit $RC, and a hidden file is left"
    find . -name '.?*' -delete
}

# A small one is done as a whole. A large one has a producer, which decodes, workers, which compute in libvips' threads,
# and a consumer, which encodes; or its pixels lie in the input's file, and workers place theirs in the output's.
pictures_if_there() {
    [[ -n $(type -P vips) ]] && grep -q "^#define HAVE_VIPS 1" "$PWC_BUILD/config.h" || return 0
    vips gaussnoise in.png 60 40
    vips grey large.v 3100 2800 --uchar
    vips tiffsave large.v large.tif
    vips pngsave large.v large.png --compression 1
    rm large.v
    KINDS+=(blur placed tiled)
}

# Each kind's points are a file of its own.
each_kind() {
    local kind
    for kind in "${KINDS[@]}"; do
        each_point "$T/points.$kind" "$@" "$kind"
    done
}

# ---- the tracer of a daemon that lives through many points ----

order() {
    printf '%s\n' "$*" >&"$ORDERS"
    read -r -t "$WAIT_LIMIT" -u "$ANSWERS" ANSWER || fail "the tracer does not answer"
}

# start_traced [ARGUMENT...]: pwcd, which may be told `order arm ROLE CALL INDEX ACTION`.
start_traced() {
    [[ -p $T/orders ]] || mkfifo "$T/orders" "$T/answers"
    exec {ORDERS}<>"$T/orders" {ANSWERS}<>"$T/answers"
    PREFIX=("$INJECT" -c "$T/orders" "$T/answers")
    start_pwcd "$@"
    order pid
    PID=$ANSWER
}

show_points() {
    local line
    printf 'show\n' >&"$ORDERS"
    while read -r -t "$WAIT_LIMIT" -u "$ANSWERS" line && [[ $line != . ]]; do
        printf '%s\n' "$line"
    done
}

count_points() {
    order count
    run_kind "$1"
    show_points | sed '/^main/d'
}

# ---- a supervisor that is the victim ----

# Its first word: ready, exit or signal; true if it is ready.
first_word() {
    read -r -t "$WAIT_LIMIT" -u "$MINDFD" WORD PID || fail "at $POINT: pwcd says nothing: $(log_tail)"
    [[ $WORD == ready ]]
}

serves_again() {
    PREFIX=()
    start_pwcd --workers 2
    TRACER=()
    run_kind copy
    if [[ $RC -ne 0 ]] || ! right copy; then
        wrong "the next pwcd does not serve: $(<"$T/err")"
    fi
    stop_pwcd
}

# ---- the start ----

# direct_stages: a program for --stage with which no nursery ever starts, so that stages are executed themselves.
direct_stages() {
    printf '#!/bin/sh\n[ "$1" != --nursery ] || exit 1\nexec %s "$@"\n' "$1" >"$T/direct"
    chmod +x "$T/direct"
}

log_since() {
    tail -n "+$((LINES_BEFORE + 1))" "$T/log"
}

# What went wrong may have been the line itself.
log_is_whole() {
    [[ $POINT != 'main write '* ]]
}

nursery_is_there() {
    log_since | grep -q ': nursery ready '
}

# first_word_soon: not only after the time that a stage has to get ready, 20 s here.
first_word_soon() {
    local begin=$SECONDS rc=0
    first_word || rc=1
    ((SECONDS - begin <= JOB_SLOW)) || wrong "the start took $((SECONDS - begin)) s"
    return "$rc"
}

# serves_well KIND: it got ready, so nothing of what went wrong at its start may show; a nursery that has died is back.
serves_well() {
    run_kind copy
    judge copy
    [[ $RC -eq 0 ]] || wrong "ready, and a job fails: $(<"$T/err")"
    [[ $1 == direct ]] || ! log_is_whole || until_true "a nursery, at $POINT" nursery_is_there
    kill -TERM "$PID" 2>/dev/null || :
}

# refuses_well: it did not get ready, and says why in one line.
refuses_well() {
    local fatal
    REFUSED=$((REFUSED + 1))
    fatal=$(log_since | grep -c '^pwcd: fatal: ' || :)
    [[ $CODE =~ ^(69|71|78)$ ]] || wrong "pwcd does not start and exits with $CODE: $(log_tail)"
    [[ $fatal -eq 1 ]] || ! log_is_whole || wrong "pwcd does not start and gives $fatal reasons: $(log_since | tail -n 3)"
    ! log_since | grep -qE '^pwcd: fatal: (.*\(null\).*|.*Success)?$' || wrong "an empty reason: $(log_since | tail -n 3)"
    [[ ! -e $S ]] || wrong "pwcd does not start, and its socket is left"
}
