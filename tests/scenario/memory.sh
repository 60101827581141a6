#!/bin/bash
# A stage that eats memory is ended before it takes the machine, whoever sees it: the supervisor, the kernel for the
# stage's own cgroup, the kernel for a larger one, the stage itself. Each is told apart.
. "$(dirname "$0")/lib.sh"

# A stage with a limit that it can keep.
need_limits() {
    [[ -z $SANITIZED ]] || skip "sanitizers reserve terabytes"
}

GROUP=

# Nothing lives in it once pwcd has ended, in whatever way the test has.
teardown() {
    [[ -n $GROUP ]] || return 0
    [[ -z ${PID-} ]] || stop_pwcd || kill -KILL "$PID"
    until_true "an empty $GROUP" remove_group
}

remove_group() {
    find "$GROUP" -depth -type d -exec rmdir {} \; 2>/dev/null || :
    [[ ! -e $GROUP ]]
}

# The death that the newest record tells of.
last_death() {
    "$PWCCTL" deaths --json | jq -r ".deaths | last | .$1"
}

died_of_memory() {
    equal "cause" oom "$(last_death cause)"
    equal "seen by" "$1" "$(last_death oom_by)"
}

# eats LIMIT PATTERN ARGUMENT...: two attempts fail, the third is well; with no attempt left the reason is in one line.
eats() {
    local pattern=$1
    shift
    run_ok fault.leak n=9 at=3 attempts=2 --json "$@"
    equal "chunks" 9 "$(field chunks)"
    equal "deaths" 2 "$(field deaths)"
    refused 1 "chunk 3 $pattern, attempt 1 of 1" -q fault.leak n=9 at=3 attempts=9 --retries 0 "$@"
}

status_says() {
    "$PWCCTL" status | grep -qE "^memory +$1" || fail "status does not say '$1': $("$PWCCTL" status)"
}

test_watched() {
    need_limits
    start_pwcd --workers 2 --set cgroups=no
    status_says 'watched ten times a second \(cgroups = no\)'
    eats 'killed.*: over its memory limit of 100M' --memory 100M
    died_of_memory supervisor
}

# Not even what no process has mapped, or what is no page of the stage's.
test_no_memory_is_unseen() {
    need_limits
    start_pwcd --workers 2 --set cgroups=no
    refused 1 'memfd_create: Operation not permitted' -q fault.hoard n=1 call=memfd bytes=300000000 --memory 100M
    refused 1 'mmap: Operation not permitted' -q fault.hoard n=1 call=shared bytes=300000000 --memory 100M
    refused 1 'killed.*: over its memory limit of 100M' -q fault.hoard n=1 call=tables bytes=300000000 --memory 100M \
        --retries 0
    died_of_memory supervisor
}

# What a job without a limit has left in its stages is not blamed on the next one's chunks: others do them.
test_limit_below_what_the_job_before_left() {
    need_limits
    start_pwcd --workers 2 --set cgroups=no
    run_ok fault.leak n=9 at=3 attempts=9 bytes=200000000
    run_ok fault.none n=6 ms=300 --memory 100M --json
    equal "deaths" 0 "$(field deaths)"
    run_ok fault.none n=6 ms=300 --memory 200M --json
    equal "deaths" 0 "$(field deaths)"
}

# Its allocations fail first.
test_own_limit() {
    need_limits
    start_pwcd --workers 2 --set memory=100M --set cgroups=no
    eats 'ended in .*: no memory left of its limit of 100M'
    died_of_memory stage
}

# What could not be opened for want of memory is opened anew, in the same process.
test_opened_again() {
    start_pwcd --workers 1
    run_ok fault.poor n=50 --retries oom=9 --json
    equal "chunks that were done" 50 "$(field "done")"
    equal "deaths" 0 "$(field deaths)"
    equal "causes" no-memory "$("$PWCCTL" deaths --json | jq -r '[.deaths[].cause] | unique | join(" ")')"
}

# What the jobs before have left in a process is not there for the next one, whose second attempt is another process'.
test_own_limit_and_what_the_jobs_before_left() {
    local others
    need_limits
    need_vips
    vips black in.tif 4000 3000 --bands 4
    start_pwcd --workers 1 --set memory=300M --set cgroups=no
    run_ok fault.leak n=9 at=3 attempts=9 bytes=240000000
    others='.role == "parked" and .chunks < 9'
    # shellcheck disable=SC2046 # several
    kill -KILL $(stage_pids "$others") 2>/dev/null || :
    until_true "only the process that leaked" eval '[[ -z $(stage_pids "$others") && -n $(stage_pids ".chunks == 9") ]]'
    run_ok image.hist_equal in.tif -o out.tif
    equal "causes" no-memory "$("$PWCCTL" deaths --json | jq -r '[.deaths[].cause] | join(" ")')"
    equal "the process that leaked" "" "$(stage_pids ".chunks == 9")"
}

# A library that says no for want of memory is no op's error: it is tried again.
test_own_limit_that_libraries_meet() {
    need_limits
    need_vips
    local limit sigma causes=
    vips gaussnoise noise.v 3000 2000
    vips cast noise.v in.png uchar
    for limit in 24M 32M 40M 48M; do
        start_pwcd --workers 2 --set memory="$limit" --set cgroups=no
        for sigma in 6 20; do run -q image.gaussblur in.png -o out.png sigma="$sigma"; done
        run -q image.invert in.png -o out.webp
        causes+=" $("$PWCCTL" deaths --json | jq -r '.deaths[] | "\(.cause): \(.reason)"')"
        stop_pwcd
        rm -f out.png out.webp
    done
    rm noise.v in.png
    [[ $causes == *no-memory:* ]] || note "no library came upon it: $causes"
    [[ $causes != *op:* ]] || fail "an op's error: $causes"
}

# Nor is it the file's fault: libtiff wants room for a strip of it.
test_own_limit_that_libtiff_meets() {
    need_limits
    need_vips
    local limit causes=
    vips grey wide.v 8400000 2 --uchar
    vips copy wide.v in.tif
    rm wide.v
    for limit in 60M 70M 80M 90M 100M; do
        start_pwcd --workers 1 --set memory="$limit" --set cgroups=no
        run -q image.cast in.tif -o out.raw format=double
        causes+=" $("$PWCCTL" deaths --json | jq -r '.deaths[] | "\(.cause): \(.reason)"')"
        stop_pwcd
        rm -f out.raw
    done
    rm in.tif
    [[ $causes == *no-memory:* || $causes == *oom:* ]] || fail "memory was never short: $causes"
    [[ $causes != *bad-input:* ]] || fail "blamed on the file: $causes"
}

# ---- whom the kernel ends first ----

both_seats_work() {
    [[ $(stage_pids "$WORKING" | wc -l) -eq 2 ]]
}

# stages_come_first FILTER: the kernel would end each of these rather than pwcd, or anybody who has not said so himself.
stages_come_first() {
    local pids pid score
    mapfile -t pids < <(stage_pids "$1")
    ((${#pids[@]} > 0)) || fail "no stage with $1"
    for pid in "${pids[@]}"; do
        score=$(cat "/proc/$pid/oom_score_adj" 2>/dev/null) || continue
        [[ $score -ge 500 ]] || fail "stage $pid with $1 has oom_score_adj $score"
    done
}

test_stages_are_ended_first() {
    [[ $(</proc/self/oom_score_adj) -lt 500 ]] || skip "whoever runs this comes first as well"
    expect_log 'nursery .* died'
    start_pwcd --workers 2
    [[ $(<"/proc/$PID/oom_score_adj") -lt 500 ]] || fail "pwcd itself comes first"
    until_true "a spare" a_stage '.role == "spare"'
    stages_come_first true
    in_background job "$PWCCTL" run fault.none n=100000 ms=20
    until_true "both seats in use" both_seats_work
    stages_come_first "$WORKING"
    kill_stage KILL '.role == "nursery"'
    kill_stage KILL "$WORKING" # the next one may be executed directly
    until_true "both seats in use" both_seats_work
    stages_come_first true
    kill -INT "$BG"
    finish_background "$BG"
}

# ---- the machine runs short ----

# machine_has PERCENT: so much is available of a machine of 1 GiB, as pwcd reads it.
machine_has() {
    printf 'MemTotal:        1000000 kB\nMemAvailable:    %7d kB\n' $(($1 * 10000)) 1<>"$T/meminfo"
}

start_on_a_machine_with() {
    need_root
    unshare -m true 2>/dev/null || skip "no mount namespaces here"
    machine_has "$1"
    # shellcheck disable=SC2016 # expanded there
    PREFIX=(unshare -m bash -c 'mount --bind "$1" /proc/meminfo && shift && exec "$@"' - "$T/meminfo")
    start_pwcd --workers 2 --set cgroups=no
}

jobs_wait_for() {
    [[ $("$PWCCTL" jobs --json | jq -r '.jobs[0].waiting // ""') == "$1" ]]
}

# One lease at a time, and both `jobs` and `status` say why; with memory again both seats are taken.
test_short_machine() {
    start_on_a_machine_with 4
    in_background job "$PWCCTL" run fault.none n=100000 ms=20
    until_true "a job that waits for memory" jobs_wait_for memory
    "$PWCCTL" status | grep -q 'waiting: memory' || fail "status does not say why: $("$PWCCTL" status)"
    [[ $(stage_pids "$WORKING" | wc -l) -le 1 ]] || fail "more than one stage works"
    machine_has 50
    until_true "a job that waits for nothing" jobs_wait_for ""
    until_true "both seats in use" both_seats_work
    kill -INT "$BG"
    finish_background "$BG"
}

# stalls PERCENT: for so much of the time all who work on this machine wait for memory, as pwcd reads it.
stalls() {
    printf 'some avg10=%05.2f avg60=00.00 avg300=00.00 total=0\nfull avg10=%05.2f avg60=00.00 avg300=00.00 total=0\n' \
        "$1" "$1" 1<>"$T/psi"
}

# There is memory, and everybody waits for it all the same.
test_machine_that_stalls() {
    need_root
    unshare -m true 2>/dev/null || skip "no mount namespaces here"
    [[ -e /proc/pressure/memory ]] || skip "this kernel does not tell of pressure"
    stalls 40
    # shellcheck disable=SC2016 # expanded there
    PREFIX=(unshare -m bash -c 'mount --bind "$1" /proc/pressure/memory && shift && exec "$@"' - "$T/psi")
    start_pwcd --workers 2 --set cgroups=no
    in_background job "$PWCCTL" run fault.none n=100000 ms=20
    until_true "a job that waits for memory" jobs_wait_for memory
    "$PWCCTL" status | grep -q 'waiting: memory' || fail "status does not say why: $("$PWCCTL" status)"
    stalls 0
    until_true "a job that waits for nothing" jobs_wait_for ""
    until_true "both seats in use" both_seats_work
    kill -INT "$BG"
    finish_background "$BG"
}

# group_has PERCENT: so much is left of the 1 GiB that the cgroup around pwcd may have, as pwcd reads it.
group_has() {
    printf '%09d\n' $(((100 - $1) * 10000000)) 1<>"$T/group/memory.current"
}

# The unit's MemoryMax=, or a container's: there the machine may have plenty.
test_short_cgroup() {
    local tree
    need_root
    unshare -m true 2>/dev/null || skip "no mount namespaces here"
    tree=$(awk '$4 == "/" && / - cgroup2 / {print $5; exit}' /proc/self/mountinfo)
    [[ -n $tree ]] || skip "no cgroup v2 tree"
    mkdir "$T/group"
    echo 1000000000 >"$T/group/memory.max"
    group_has 4
    # shellcheck disable=SC2016 # expanded there
    PREFIX=(unshare -m bash -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' - "$T/group" "$tree")
    start_pwcd --workers 2 --set cgroups=no
    in_background job "$PWCCTL" run fault.none n=100000 ms=20
    until_true "a job that waits for memory" jobs_wait_for memory
    group_has 50
    until_true "both seats in use" both_seats_work
    kill -INT "$BG"
    finish_background "$BG"
}

# Who sleeps in a chunk may be waiting for pages: that is no reason to give out more.
test_short_machine_lends_no_seat() {
    local n
    start_on_a_machine_with 4
    in_background job "$PWCCTL" run fault.none n=100000 ms=1000
    until_true "a job that waits for memory" jobs_wait_for memory
    until job_done_at_least 3; do
        n=$(stage_pids "$WORKING" | wc -l)
        [[ $n -le 1 ]] || fail "$n stages work"
    done
    kill -INT "$BG"
    finish_background "$BG"
}

# Nobody has set a limit. Who holds little is not ended: that would help nobody.
test_last_of_the_machine() {
    start_on_a_machine_with 1
    run_ok fault.none n=100 ms=5 --json
    equal "deaths" 0 "$(field deaths)"
    expect_log 'holds [0-9]+ MiB, and the machine has hardly any left'
    eats 'killed.*: the machine ran out of memory, of which it held the most'
    died_of_memory machine
}

# No machine that says so, but one that really has no more: whoever is first, pwcd or the kernel, ends the stage that eats it.
test_whole_machine() {
    need_limits
    [[ $(awk '/^MemTotal:/ {print $2}' /proc/meminfo) -lt 500000 ]] || skip "this machine has 500 MB of memory or more"
    expect_log 'holds [0-9]+ MiB, and the machine has hardly any left|(^|[^a-z])died'
    start_pwcd --workers 2 --set cgroups=no
    in_background other "$PWCCTL" run fault.none n=300 ms=20 --json
    eats '(killed: by the kernel for want of memory|killed.*: the machine ran out of memory, of which it held the most)' bytes=4000000000
    note "seen by $(last_death oom_by)"
    [[ $(last_death oom_by) =~ ^(kernel|machine)$ ]] || fail "seen by $(last_death oom_by)"
    finish_background "$BG"
    equal "exit status of the other job" 0 "$RC"
    equal "deaths in the other job" 0 "$(jq '[.. | .deaths? // empty] | first' other.out)"
    daemon_alive
}

# The same while pwcd itself does not get to look: only the kernel can end it, and pwcd learns why when it runs again.
test_whole_machine_unwatched() {
    need_limits
    [[ $(awk '/^MemTotal:/ {print $2}' /proc/meminfo) -lt 500000 ]] || skip "this machine has 500 MB of memory or more"
    start_pwcd --workers 2 --set cgroups=no
    in_background job "$PWCCTL" run -q fault.leak n=1 attempts=1 bytes=4000000000 --retries oom=2
    until_true "a worker" a_stage "$WORKING"
    kill -STOP "$PID"
    until_true "its end" is_dead "$VICTIM"
    kill -CONT "$PID"
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    equal "seen by" kernel "$(last_death oom_by)"
    equal "cause" oom "$(last_death cause)"
}

# A child that pwcd has not waited for yet.
is_dead() {
    [[ ! -e /proc/$1/stat || $(</proc/"$1"/stat) == *") Z "* ]] 2>/dev/null
}

# A consumer has no seat, and here nobody has one any more.
test_last_of_the_machine_when_only_a_consumer_works() {
    start_on_a_machine_with 1
    expect_log 'holds [0-9]+ MiB, and the machine has hardly any left'
    head -c 400000 /dev/zero >in
    refused 1 'the machine ran out of memory, of which it held the most' -q fault.copy in -o out chunk=60000 eat=merge at=6 --retries 0
    died_of_memory machine
}

# field_of_job OP FIELD: of the job of that op that there is.
field_of_job() {
    "$PWCCTL" jobs --json | jq -r ".jobs[] | select(.op == \"$1\") | .$2 // \"\""
}

waits_for_memory() {
    [[ $(field_of_job "$1" waiting) == memory ]]
}

was_the_largest() {
    [[ $(last_death oom_by 2>/dev/null) == machine ]]
}

# eaten_beside_others ARGUMENT...: a copy that eats the memory while another job of its user computes is ended as the largest.
# Its next attempt begins when the other one is over, and not before; who has another label does not wait.
eaten_beside_others() {
    local other
    start_on_a_machine_with 50
    expect_log 'holds [0-9]+ MiB, and the machine has hardly any left'
    head -c 200000 /dev/urandom >in
    in_background other "$PWCCTL" run fault.hang n=1
    other=$BG
    until_true "a job that computes" a_stage "$WORKING"
    in_background copy "$PWCCTL" run -q fault.copy in -o out "$@"
    machine_has_once_it_runs 1
    until_true "the end of the largest" was_the_largest
    machine_has 50
    run_ok fault.none n=3 --domain elsewhere
    until_true "a copy that waits for the memory" waits_for_memory fault.copy
    run_ok fault.none n=3 --domain elsewhere
    waits_for_memory fault.copy || fail "the copy waits for '$(field_of_job fault.copy waiting)'"
    kill -INT "$other"
    finish_background "$other"
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    same in out
}

copy_runs() {
    [[ $(field_of_job fault.copy state) == running || $(field_of_job fault.copy state) == planning ]]
}

machine_has_once_it_runs() {
    until_true "a copy that runs" copy_runs
    machine_has "$1"
}

test_chunk_that_needs_the_memory_for_itself() {
    eaten_beside_others eat=process at=0 chunk=65536
}

test_planner_that_needs_the_memory_for_itself() {
    eaten_beside_others eat=whole at=0 chunk=1000000
}

# ---- results that wait ----

arenas_of() {
    grep -cs pwc-arena "/proc/$1/maps" || :
}

# They wait in the arenas of eight workers, all of which the slow consumer maps: more than the job's limit of memory, but
# not the consumer's.
test_results_are_not_the_consumers() {
    start_pwcd --workers 8 --set cgroups=no
    truncate -s 144M in
    run_ok fault.copy in -o out slow=merge ms=100 chunk=6291456 --memory 40M --json
    same in out
    equal "deaths" 0 "$(field deaths)"
}

# Each chunk's process leaves an arena behind. The consumer, slower than they, has only those mapped in which something
# waits for it, and they wait when it is too many.
test_arenas_of_gone_workers() {
    local consumer now most=0
    start_pwcd --workers 2
    head -c $((100 * 65536)) /dev/urandom >in
    in_background job "$PWCCTL" run fault.copy in -o out slow=merge ms=20 --isolation chunk
    until_true "a consumer" a_stage '.role == "consumer"'
    consumer=$VICTIM
    until gone "$consumer"; do
        now=$(arenas_of "$consumer")
        ((${now:-0} <= most)) || most=$now
        tick
    done
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    same in out
    note "arenas at most: $most"
    [[ $most -ge 1 && $most -le 12 ]] || fail "the consumer had $most arenas mapped"
}

# ---- in a cgroup ----

# new_group PARENT: its name goes to GROUP.
new_group() {
    mkdir "$1/pwc-memory-$$" 2>/dev/null || skip "cannot make a cgroup in $1"
    GROUP=$1/pwc-memory-$$
}

# Starts pwcd as the only process of GROUP.
start_in_group() {
    # shellcheck disable=SC2016 # expanded there
    PREFIX=(bash -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' - "$GROUP" "$@")
    start_pwcd --workers 2
}

# The machine's memory, or a container's: not the limit of a stage. Where pwcd sees that limit too, it may be there first
# if the kernel is slow to fill it.
test_kernel_kills() {
    need_limits
    need_root
    local how=' by the kernel for want of memory' who=kernel
    if grep -qsw memory /sys/fs/cgroup/cgroup.controllers; then
        grep -qsw memory /sys/fs/cgroup/cgroup.subtree_control || skip "no memory controller below the root cgroup"
        new_group /sys/fs/cgroup
        echo 300M >"$GROUP/memory.max"
        expect_log 'has hardly any left'
        how="($how|: the machine ran out of memory, of which it held the most)" who='(kernel|machine)'
    elif [[ -w /sys/fs/cgroup/memory/memory.limit_in_bytes ]]; then
        new_group /sys/fs/cgroup/memory
        echo 300M >"$GROUP/memory.limit_in_bytes"
    else
        skip "no memory controller"
    fi
    start_in_group
    eats "killed$how"
    equal "cause" oom "$(last_death cause)"
    [[ $(last_death oom_by) =~ ^$who$ ]] || fail "seen by $(last_death oom_by)"
    daemon_alive
}

delegated_group() {
    need_root
    grep -qsw memory /sys/fs/cgroup/cgroup.controllers || skip "no memory controller in a cgroup v2 tree"
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || skip "the memory controller cannot be handed down"
    new_group /sys/fs/cgroup
}

# As a service manager delegates to an ordinary user.
delegate_to() {
    chown "$1" "$GROUP" "$GROUP/cgroup.procs" "$GROUP/cgroup.subtree_control" "$GROUP/cgroup.threads"
}

# Every stage in one of its own.
groups_are_those_of_stages() {
    local pids pid
    mapfile -t pids < <(stage_pids '.role != "nursery"')
    for pid in "${pids[@]}"; do
        grep -o '/stage-[0-9]*$' "/proc/$pid/cgroup"
    done 2>/dev/null | sort -u >"$T/groups" || :
    [[ ${#pids[@]} -ge 3 && $(wc -l <"$T/groups") -eq ${#pids[@]} ]]
}

test_cgroup_of_each_stage() {
    need_limits
    delegated_group
    # shellcheck disable=SC2034 # for lib.sh
    DAEMON_USER=nobody
    delegate_to nobody
    chmod 777 "$T/w"
    start_in_group setpriv --reuid nobody --regid nogroup --clear-groups
    status_says "a cgroup for each stage, in $GROUP"
    eats 'killed: over its memory limit of 100M' --memory 100M
    died_of_memory cgroup
    [[ $(last_death rss_peak) -ge 90000000 ]] || fail "peak $(last_death rss_peak)"
    eats 'killed: over its memory limit of 120M' --memory 120M # used again, with another limit
    until_true "a cgroup for each stage" groups_are_those_of_stages
    grep -q '/supervisor$' "/proc/$PID/cgroup" || fail "pwcd is in $(<"/proc/$PID/cgroup")"
    # The next job has another limit, and one without any may have more.
    run_ok fault.leak n=9 at=3 attempts=9 bytes=200000000 --json
    equal "deaths" 0 "$(field deaths)"
    stop_pwcd
    [[ -z $(find "$GROUP" -name 'stage-*') ]] || fail "cgroups left: $(find "$GROUP" -name 'stage-*')"
}

test_cgroups_of_a_crash_are_removed() {
    delegated_group
    # shellcheck disable=SC2034
    DAEMON_USER=nobody
    delegate_to nobody
    start_in_group setpriv --reuid nobody --regid nogroup --clear-groups
    crash_pwcd
    [[ -n $(find "$GROUP" -name 'stage-*') ]] || fail "nothing was left: this proves nothing"
    # The root of a tree that hands controllers down takes no process.
    PREFIX=(bash -c 'echo $$ >"$1/supervisor/cgroup.procs" && shift && exec "$@"' - "$GROUP" setpriv --reuid nobody --regid nogroup
        --clear-groups)
    chown nobody "$GROUP"/supervisor/cgroup.procs
    rm "$T/log"
    start_pwcd --workers 2
    status_says "a cgroup for each stage, in $GROUP"
    until_true "a cgroup for each stage" groups_are_those_of_stages
}

# Root's own cgroup is not ours just because root may write there.
test_root_takes_nothing_undelegated() {
    need_root
    start_pwcd --workers 2
    status_says 'watched ten times a second'
}

run_tests "$@"
