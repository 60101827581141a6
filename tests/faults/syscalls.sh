#!/bin/bash
# A crash, and an error, at each system call of stages, client and supervisor. One run is counted, then each point
# (role, call, index) is run again with something going wrong there, once; see inject.h, and lib.sh for what must hold.
# A crash of one stage must cost nobody anything, nor must an interrupted or a short call.
. "$(dirname "$0")/lib.sh"

setup() {
    need_tracer
    faults_setup
}

# ---- points ----

# What can go wrong at a call besides a crash. A close that fails has closed; what cannot fail is left alone, and so is what
# the sanitizers' run-time asks for, for each thread it sees: it gives up.
errors_of() {
    case $SANITIZED$1 in
    yesmmap | yesmremap | yesmprotect | yesmadvise | yesbrk | yesprctl | yesprlimit64 | yessched_getaffinity) return ;;
    esac
    case $1 in
    close | futex | exit | exit_group | getpid | gettid | getppid | rt_sigreturn | rt_sigprocmask | munmap | clock_gettime | \
        arch_prctl | set_tid_address | rseq | set_robust_list | execve | sigaltstack | getuid | geteuid | getgid | getegid) ;;
    read | pread64) echo EINTR EIO SHORT ;;
    preadv2) echo EAGAIN EIO EOPNOTSUPP ;;
    write | pwrite64) echo EINTR EIO ENOSPC SHORT ;;
    sendmsg | recvmsg) echo EINTR ENOMEM SHORT ;;
    poll | ppoll | epoll_wait) echo EINTR ENOMEM ;;
    waitid | clock_nanosleep) echo EINTR ;;
    accept4) echo EINTR EMFILE ENOMEM ECONNABORTED ;;
    connect) echo EINTR EAGAIN ENOMEM ECONNREFUSED ;;
    openat | memfd_create | socket | socketpair | pipe2 | eventfd2 | epoll_create1) echo EMFILE ENOMEM ;;
    dup | dup2 | dup3 | fcntl | pidfd_open) echo EMFILE ;;
    fallocate | ftruncate) echo EINTR EIO ENOSPC ENOMEM ;;
    linkat | renameat | rename | unlink) echo ENOSPC EIO ;;
    fsync | fstat | newfstatat | statx | fstatfs | lseek) echo EIO ;;
    clone | clone3 | vfork) echo EAGAIN ENOMEM ;;
    *) echo ENOMEM ;;
    esac
}

# points WHAT <counts >points: lines ROLE CALL INDEX ACTION. WHAT: crash, error. Whoever looks for work yields thousands of
# times, between calls that have points of their own.
points() {
    local role call n i action
    while read -r role call n; do
        [[ $call != sched_yield ]] || continue
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

# ---- stages ----

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
    KINDS=(copy whole sum batch)
    pictures_if_there
    start_traced --workers 2
    expect_kinds "${KINDS[@]}"
    for kind in "${KINDS[@]}"; do
        count_points "$kind" >"$T/counts.$kind"
        points "$1" <"$T/counts.$kind" >"$T/points.$kind"
    done
    each_kind stage_point
    sum_up "$1 of stages"
}

test_stage_crashes() {
    each_stage_point crash
}

test_stage_errors() {
    each_stage_point error
}

# What has no memory for a thread goes on without, in some of libvips, and rounds otherwise: the pixels must be the same all the
# same. Which thread it is that cannot be made depends on how soon the others are over.
test_threads_that_cannot_be_made() {
    local i n
    pictures_if_there
    [[ -e in.png ]] || skip "built without libvips"
    start_traced --workers 2
    expect_kinds fresh
    for i in {1..3}; do
        for n in {1..40}; do
            echo "planner clone3 $i EAGAIN"
        done
    done >"$T/points.fresh"
    KINDS=(fresh)
    each_kind stage_point
    sum_up "threads that cannot be made"
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
    local kind
    KINDS=(copy replace stream batch)
    start_pwcd --workers 2
    expect_kinds "${KINDS[@]}"
    TRACER=("$INJECT" -r "$T/counts")
    for kind in "${KINDS[@]}"; do
        run_kind "$kind"
        points crash <"$T/counts" >"$T/points.$kind"
        points error <"$T/counts" >>"$T/points.$kind"
    done
    each_kind client_point
    sum_up "crash and error of the client"
}

# ---- the supervisor ----

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
    [[ $CODE != 99 ]] || wrong "stages outlive pwcd: $(grep -a outlived "$T/log" | tail -n 1)"
}

super_point() {
    local lines kind=$1
    POINT=$2
    lines=$(wc -l <"$T/log")
    PREFIX=("$INJECT" -a "$POINT" -r "$T/result")
    launch_pwcd --workers 2 --set shutdown_grace=2s
    if first_word; then
        TRACER=()
        run_kind "$kind"
        judge "$kind"
        [[ $RC -eq 0 ]] || ! harmless "$POINT" || wrong "$(<"$T/err")"
        kill -TERM "$PID" 2>/dev/null || :
    else
        CODE=$PID
    fi
    last_words
    ! grep -q hit "$T/result" || HIT=$((HIT + 1))
    [[ $POINT == *KILL || $WORD == exit ]] || wrong "pwcd died of signal $CODE: $(log_tail)"
    [[ $WORD != exit || $CODE -eq 0 ]] || tail -n "+$((lines + 1))" "$T/log" | grep -qE 'fatal|warning|error while loading|\[err\]' ||
        wrong "pwcd exits with $CODE and says nothing"
    [[ $WORD == exit ]] || serves_again
}

test_supervisor() {
    local kind
    KINDS=(copy batch sum small)
    pictures_if_there
    for kind in "${KINDS[@]}"; do
        PREFIX=("$INJECT" -r "$T/counts")
        start_pwcd --workers 2
        expect_kinds "$kind"
        stop_pwcd
        grep '^main' "$T/counts" >"$T/counts.main"
        points crash <"$T/counts.main" >"$T/points.$kind"
        points error <"$T/counts.main" >>"$T/points.$kind"
    done
    each_kind super_point
    sum_up "crash and error of the supervisor"
}

# ---- the start: of the supervisor until it is ready, of the nursery and of the first stages, made by it and executed ----

# counts_at_ready NAME PROGRAM
counts_at_ready() {
    STAGE=$2
    start_traced --workers 2
    show_points >"$T/counts.$1"
    stop_pwcd
}

# points_of KIND ROLES COUNTS...: all points of the roles.
points_of() {
    local kind=$1 roles=$2
    shift 2
    cat "$@" | grep -E "^($roles) " >"$T/counts"
    points crash <"$T/counts" >"$T/points.$kind"
    points error <"$T/counts" >>"$T/points.$kind"
}

start_point() {
    local kind=$1
    POINT=$2
    LINES_BEFORE=$(wc -l <"$T/log")
    STAGE=$PROGRAM
    [[ $kind != direct ]] || STAGE=$T/direct
    PREFIX=("$INJECT" -c "$T/orders" "$T/answers" -a "$POINT" -r "$T/result")
    launch_pwcd --workers 2 --set ready_timeout=20s
    if ! first_word_soon; then
        CODE=$PID
    elif [[ $POINT != main*KILL ]]; then
        [[ $kind != main ]] || order result # the start is over: no job's
        serves_well "$kind"
    fi
    last_words
    ! grep -q hit "$T/result" || HIT=$((HIT + 1))
    case $WORD in
    signal) [[ $POINT == main*KILL ]] || wrong "pwcd died of signal $CODE: $(log_tail)" ;;
    exit) [[ $CODE -eq 0 ]] || refuses_well ;;
    esac
    [[ $WORD == exit ]] || serves_again
}

test_start() {
    PROGRAM=$STAGE
    direct_stages "$PROGRAM"
    counts_at_ready nursery "$PROGRAM"
    counts_at_ready direct "$T/direct"
    KINDS=(main nursery direct loader)
    points_of main main "$T/counts.nursery"
    points_of nursery 'nursery|spare' "$T/counts.nursery"
    points_of direct spare "$T/counts.direct"
    points_of loader loader "$T/counts.nursery"
    STAGE=$PROGRAM
    PREFIX=()
    start_pwcd --workers 2
    expect_kinds copy
    stop_pwcd
    each_kind start_point
    sum_up "crash and error of the start"
}

# ---- the watchdog: whatever cannot be waited for, signs of life come ----

# Who sends one opens a socket for it; pwcd does nothing else here.
signs_of_life() {
    local sent
    sent=$(show_points | sed -n 's/^main socket //p')
    [[ ${sent:-0} -ge 5 ]]
}

watchdog_point() {
    POINT=$2
    LINES_BEFORE=$(wc -l <"$T/log")
    PREFIX=("$INJECT" -c "$T/orders" "$T/answers" -a "$POINT" -r "$T/result")
    launch_pwcd --workers 1
    if first_word; then
        order pid
        PID=$ANSWER
        order count
        until_true "signs of life, at $POINT" signs_of_life
        kill -TERM "$PID" 2>/dev/null || :
    else
        CODE=$PID
    fi
    last_words
    ! grep -q hit "$T/result" || HIT=$((HIT + 1))
    [[ $WORD == exit ]] || wrong "pwcd died of signal $CODE: $(log_tail)"
    [[ $CODE -eq 0 ]] || refuses_well
}

test_watchdog() {
    export WATCHDOG_USEC=200000
    unset WATCHDOG_PID
    KINDS=(watchdog)
    start_traced --workers 1
    show_points | grep -E '^main (timerfd_create|timerfd_settime|epoll_ctl) ' >"$T/counts"
    stop_pwcd
    points error <"$T/counts" >"$T/points.watchdog"
    each_kind watchdog_point
    sum_up "error of what gives signs of life"
}

run_tests "$@"
