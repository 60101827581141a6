#!/bin/bash
# A nursery that lives, and all that it makes dies: it has come to something that its children cannot live with. That it dies
# itself is looked at in steps.sh, that it stands still in failures.sh, that SIGKILL does not end it in slow.sh.
. "$(dirname "$0")/lib.sh"

setup() {
    expect_log 'nursery .* makes only stages that die before they are ready \(.+\): ended'
}

nurseries() {
    grep -c 'nursery ready' "$T/log" || :
}

# Each chunk wants a process of its own; none is charged for what others died of.
a_job_of_many_processes() {
    run_ok fault.none n="$1" --isolation chunk --json
    equal "chunks" "$1" "$(field chunks)"
    equal "deaths" 0 "$(field deaths)"
}

# falls_sick LIMIT: another nursery takes its place, and what is needed meanwhile is executed. No job fails of it.
falls_sick() {
    [[ -n $(type -P prlimit) ]] || skip "needs prlimit"
    start_pwcd --workers 1 --set cgroups=no
    local nursery
    until_true "the nursery" a_stage '.role == "nursery" and .state == "ready"'
    nursery=$VICTIM
    limit_of "$nursery" "$1"
    a_job_of_many_processes 20
    until_true "another nursery" a_stage ".role == \"nursery\" and .state == \"ready\" and .pid != $nursery"
    equal "lines about it" 1 "$(grep -cF "nursery (pid $nursery)" "$T/log")"
    a_job_of_many_processes 20
    equal "nurseries" 2 "$(nurseries)"
}

# There is no room for the descriptors that come with Enter.
test_its_stages_die_as_they_enter() {
    falls_sick --nofile=6:
}

# Nor addresses for what they are to map.
test_its_stages_find_no_memory() {
    [[ -z $SANITIZED ]] || skip "sanitizers end the nursery itself"
    expect_log 'enter: Cannot allocate memory, ending'
    falls_sick --as=1:
}

# So are all nurseries there are; what is executed is well. They come ever more slowly: while a test may last, one after
# another 100 ms, 200, ..., 25.6 s, and the rest after 30 s each.
test_all_nurseries_are_sick() {
    # shellcheck disable=SC2016 # the script's own
    printf '#!/bin/bash\n[[ $1 != --nursery ]] || ulimit -n 6\nexec %s "$@"\n' "$STAGE" >"$T/stage"
    chmod +x "$T/stage"
    STAGE=$T/stage
    start_pwcd --workers 1 --set cgroups=no
    a_job_of_many_processes 60
    [[ $(nurseries) -ge 2 && $(nurseries) -le 20 ]] || fail "$(nurseries) nurseries"
    equal "health" ok "$("$PWCCTL" status --json | jq -r .daemon.health)"
}

run_tests "$@"
