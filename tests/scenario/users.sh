#!/bin/bash
# Several users on one daemon: fair shares, nobody sees or ends another's job.
. "$(dirname "$0")/lib.sh"

setup() {
    need_users
    start_pwcd --workers 2 --set socket_mode=0666
    chmod 777 "$T/w"
}

job_of() {
    "$PWCCTL" jobs --json | jq -r "[.. | objects | select(has(\"state\") and .uid? == $1)] | last | $2"
}

test_identity_comes_from_the_socket() {
    as "$ALICE" "$PWCCTL" run fault.none n=10
    equal "uid of the job" "$ALICE" "$(job_of "$ALICE" .uid)"
}

# Bob comes while Alice has long work for both seats: he gets his share at once, not after her.
test_fair_between_users() {
    in_background_as alice "$ALICE" "$PWCCTL" run fault.none n=4000 ms=5
    local alice=$BG
    until_true "Alice's job to run" eval '[[ $(job_of $ALICE .state) == running ]]'
    as "$BOB" "$PWCCTL" run fault.none n=200 ms=5
    kill -0 "$alice" 2>/dev/null || fail "Bob had to wait for Alice"
    kill -INT "$alice"
    finish_background "$alice"
}

# Whatever stages die of while they enter the domains of one user, with the rights that one of his ops wants: neither his
# other jobs wait for it nor those of others, each of which needs stages of its own. His job ends with the reason.
test_stages_that_die_while_they_enter() {
    stop_pwcd
    export PWC_REAL_STAGE=$STAGE PWC_EVIL_RIGHTS=1 PWC_EVIL_FROM=1000000
    STAGE=$PWC_BUILD/tests/hostile/evil_stage
    start_pwcd --workers 2 --set socket_mode=0666
    in_background_as alice "$ALICE" "$PWCCTL" run -q fault.thread n=2 at=9
    local alice=$BG runs=0
    while kill -0 "$alice" 2>/dev/null; do
        as "$BOB" "$PWCCTL" run -q fault.none n=2 --isolation job >bob.out
        as "$ALICE" "$PWCCTL" run -q fault.none n=2 --isolation job >other.out
        runs=$((runs + 1))
    done
    finish_background "$alice"
    equal "exit status" 70 "$RC"
    grep -q 'no stage can be started: pwc-stage exited with status 9 before it was ready' alice.err || fail "$(<alice.err)"
    ((runs >= 3)) || fail "others had $runs jobs meanwhile"
    equal "health" ok "$("$PWCCTL" status --json | jq -r .daemon.health)"
    kill -TERM "$PID"
    mind_says "exit 0"
    mind_says "left" # the real ones behind, which are not pwcd's: they notice
    end_pwcd
}

consumers_wait() {
    [[ $(stage_pids '.role == "consumer"' | wc -l) -eq $1 && $(stage_pids "$WORKING" | wc -l) -eq 0 ]]
}

# Consumers that nobody lets go on and workers whose seats are lent are as many as stages_max: who comes has one all the same.
test_stages_that_wait_are_not_all_there_may_be() {
    local pids=() i
    stop_pwcd
    start_pwcd --workers 2 --set socket_mode=0666 --set stages_max=6 --set stall_timeout=0
    head -c 400000 /dev/zero >in
    for i in 1 2; do
        in_background_as "copy$i" "$ALICE" "$PWCCTL" run fault.copy in -o "out$i" chunk=60000 slow=merge ms=600000
        pids+=("$BG")
    done
    until_true "two consumers and nothing else to do" consumers_wait 2
    for i in "$ALICE" "$BOB"; do
        in_background_as "sleep$i" "$i" "$PWCCTL" run sleep n=2 ms=600000
        pids+=("$BG")
    done
    until_true "four that sleep in two seats" eval '[[ $(stage_pids "$WORKING" | wc -l) -eq 4 ]]'
    in_background root "$PWCCTL" run fault.none n=100
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "root's job: exit $RC: $(<root.err)"
    equal "stages that wait" 6 "$(stage_pids ".role == \"consumer\" or $WORKING" | wc -l)"
    for i in "${pids[@]}"; do kill -INT "$i"; done
    for i in "${pids[@]}"; do finish_background "$i"; done
}

hog() { # USER NAME
    in_background_as "$2" "$1" "$PWCCTL" run fault.hang n=1 at=0 attempts=9
    HOGS+=("$BG")
}

# Chunks that compute without end have every seat, and as many stages as there may be: who has none gets one on top, and is as
# little held up by a second one who does the same.
test_seats_that_never_come_free() {
    local HOGS=() i
    stop_pwcd
    start_pwcd --workers 2 --set socket_mode=0666 --set stages_max=3
    hog "$ALICE" alice1
    hog "$ALICE" alice2
    until_true "both seats to be Alice's" eval '[[ $(stage_pids "$WORKING" | wc -l) -eq 2 ]]'
    as "$BOB" "$PWCCTL" run fault.none n=200 ms=1 || fail "Bob's job"
    hog "$ALICE" alice3
    hog "$BOB" bob1
    hog "$BOB" bob2
    until_true "Bob to have one of his own" eval '[[ $(stage_pids "$WORKING and .uid == $BOB" | wc -l) -eq 1 ]]'
    head -c 400000 /dev/urandom >in
    "$PWCCTL" run fault.copy in -o out chunk=60000 || fail "root's job with a consumer"
    cmp in out || fail "root's copy"
    "$PWCCTL" run noop n=1000 || fail "root's job"
    equal "stages of Alice and Bob that compute" 3 "$(stage_pids "$WORKING" | wc -l)"
    kill -INT "${HOGS[0]}"
    finish_background "${HOGS[0]}"
    until_true "as many to compute as there are seats" eval '[[ $(stage_pids "$WORKING" | wc -l) -eq 2 ]]'
    as "$BOB" "$PWCCTL" jobs --json >jobs.json
    equal "Bob's job that waits, waits for" seats "$(jq -r '.jobs[] | select(.state == "queued") | .waiting' jobs.json)"
    kill -INT "${HOGS[1]}"
    finish_background "${HOGS[1]}"
    until_true "whose turn it is to have her seat" eval '[[ $(stage_pids "$WORKING" | wc -l) -eq 2 ]]'
    for i in "${HOGS[@]:2}"; do kill -INT "$i"; done
    for i in "${HOGS[@]:2}"; do finish_background "$i"; done
}

# Twenty jobs of Alice's against one of Bob's: users share, not jobs.
test_fair_by_user_then_by_job() {
    local pids=() i
    for ((i = 0; i < 20; i++)); do
        in_background_as "alice$i" "$ALICE" "$PWCCTL" run fault.none n=2000 ms=5
        pids+=("$BG")
    done
    until_true "Alice's jobs" eval '[[ $(job_of $ALICE .state) == @(running|queued) ]]'
    until_true "six of them to have a turn" eval '[[ $("$PWCCTL" jobs --json | jq "[.jobs[] | select(.waiting == \"turn\")] | length") -eq 14 ]]'
    in_background_as bob "$BOB" "$PWCCTL" run fault.none n=300 ms=5
    finish_background "$BG"
    equal "Bob's exit status" 0 "$RC"
    for i in "${pids[@]}"; do
        kill -0 "$i" 2>/dev/null || fail "a job of Alice's, seven times as long, ended before Bob's"
        kill -INT "$i"
    done
    for i in "${pids[@]}"; do finish_background "$i"; done
}

test_nobody_ends_anothers_job() {
    in_background_as alice "$ALICE" "$PWCCTL" run fault.none n=100000 ms=5
    local alice=$BG job rc=0
    until_true "Alice's job to run" eval '[[ $(job_of $ALICE .state) == running ]]'
    job=$(job_of "$ALICE" .job)
    as "$BOB" "$PWCCTL" cancel "$job" 2>err || rc=$?
    equal "exit status" 3 "$rc"
    [[ $(as "$BOB" "$PWCCTL" jobs --json | jq '[.. | objects | select(has("state"))] | length') -eq 0 ]] || fail "Bob sees Alice's jobs"
    kill -0 "$alice" || fail "Alice's job was ended"
    "$PWCCTL" cancel "$job"
    finish_background "$alice"
    [[ $RC -ne 0 ]] || fail "root's cancel had no effect"
}

# Whoever has many jobs, deaths and chunks given up pushes out his own records, not others'.
test_nobody_pushes_out_anothers_records() {
    local job i
    stop_pwcd
    start_pwcd --workers 2 --set socket_mode=0666 --set history=8 --set deaths_kept=8 --set quarantine_kept=4
    as "$ALICE" "$PWCCTL" run fault.segv n=5 at=3 attempts=9 2>err && fail "a chunk that always dies did not fail"
    job=$(job_of "$ALICE" .job)
    for ((i = 0; i < 10; i++)); do
        as "$BOB" "$PWCCTL" run fault.error n=5 at=3 attempts=9 --retries error=2 2>err && fail "an error was no failure"
    done
    equal "deaths kept" 8 "$("$PWCCTL" deaths --json | jq '.deaths | length')"
    equal "Alice's" 3 "$("$PWCCTL" deaths --json | jq "[.deaths[] | select(.job == $job)] | length")"
    equal "given up" 4 "$("$PWCCTL" quarantine --json | jq '.. | arrays | length' | head -n 1)"
    as "$ALICE" "$PWCCTL" quarantine | grep -q "^$job.3" || fail "her chunk is forgotten: $("$PWCCTL" quarantine)"
    as "$ALICE" "$PWCCTL" show "$job" >out || fail "her job is forgotten"
    equal "jobs" 8 "$("$PWCCTL" jobs --json | jq '.jobs | length')"
}

# No process ever serves both: what Alice's stages saw, Bob's cannot.
test_users_share_no_process() {
    local before after
    as "$ALICE" "$PWCCTL" run fault.none n=100 ms=1
    before=$(stage_pids ".uid == $ALICE" | sort)
    as "$BOB" "$PWCCTL" run fault.none n=100 ms=1
    after=$(stage_pids ".uid == $BOB" | sort)
    [[ -n $after ]] || fail "no stage of Bob's"
    [[ -z $(comm -12 <(echo "$before") <(echo "$after")) ]] || fail "a stage served both"
}

# stages_of ARGUMENT...: the processes that a job of eight chunks ran in, of which there are several at a time.
stages_of() {
    in_background stages "$PWCCTL" run fault.none n=8 ms=100 --json "$@"
    local job=$BG
    : >"$T/pids"
    while kill -0 "$job" 2>/dev/null; do
        stage_pids '.role == "worker" and has("chunk")' >>"$T/pids" || :
        tick
    done
    finish_background "$job"
    equal "exit status" 0 "$RC"
    sort -u "$T/pids"
}

apart() {
    [[ -n $2 && -n $3 ]] || fail "$1: nobody was seen at work"
    [[ -z $(comm -12 <(echo "$2") <(echo "$3")) ]] || fail "$1: one process served both"
}

# A stage and its segment serve one domain: user and label, or one job, or one chunk.
test_isolation() {
    stop_pwcd
    start_pwcd --workers 2
    local first second
    first=$(stages_of)
    second=$(stages_of)
    [[ -n $(comm -12 <(echo "$first") <(echo "$second")) ]] || fail "jobs of one user share nothing: this proves nothing"
    apart "a label" "$first" "$(stages_of --domain red)"
    first=$(stages_of --domain red)
    apart "two labels" "$first" "$(stages_of --domain blue)"
    [[ -n $(comm -12 <(echo "$first") <(stages_of --domain red)) ]] || fail "a label's stages are not kept"
    first=$(stages_of --isolation job)
    apart "two jobs" "$first" "$(stages_of --isolation job)"
    apart "a job and its user" "$first" "$(stages_of)"
    first=$(stages_of --isolation chunk)
    apart "two jobs by chunks" "$first" "$(stages_of --isolation chunk)"
    [[ $(wc -l <<<"$first") -gt 2 ]] || fail "8 chunks in $(wc -l <<<"$first") processes, one a seat"
}

test_who_may_connect() {
    stop_pwcd
    start_pwcd --workers 1 --set socket_mode=0600
    local rc=0
    as "$ALICE" "$PWCCTL" ping 2>err || rc=$?
    equal "exit status" 77 "$rc"
    equal "lines of reason" 1 "$(grep -c . err)"
}

run_tests "$@"
