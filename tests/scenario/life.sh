#!/bin/bash
# The daemon's own life: stopping under load, signals, configuration, sockets.
. "$(dirname "$0")/lib.sh"

# A short job that runs when SIGTERM comes is finished first.
test_stop_finishes_what_runs() {
    start_pwcd --workers 2
    in_background job "$PWCCTL" run fault.none n=200 ms=5 --json
    until_true "a little of the job" job_done_at_least 10
    stop_pwcd
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    cp job.out "$T/out"
    equal "chunks" 200 "$(field chunks)"
}

# Who comes meanwhile hears why nothing more is taken, and can see how far it is.
test_stop_is_told() {
    start_pwcd --workers 2
    in_background job "$PWCCTL" run fault.none n=100000 ms=5 --json
    local job=$BG
    until_true "a little of the job" job_done_at_least 10
    kill -TERM "$PID"
    await_line "$T/log" 'stopping'
    refused 75 'the daemon is shutting down' noop n=1
    equal "health" "shutting down" "$("$PWCCTL" status --json | jq -r .daemon.health)"
    equal "state of the job" running "$("$PWCCTL" jobs --json | jq -r '.jobs[0].state')"
    "$PWCCTL" cancel 1
    mind_says "exit 0"
    mind_says "left 0"
    end_pwcd
    finish_background "$job"
    equal "exit status" 4 "$RC"
}

# It needs processes for that: one a chunk here, and the stock is soon used up; with the nursery dead as well they are
# executed until it is back.
test_stop_goes_on_making_stages() {
    local nursery
    start_pwcd --workers 2
    in_background job "$PWCCTL" run fault.none n=60 ms=50 --isolation chunk --json
    until_true "a little of the job" job_done_at_least 4
    nursery=$(stage_pids '.role == "nursery"')
    expect_log 'nursery .* died'
    kill -TERM "$PID"
    await_line "$T/log" 'stopping'
    kill -KILL "$nursery"
    mind_says "exit 0"
    mind_says "left 0"
    end_pwcd
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    cp job.out "$T/out"
    equal "chunks" 60 "$(field chunks)"
}

# A long one is ended when its grace is over.
test_stop_ends_what_would_run_on() {
    start_pwcd --workers 2 --set shutdown_grace=100ms
    in_background job "$PWCCTL" run fault.none n=1000000 ms=5
    until_true "a little of the job" job_done_at_least 10
    stop_pwcd
    finish_background "$BG"
    [[ $RC -ne 0 ]] || fail "the job cannot have succeeded"
    grep -qiE 'shut|stop' job.err || fail "no reason: $(<job.err)"
}

test_stop_at_rest_is_quick() {
    start_pwcd
    local begin=$SECONDS
    stop_pwcd
    [[ $((SECONDS - begin)) -le 10 ]] || fail "took $((SECONDS - begin)) s"
}

# A mask of signals survives exec: who starts us from a thread that leaves signals to others hands theirs on.
test_blocked_signals_are_taken() {
    PREFIX=(env --block-signal=TERM --block-signal=INT --block-signal=HUP --block-signal=CHLD)
    printf 'max_pixels = 1000\n' >"$T/conf"
    start_pwcd --workers 2 --config "$T/conf"
    in_background job "${PREFIX[@]}" "$PWCCTL" run fault.none n=1000000 ms=5
    until_true "a little of the job" job_done_at_least 10
    kill -INT "$BG"
    finish_background "$BG"
    equal "exit status" 130 "$RC"
    kill -HUP "$PID"
    await_line "$T/log" 'configuration reloaded'
    stop_pwcd
}

test_reload() {
    printf 'max_pixels = 1000\n' >"$T/conf"
    start_pwcd --config "$T/conf"
    printf 'max_pixels = 2000\nretries_crash = 5\n' >"$T/conf"
    kill -HUP "$PID"
    await_line "$T/log" 'reload|configuration'
    daemon_alive
    expect_log 'nonsense'
    printf 'nonsense = 1\n' >"$T/conf"
    kill -HUP "$PID"
    await_line "$T/log" 'nonsense'
    daemon_alive
}

# remembered: how many jobs, deaths and chunks given up.
remembered() {
    printf '%s ' "$("$PWCCTL" jobs --json | jq '.jobs | length')" "$("$PWCCTL" deaths --json | jq '.deaths | length')" \
        "$("$PWCCTL" quarantine --json | jq '.quarantine | length')"
}

# What is kept already is no more than the new settings say, either; the newest stay.
test_reload_forgets() {
    printf 'history = 100\n' >"$T/conf"
    start_pwcd --workers 2 --config "$T/conf"
    local _
    for _ in 1 2 3 4 5; do run_ok noop n=1; done
    run fault.error n=9 every=true attempts=9 --on-failure skip
    equal "jobs, deaths, quarantine" "6 9 9 " "$(remembered)"
    printf 'history = 2\ndeaths_kept = 5\nquarantine_kept = 3\n' >"$T/conf"
    kill -HUP "$PID"
    await_line "$T/log" 'configuration reloaded'
    equal "jobs, deaths, quarantine" "2 5 3 " "$(remembered)"
    equal "jobs" "5 6" "$("$PWCCTL" jobs --json | jq -r '[.jobs[].job] | join(" ")')"
    printf 'history = 0\ndeaths_kept = 0\nquarantine_kept = 0\n' >"$T/conf"
    kill -HUP "$PID"
    until_true "all but the last to be forgotten" eval '[[ $(remembered) == "1 1 0 " ]]'
}

# A service manager that cannot be told of it, for want of a descriptor, is told later. Nobody's job ends of that.
test_reload_without_descriptors() {
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit (Debian package util-linux)"
    printf 'max_pixels = 1000\n' >"$T/conf"
    start_pwcd --config "$T/conf" --workers 1
    expect_log 'the service manager cannot be told of the reload yet'
    expect_log 'configuration not reloaded'
    local most
    in_background job "$PWCCTL" run fault.none n=40 ms=50
    until_true "a chunk, and all spares" settled 2
    most=$(prlimit --nofile --raw --noheadings --output SOFT --pid "$PID")
    prlimit --nofile=4: --pid "$PID"
    kill -HUP "$PID"
    await_line "$T/log" 'the service manager cannot be told of the reload yet' >line
    prlimit --nofile="$most": --pid "$PID"
    await_line "$T/log" 'the service manager knows of the reload now' >line
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<job.err)"
    daemon_alive
}

# The first stage tells which ops there are; before that nobody is served, whatever is asked meanwhile.
test_reload_before_it_is_ready() {
    mkfifo "$T/never"
    printf '#!/bin/bash\necho "$PPID" >%s\nread -r <%s\n' "$T/begun" "$T/never" >"$T/stage"
    chmod 755 "$T/stage"
    # shellcheck disable=SC2034 # for lib.sh
    STAGE=$T/stage
    launch_pwcd
    await_line "$T/begun" '^[0-9]+$' >pid
    kill -HUP "$(<pid)"
    await_line "$T/log" 'configuration reloaded'
    kill -TERM "$(<pid)"
    mind_says "exit 0"
    mind_says "left 0"
    end_pwcd
}

test_dump() {
    start_pwcd
    kill -USR1 "$PID"
    await_line "$T/log" 'seat'
    daemon_alive
}

# A log that nobody reads any more (a terminal at Ctrl-S, a pager) stops neither pwcd nor anybody's job. What does not fit
# is counted.
test_log_that_nobody_reads() {
    local reader line
    mkfifo "$T/full"
    exec {reader}<>"$T/full"
    head -c 61000 /dev/zero | tr '\0' '\n' >&"$reader" # of 64 KiB
    # shellcheck disable=SC2016,SC2034 # for the inner shell; for lib.sh
    PREFIX=(bash -c 'exec "$@" 2>"$0"' "$T/full")
    start_pwcd --workers 1
    for _ in {1..40}; do
        kill -USR1 "$PID"
        daemon_alive
    done
    run_ok noop n=1000
    head -c 61000 <&"$reader" >/dev/null # it is read again
    kill -USR1 "$PID"
    line=
    until [[ $line == *"lines of the log are lost"* ]]; do
        read -r -t "$WAIT_LIMIT" -u "$reader" line || fail "what is lost is not told"
    done
}

# ACCEPTS and PAUSES of the newest dump: from one line, because another dump may be on its way.
dumped() {
    local line
    line=$(grep -aoE 'accepts [0-9]+, pauses of accepting [0-9]+' "$T/log" | tail -n 1)
    ACCEPTS=${line//[!0-9 ]/} PAUSES=${line##* }
    read -r ACCEPTS _ <<<"$ACCEPTS"
}

paused_at_least() {
    kill -USR1 "$PID"
    dumped
    [[ $PAUSES -ge $1 ]]
}

# Fewer descriptors are allowed than pwcd holds: whoever connects cannot be accepted, nor turned away. Each failure is
# followed by a pause, none by another try at once; and when there are descriptors again, who waited is served.
test_no_descriptor_to_accept_with() {
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit (Debian package util-linux)"
    start_pwcd --workers 1
    expect_log 'cannot accept clients'
    local tries most
    most=$(prlimit --nofile --raw --noheadings --output SOFT --pid "$PID")
    kill -USR1 "$PID"
    await_line "$T/log" 'pauses of accepting 0' >line
    dumped
    tries=$ACCEPTS
    prlimit --nofile=4: --pid "$PID"
    "$PWCCTL" ping >pinged 2>&1 </dev/null &
    local client=$!
    until_true "five pauses" paused_at_least 5
    equal "tries beside those that led to a pause" 0 $((ACCEPTS - tries - PAUSES))
    equal "complaints" 1 "$(grep -c 'cannot accept clients' "$T/log")"
    prlimit --nofile="$most": --pid "$PID"
    wait "$client" || fail "who waited was not served: $(<pinged)"
    daemon_alive
}

nursery_is_back() {
    [[ -n $(stage_pids '.role == "nursery"') ]]
}

# The nursery dies while pwcd has no descriptor for another one: when it has, there is one again.
test_no_descriptor_for_the_nursery() {
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit (Debian package util-linux)"
    start_pwcd --workers 1
    expect_log 'nursery .* died'
    expect_log 'no channel for the nursery: Too many open files'
    local most nursery
    most=$(prlimit --nofile --raw --noheadings --output SOFT --pid "$PID")
    nursery=$(stage_pids '.role == "nursery"')
    prlimit --nofile=4: --pid "$PID"
    kill -KILL "$nursery"
    await_line "$T/log" 'nursery .* died' >line
    await_line "$T/log" 'no channel for the nursery' >line
    prlimit --nofile="$most": --pid "$PID"
    until_true "another nursery" nursery_is_back
    equal "complaints" 1 "$(grep -c 'no channel for the nursery' "$T/log")"
    run_ok noop n=10
}

# out_of_descriptors ARGUMENT...: a job each of whose chunks wants another process; while the first is computed, and nothing is
# on its way to pwcd, descriptors run out. FULL gets the limit that was. Returns when they are missed.
out_of_descriptors() {
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit (Debian package util-linux)"
    start_pwcd --workers 1
    expect_log 'cannot make the segment of a stage: Too many open files; trying again'
    in_background job "$PWCCTL" run fault.none n=3 ms=1500 --isolation chunk "$@"
    until_true "a chunk, and all spares" settled 2
    FULL=$(prlimit --nofile --raw --noheadings --output SOFT --pid "$PID")
    prlimit --nofile=4: --pid "$PID"
    await_line "$T/log" 'cannot make the segment of a stage' >line
}

# No process is to blame, and no job: it is told what it waits for, and when there are descriptors again it goes on with the
# spares that there were. The wait is longer than processes that do not start are borne.
test_no_descriptors_for_some_seconds() {
    out_of_descriptors --progress json
    local end=$((SECONDS + 5))
    await_line job.err '"waiting": *"descriptors"' >line
    until ((SECONDS >= end)); do tick; done
    prlimit --nofile="$FULL": --pid "$PID"
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(tail -n 1 job.err)"
    equal "deaths" 0 "$("$PWCCTL" deaths --json | jq '.deaths | length')"
    ! grep -E 'stage [0-9]+ .*(was killed|exited|was never made)' "$T/log" || fail "spares died of it"
    until_true "status to say that all is well" eval '[[ $("$PWCCTL" status --json | jq -r .daemon.health) == ok ]]'
}

# But not for ever.
test_no_descriptors_at_all() {
    out_of_descriptors -q
    finish_background "$BG"
    prlimit --nofile="$FULL": --pid "$PID"
    grep -q '^pwcctl: pwcd cannot make the segment of a stage: Too many open files$' job.err || fail "exit $RC: $(<job.err)"
    run_ok noop n=10
}

# What jobs have missed is told to who asks how pwcd is, for as long as it is so.
test_place_for_rasters_is_gone() {
    need_vips
    start_pwcd --workers 1
    vips black in.png 64 64
    mv "$T/scratch" "$T/away"
    local rc=0
    "$PWCCTL" run image.invert in.png -o out.png 2>job.err || rc=$?
    equal "exit status" 1 "$rc"
    equal "reason" "pwcctl: no scratch file in $T/scratch: No such file or directory" "$(<job.err)"
    "$PWCCTL" doctor >said && fail "all is well: $(<said)"
    grep -q "^pwcd .*: no scratch file in $T/scratch: No such file or directory\$" said || fail "said: $(<said)"
    mv "$T/away" "$T/scratch"
    "$PWCCTL" doctor >said || fail "said: $(<said)"
    run_ok image.invert in.png -o out.png
}

# Who is turned away is told why, and that it is worth another try.
test_too_many_connections() {
    start_pwcd --workers 1 --set clients_per_user=1
    expect_log 'turned away'
    in_background job "$PWCCTL" run fault.none n=100000 ms=5 --progress json
    local job=$BG rc=0
    # Nobody else may ask before the job's client is in: one who asks would take its place.
    await_line job.err '"done": *[1-9]' >progressed
    "$PWCCTL" ping >pinged 2>&1 || rc=$?
    equal "exit status" 75 "$rc"
    equal "lines" 1 "$(wc -l <pinged)"
    grep -q 'too many connections of yours (clients_per_user): try again later' pinged || fail "$(<pinged)"
    kill -INT "$job"
    finish_background "$job"
    until_true "room for another" "$PWCCTL" ping
}

# crowd N: so many connections that say hello and no more, until it or pwcd ends.
crowd() {
    exec perl -MSocket -e '$SIG{PIPE} = "IGNORE"; $| = 1;
        for (1 .. $ARGV[1]) {
            socket $s[$_], AF_UNIX, SOCK_STREAM, 0 or die; connect $s[$_], pack_sockaddr_un $ARGV[0] or die;
            syswrite $s[$_], pack "H*", "14000000010000000100000000000000" . "0400000008011001";
        }
        print "here\n"; 1 while sysread $s[1], $_, 4096' "$S" "$1"
}

pings_in_vain() {
    RC=0
    "$PWCCTL" ping >pinged 2>&1 || RC=$?
    [[ $RC -ne 0 ]]
}

# So is who comes when pwcd has no descriptor for him: it is pwcd that answers, and another try is worth it.
test_no_descriptor_for_a_connection() {
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit (Debian package util-linux)"
    start_pwcd --workers 1
    expect_log 'a client was turned away'
    prlimit --nofile=64: --pid "$PID"
    in_background crowd crowd 100
    await_line crowd.out here >line
    until_true "no descriptor left" pings_in_vain
    equal "exit status" 75 "$RC"
    equal "said" "pwcctl: pwcd refused the connection: pwcd has no descriptor left for one more connection: try again later" "$(<pinged)"
    kill "$BG"
    finish_background "$BG"
    until_true "room for another" "$PWCCTL" ping
}

test_check_prints_a_configuration_with_origins() {
    printf 'workers = 3\n' >"$T/conf"
    "$PWCD" -n --config "$T/conf" --socket "$S" --stage "$STAGE" --scratch "$T" --set max_frames=7 >out
    grep -qE "^workers += 3 +# $T/conf:1" out || fail "origin of a file's value: $(grep workers out)"
    grep -qE '^max_frames += 7 +# --set' out || fail "origin of a flag's value: $(grep max_frames out)"
    grep -qE '# default' out || fail "no default is named"
    [[ ! -e $S ]] || fail "-n made a socket"
    rm out
}

test_list_that_cannot_be_written() {
    local what rc
    for what in -n --help --version; do
        rc=0
        "$PWCD" "$what" --socket "$S" --stage "$STAGE" --scratch "$T" >/dev/full 2>out || rc=$?
        equal "exit status of $what" 71 "$rc"
        grep -q 'cannot write to stdout' out || fail "reason of $what: $(<out)"
    done
    rc=0
    "$PWCD" --version 2>out >&- || rc=$?
    equal "exit status without stdout" 71 "$rc"
    rm out
}

# Else a socket would be stderr, and the log go to whoever is at its other end.
test_closed_standard_descriptors() {
    need_root # whoever cannot be dumped shows nobody else his descriptors
    local closed fd pid
    for closed in '<&- >&- 2>&-' '2>&-' '>&-'; do
        PREFIX=(bash -c "exec \"\$@\" $closed" -)
        start_pwcd --workers 1
        run_ok noop n=10
        for pid in "$PID" $("$PWCCTL" workers --json | jq '.workers[].pid'); do
            for fd in 0 1 2; do
                [[ $(readlink "/proc/$pid/fd/$fd") =~ ^(/|pipe:) ]] ||
                    fail "$closed: descriptor $fd of $pid is '$(readlink "/proc/$pid/fd/$fd")'"
            done
        done
        stop_pwcd
    done
}

test_bad_configuration() {
    local rc=0
    printf 'workers = many\n' >"$T/conf"
    "$PWCD" --config "$T/conf" --socket "$S" --stage "$STAGE" >out 2>&1 || rc=$?
    equal "exit status" 78 "$rc"
    equal "lines" 1 "$(wc -l <out)"
    grep -q "$T/conf:1" out || fail "does not name the line: $(<out)"
    rm out
}

test_second_daemon_is_refused() {
    start_pwcd
    local rc=0
    "$PWCD" --socket "$S" --stage "$STAGE" --scratch "$T/scratch" >out 2>&1 </dev/null || rc=$?
    [[ $rc -ne 0 ]] || fail "two daemons on one socket"
    rm out
    daemon_alive
}

test_socket_of_a_dead_daemon_is_replaced() {
    start_pwcd
    kill -KILL "$PID"
    mind_says "signal 9"
    mind_says "left"
    end_pwcd
    [[ -S $S ]] || fail "expected a stale socket"
    start_pwcd
    daemon_alive
}

test_nothing_runs_without_libvips_linked() {
    ! ldd "$PWCD" | grep -q vips || fail "pwcd is linked with libvips"
}

# Layers are told by who is in them. After a pause all are retired: that says nothing of those before.
test_status_while_nobody_is_in_the_sandbox() {
    start_pwcd --workers 1
    local layers
    run_ok noop n=1
    layers=$("$PWCCTL" status | grep '^sandbox')
    [[ $layers == *no_new_privs* ]] || fail "with a stage: $layers"
    # shellcheck disable=SC2046 # several
    kill -KILL $(stage_pids '.role == "parked"')
    until_true "no stage that has entered" eval '[[ -z $(stage_pids ".role == \"parked\"") ]]'
    equal "without one" "sandbox  (no stage is in it just now)" "$("$PWCCTL" status | grep '^sandbox')"
}

# A spare that was idle for longer than libvips' threads live must still work. The wait is the test.
test_idle_spare_is_still_good() {
    need_vips
    start_pwcd --workers 1
    vips black small.png 64 64
    run_ok image.gaussblur small.png -o first.png sigma=1
    local end=$((SECONDS + 20))
    until ((SECONDS >= end)); do tick; done
    run_ok image.gaussblur small.png -o second.png sigma=2
    equal "deaths" 0 "$("$PWCCTL" deaths --json | jq '[.. | objects | select(has("signal"))] | length')"
}

# Until when the loop sleeps: the fourth argument of epoll_wait or epoll_pwait, or of epoll_pwait2 (441), to which no time at
# all is for good. A number of milliseconds is counted by a clock that lags behind, and may be over several times for one sign.
sleeps_for_good() {
    local call
    read -ra call <"/proc/$PID/syscall" || return
    case ${call[0]-}:${call[4]-} in
    441:0x0) true ;;
    *:0xffffffff | *:0xffffffffffffffff) [[ ${call[0]} != 441 ]] ;;
    *) false ;;
    esac
}

# One's own can always be read; Yama may deny everybody else's. Read by this shell: it is pwcd's ancestor, its children are not.
test_the_watchdog_does_not_shorten_the_sleep() {
    export WATCHDOG_USEC=1000000000
    unset WATCHDOG_PID
    start_pwcd --workers 1
    read -r _ 2>/dev/null <"/proc/$PID/syscall" || skip "nobody is told here in which call a process sleeps"
    until_true "the loop to sleep until something happens" sleeps_for_good
}

run_tests "$@"
