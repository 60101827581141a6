#!/bin/bash
# Chaos: jobs of eight kinds from several clients while the processes under them are killed, stopped and crashed; see
# chaos.h. The daemon is a real one; lib.sh looks for what is left behind.
#
#   PWC_CHAOS_SEED     repeats a run, as far as the scheduler does; the default is new each time, and printed
#   PWC_CHAOS_JOBS     how many (200)      PWC_CHAOS_CLIENTS  connections at once (6)
#   PWC_CHAOS_RATE     signals a second, from and to ("10 100")
# 200 jobs take some 40 s on two cores of their own; chaos slows down with everybody else.
PWC_TEST_LIMIT=${PWC_TEST_LIMIT:-$((900 + ${PWC_CHAOS_JOBS:-200} * 2))}
. "$(dirname "$0")/../scenario/lib.sh"
[[ ${1-} == --one ]] || exec 3>&1 # counts are shown whether it went well or not

make_inputs() {
    mkdir in
    head -c 33554432 /dev/urandom >in/numbers
    head -c 3000000 in/numbers >in/bytes
    [[ -n $(type -P vips) ]] && grep -q "^#define HAVE_VIPS 1" "$PWC_BUILD/config.h" || return 0
    vips rawload in/numbers n.v 2700 2500 3 2>/dev/null
    vips gaussblur n.v m.v 1
    vips tiffsave m.v in/large.tif
    vips extract_area m.v s.v 100 100 320 240
    vips tiffsave s.v in/small.tif
    rm n.v m.v s.v
}

# Short times to notice what stopped, so that a run is short; a small memory of the past, so that it is level soon.
test_chaos() {
    local rate seed=${PWC_CHAOS_SEED:-$((RANDOM * 32768 + RANDOM))}
    read -ra rate <<<"${PWC_CHAOS_RATE:-10 100}"
    make_inputs
    # It reads all mappings, also of scratch files that were cut because their job is over: SIGBUS. Leaks are looked for by the others.
    [[ -z $SANITIZED ]] || export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
    start_pwcd --workers 2 --set stall_timeout=500ms --set ready_timeout=2s --set idle_stage_timeout=500ms \
        --set history=20 --set deaths_kept=20
    expect_log 'nursery|stage'
    "$PWC_BUILD/tests/chaos/chaos" "$S" "$PID" "$PWD/in" "${PWC_CHAOS_JOBS:-200}" "${PWC_CHAOS_CLIENTS:-6}" \
        "${rate[@]}" "$seed" >&3 3>&-
}

run_tests "$@"
