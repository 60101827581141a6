#!/bin/bash
# A crash, and an error, at each system call of stages, client and supervisor. One run is counted, then each point
# (role, call, index) is run again with something going wrong there, once; see inject.h.
#
# Whatever goes wrong: a job ends well with the right output, or fails with a reason and leaves no output; the daemon
# lives, unless it is the victim: then everybody is told, its stages are gone within a second, and the next one on the
# same socket serves. A crash of one stage must cost nobody anything, nor must an interrupted or a short call.
#
#   PWC_FAULTS=all         every point, however long it takes; else a sample
#   PWC_FAULTS_SECONDS     how long the sample of each test may take (20)
#   PWC_FAULTS_SEED        repeats the choice; printed
. "$(dirname "$0")/../scenario/lib.sh"
[[ ${1-} == --one ]] || exec 3>&1 # counts are shown whether it went well or not

INJECT=$PWC_BUILD/tests/faults/inject
SECONDS_EACH=${PWC_FAULTS_SECONDS:-20}
SEED=${PWC_FAULTS_SEED:-$((RANDOM * 32768 + RANDOM))}
JOB_LIMIT=40 # s: a job that takes longer hangs
JOB_SLOW=12  # s: one that takes longer was brought to its end by the watch for stalls only

setup() {
    need_root # a stage cannot be traced by its own user: it is not dumpable
    ! grep -q 'PWC_SANITIZED 1' "$PWC_BUILD/config.h" || skip "built with sanitizers"
    "$INJECT" true || skip "system calls cannot be changed on this machine"
    head -c 300000 /dev/urandom >in
    head -c 1000 in >small
    printf 'seed %s\n' "$SEED" >&3
    RANDOM=$((SEED % 32768))
    RUN=0 HIT=0 WELL=0 REFUSED=0 WRONG=0
}

# ---- points ----

# What can go wrong at a call besides a crash. A close that fails has closed; what cannot fail is left alone.
errors_of() {
    case $1 in
    close | futex | exit | exit_group | getpid | gettid | getppid | rt_sigreturn | rt_sigprocmask | munmap | clock_gettime | \
        arch_prctl | set_tid_address | execve | sigaltstack | getuid | geteuid | getgid | getegid) ;;
    read | write | pread64 | pwrite64) echo EINTR EIO ENOSPC SHORT ;;
    sendmsg | recvmsg) echo EINTR ENOMEM SHORT ;;
    poll | ppoll | epoll_wait | waitid | accept4 | connect | clock_nanosleep) echo EINTR ;;
    openat | memfd_create | socket | socketpair | pipe2 | eventfd2 | epoll_create1) echo EMFILE ENOMEM ;;
    dup | dup2 | dup3 | fcntl | pidfd_open) echo EMFILE ;;
    fallocate | ftruncate) echo EINTR EIO ENOSPC ENOMEM ;;
    linkat | renameat | rename | unlink) echo ENOSPC EIO ;;
    fsync | fstat | newfstatat | statx | fstatfs | lseek) echo EIO ;;
    clone | clone3 | vfork) echo EAGAIN ENOMEM ;;
    *) echo ENOMEM ;;
    esac
}

# points WHAT <counts >points: lines ROLE CALL INDEX ACTION. WHAT: crash, error.
points() {
    local role call n i action
    while read -r role call n; do
        for ((i = 1; i <= n; i++)); do
            if [[ $1 == crash ]]; then
                echo "$role $call $i KILL"
            else
                for action in $(errors_of "$call"); do echo "$role $call $i $action"; done
            fi
        done
    done
}

# Short calls and interruptions happen every day: nobody may notice.
harmless() {
    [[ $1 == *' EINTR' || $1 == *' SHORT' ]]
}

# each_point FILE COMMAND...: COMMAND with each point, or with as many as there is time for.
each_point() {
    local end=$((SECONDS + SECONDS_EACH)) file=$1 point
    shift
    shuf --random-source=<(yes "$SEED") "$file" >"$T/shuffled"
    while read -r point <&9; do
        [[ ${PWC_FAULTS-} == all ]] || ((SECONDS < end)) || break
        RUN=$((RUN + 1))
        "$@" "$point"
    done 9<"$T/shuffled"
}

wrong() {
    WRONG=$((WRONG + 1))
    printf 'at "%s": %s\n' "$POINT" "$*" >>"$T/wrong"
}

# Which warnings come depends on the points; a bug in the log is a fault all the same.
sum_up() {
    ! grep -qE ': (warning|fatal): ' "$T/log" || expect_log ': (warning|fatal): '
    printf '%s: %d points of %d, %d hit: %d jobs well, %d refused with a reason, %d wrong\n' "$1" "$RUN" \
        "$(cat "$T"/points.* | grep -c .)" "$HIT" "$WELL" "$REFUSED" "$WRONG" >&3
    [[ $WRONG -eq 0 ]] || fail "$(head -n 20 "$T/wrong")"
    [[ $HIT -gt 0 ]] || fail "no point was hit: this proves nothing"
}

# ---- one job ----

# How a kind of job is run and what it gives; TRACER=(command...) goes before pwcctl.
run_kind() {
    rm -f out
    RC=0
    local -a arguments
    case $1 in
    copy) arguments=(fault.copy in -o out) ;;
    whole) arguments=(fault.copy small -o out) ;;
    sum) arguments=(array.sum in type=int8) ;;
    blur) arguments=(image.gaussblur in.png -o out sigma=3 --format png) ;;
    esac
    local start=$SECONDS
    timeout "$JOB_LIMIT" "${TRACER[@]}" "$PWCCTL" run -q "${arguments[@]}" >"$T/out" 2>"$T/err" </dev/null || RC=$?
    TOOK=$((SECONDS - start))
}

# right KIND: what the last run gave is what it must be.
right() {
    case $1 in
    sum) cmp -s "$T/out" "$T/expected.sum" ;;
    *) [[ -e out ]] && cmp -s out "$T/expected.$1" ;;
    esac
}

expect_kinds() {
    TRACER=()
    local kind
    for kind in "$@"; do
        run_kind "$kind"
        [[ $RC -eq 0 ]] || fail "$kind does not run: $(<"$T/err")"
        case $kind in
        sum) cp "$T/out" "$T/expected.sum" ;;
        *) cp out "$T/expected.$kind" ;;
        esac
    done
}

# judge KIND: well, or refused with a reason and nothing left behind.
judge() {
    [[ $TOOK -le $JOB_SLOW ]] || wrong "took $TOOK s"
    if [[ $RC -eq 0 ]]; then
        right "$1" || wrong "exit 0, and the result is wrong"
        WELL=$((WELL + 1))
        return
    fi
    REFUSED=$((REFUSED + 1))
    [[ $RC -ne 124 ]] || wrong "hangs"
    [[ -s $T/err || $RC -ge 128 ]] || wrong "exit $RC without a reason"
    [[ ! -e out ]] || right "$1" || wrong "exit $RC, and half an output is there"
    [[ -z $(find . -name '.?*') ]] || wrong "exit $RC, and a hidden file is left"
}

image_if_there() {
    [[ -n $(type -P vips) ]] && grep -q "^#define HAVE_VIPS 1" "$PWC_BUILD/config.h" || return 0
    vips gaussnoise in.png 60 40
    KINDS+=(blur)
}

# ---- stages ----

order() {
    printf '%s\n' "$*" >&"$ORDERS"
    read -r -t "$WAIT_LIMIT" -u "$ANSWERS" ANSWER || fail "the tracer does not answer"
}

start_traced() {
    mkfifo "$T/orders" "$T/answers"
    exec {ORDERS}<>"$T/orders" {ANSWERS}<>"$T/answers"
    PREFIX=("$INJECT" -c "$T/orders" "$T/answers")
    start_pwcd --workers 2
    order pid
    PID=$ANSWER
}

count_points() {
    order count
    run_kind "$1"
    local line
    printf 'show\n' >&"$ORDERS"
    while read -r -t "$WAIT_LIMIT" -u "$ANSWERS" line && [[ $line != . ]]; do
        [[ $line == main* ]] || printf '%s\n' "$line"
    done
}

stage_point() {
    local kind=$1
    POINT=$2
    order "arm $POINT"
    [[ $ANSWER == ok ]] || fail "arm $POINT: $ANSWER"
    run_kind "$kind"
    order result
    [[ $ANSWER != hit* ]] || HIT=$((HIT + 1))
    judge "$kind"
    [[ $RC -eq 0 || ($POINT != *KILL && $(harmless "$POINT" || echo no)) ]] || wrong "$kind: $(<"$T/err")"
    "$PWCCTL" ping >/dev/null 2>&1 || fail "at $POINT: pwcd is gone"
}

each_stage_point() {
    local kind
    KINDS=(copy whole sum)
    image_if_there
    start_traced
    expect_kinds "${KINDS[@]}"
    for kind in "${KINDS[@]}"; do
        count_points "$kind" >"$T/counts.$kind"
        points "$1" <"$T/counts.$kind" >"$T/points.$kind"
    done
    local all=$SECONDS_EACH
    for kind in "${KINDS[@]}"; do
        SECONDS_EACH=$((all / ${#KINDS[@]}))
        each_point "$T/points.$kind" stage_point "$kind"
    done
    sum_up "$1 of stages"
}

test_stage_crashes() {
    each_stage_point crash
}

test_stage_errors() {
    each_stage_point error
}

# ---- the client ----

client_point() {
    local kind=$1
    POINT=$2
    TRACER=("$INJECT" -a "$POINT" -r "$T/result")
    run_kind "$kind"
    ! grep -q hit "$T/result" || HIT=$((HIT + 1))
    judge "$kind"
    [[ $RC -eq 0 ]] || ! harmless "$POINT" || wrong "$kind: $(<"$T/err")"
    "$PWCCTL" ping >/dev/null 2>&1 || fail "at $POINT: pwcd is gone"
}

test_client() {
    start_pwcd --workers 2
    expect_kinds copy
    TRACER=("$INJECT" -r "$T/counts")
    run_kind copy
    points crash <"$T/counts" >"$T/points.client"
    points error <"$T/counts" >>"$T/points.client"
    each_point "$T/points.client" client_point copy
    sum_up "crash and error of the client"
}

# ---- the supervisor ----

# Its first word: ready, exit or signal; true if it is ready.
first_word() {
    read -r -t "$WAIT_LIMIT" -u "$MINDFD" WORD PID || fail "at $POINT: pwcd says nothing: $(log_tail)"
    [[ $WORD == ready ]]
}

# A signal whose handler could not tell the loop is lost: people then send it again.
end_or_again() {
    read -r -t 5 -u "$MINDFD" WORD CODE && return
    kill -TERM "$PID"
    read -r -t "$WAIT_LIMIT" -u "$MINDFD" WORD CODE || fail "at $POINT: pwcd does not end"
}

# How it ended, after what it was told or what went wrong; its stages too, or the tracer would say 99.
last_words() {
    [[ $WORD != ready ]] || end_or_again
    mind_says left
    end_pwcd
    [[ $CODE != 99 ]] || wrong "stages outlive pwcd by more than a second"
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

super_point() {
    POINT=$2
    local lines
    lines=$(wc -l <"$T/log")
    PREFIX=("$INJECT" -a "$POINT" -r "$T/result")
    launch_pwcd --workers 2 --set shutdown_grace=2s
    if first_word; then
        TRACER=()
        run_kind copy
        judge copy
        [[ $RC -eq 0 ]] || ! harmless "$POINT" || wrong "$(<"$T/err")"
        kill -TERM "$PID" 2>/dev/null || :
    else
        CODE=$PID
    fi
    last_words
    ! grep -q hit "$T/result" || HIT=$((HIT + 1))
    [[ $POINT == *KILL || $WORD == exit ]] || wrong "pwcd died of signal $CODE: $(log_tail)"
    [[ $WORD != exit || $CODE -eq 0 ]] || tail -n "+$((lines + 1))" "$T/log" | grep -qE 'fatal|warning|error while loading' ||
        wrong "pwcd exits with $CODE and says nothing"
    [[ $WORD == exit ]] || serves_again
}

test_supervisor() {
    PREFIX=("$INJECT" -r "$T/counts")
    start_pwcd --workers 2
    expect_kinds copy
    stop_pwcd
    grep '^main' "$T/counts" >"$T/counts.main"
    points crash <"$T/counts.main" >"$T/points.super"
    points error <"$T/counts.main" >>"$T/points.super"
    [[ -z ${PWC_POINT-} ]] || printf '%s\n' "$PWC_POINT" >"$T/points.super"
    each_point "$T/points.super" super_point copy
    sum_up "crash and error of the supervisor"
}

run_tests "$@"
