#!/bin/bash
# run --trace: the file is what viewers expect, tells each chunk once, and says what deaths cost; `pwcctl trace` counts
# the same again from the file.
. "$(dirname "$0")/lib.sh"

setup() {
    start_pwcd --workers 2
}

# no WHAT FILTER FILE: jq's FILTER finds nothing.
no() {
    local found
    found=$(jq -c "[$2] | .[:3]" "$3")
    equal "$1" '[]' "$found"
}

# What a viewer would not show as it is meant. The rules are Perfetto's: events in the order of their times; a slice that
# is over leaves its thread's stack; E closes the innermost that is open there and has its name and category, if E has
# any; what lies across another, or deeper than 512, is thrown away; arrows begin and end in the slice on top of the stack.
# Times are nanoseconds, .len is -1 while a slice is open.
VIEWER='
    def wrong($what; $e): .wrong += [[$what, $e]];
    def leave($e): until(.stack == [] or (.stack[-1] | .len < 0 or .at + .len > $e.at or
        (.at + .len == $e.at and .len == 0 and $e.len == 0)); .stack |= .[:-1]);
    def enter($e): if .stack != [] and (.stack[-1] | .len >= 0 and .at + .len < $e.at + $e.len) then
        wrong("lies across another"; $e) elif (.stack | length) >= 512 then wrong("too deep"; $e) else .stack += [$e] end;
    def close($e): if .stack != [] and (.stack[-1] | .len < 0 and ($e.name == null or $e.name == .name) and
        ($e.cat == null or $e.cat == .cat)) then .stack |= .[:-1] else wrong("closes not the last"; $e) end;
    def arrow($e): if .stack != [] and (.stack[-1] | if $e.ph == "s" then .len < 0 and .args.lease == $e.id else
        .cat == "absorbed" and $e.bp == "e" end) then . else wrong("not at its slice"; $e) end;
    [.traceEvents[] | select(.ph == "B" or .ph == "E" or .ph == "X" or .ph == "s" or .ph == "f" or
        (.ph == "i" and .s == "t")) | .at = (.ts * 1000 | round) |
        .len = (if .ph == "X" then .dur * 1000 | round elif .ph == "i" then 0 else -1 end)] |
    sort_by(.at) | group_by([.pid, .tid])[] | reduce .[] as $e ({stack: [], wrong: []};
        if $e.ph == "s" or $e.ph == "f" then arrow($e) else leave($e) | if $e.ph == "E" then close($e) else enter($e) end end) |
    .wrong[], (.stack[] | select(.len < 0) | ["left open", .])'

# What any trace must be: on each thread times that only grow, slices that viewers show as they are meant, chunks inside
# of their lease, a name for each thread.
well_formed() {
    equal "schema" pwc.trace/1 "$(jq -r .otherData.schema "$1")"
    no "times that run backwards" '[.traceEvents[] | select(.ph != "M")] | group_by([.pid, .tid, .ph == "C", .ph]) | .[] |
        [., .[1:]] | transpose[] | select(.[1] != null and .[1].ts < .[0].ts)' "$1"
    no "negative lengths" '.traceEvents[] | select(.ph == "X" and .dur < 0)' "$1"
    no "slices that viewers show otherwise" "$VIEWER" "$1"
    no "arguments of an end that its beginning has, too" '([.traceEvents[] | select(.ph == "B") | .args | keys[]] |
        unique) as $known | .traceEvents[] | select(.ph == "E" and .args) | .args | keys[] as $key |
        select($known | index($key)) | $key' "$1"
    no "chunks outside of their lease" '[.traceEvents[] | select(.pid == 2 and (.cat == "lease" or .cat == "chunks" or
        .args.ended)) | .lease = (.args.ended // .args.lease)] | group_by(.lease)[] |
        (map(select(.cat == "lease"))[0].ts) as $from | (map(select(.args.ended))[0].ts) as $to |
        .[] | select(.cat == "chunks" and (.ts < $from or .ts + .dur > $to + 0.0005))' "$1"
    no "threads without a name" '([.traceEvents[] | select(.name == "thread_name") | [.pid, .tid]] | unique) as $named |
        .traceEvents[] | select(.ph != "M" and ([[.pid, .tid]] - $named) != [])' "$1"
    no "arrows that come from nowhere" '([.traceEvents[] | select(.ph == "s") | .id]) as $s |
        [.traceEvents[] | select(.ph == "f") | .id] - $s | .[]' "$1"
    no "arrows with one number" '[.traceEvents[] | select(.ph == "s" or .ph == "f") | [.id, .ph]] | group_by(.)[] |
        select(length > 1)' "$1"
}

# Chunks 0 to N-1 once each: ended as counting, and absorbed; with records of their own or counted without.
each_chunk_once() {
    local what
    for what in '.args.ended) | .args | [.from, .kept]' '.cat == "absorbed") | .args | [.first, .n]'; do
        equal "chunks: $what" "$1" "$(jq "[.traceEvents[] | select($what | select(.[1] > 0)] | sort |
            reduce .[] as \$e (0; if \$e[0] == . then . + \$e[1] else -1e18 end)" "$2")"
    done
    equal "recorded or counted" "$1" "$(jq '([.traceEvents[] | select(.name == "chunk" or .name == "chunks") | .args.n] |
        add) + .otherData.chunks_without_record' "$2")"
}

test_each_chunk_is_there_once() {
    run_ok fault.none n=3000 --trace t.json --json
    well_formed t.json
    each_chunk_once 3000 t.json
    equal "chunks in the account" 3000 "$(field recorded)"
    files_are t.json
}

# kept FILE WORDS...: the job is refused for a trace that would take the place of FILE, which stays as it is.
kept() {
    local rc=0
    cp "$1" before
    "$PWCCTL" run "${@:2}" 2>said >/dev/null || rc=$?
    equal "exit status" 1 "$rc"
    grep -q "^pwcctl: '.*' is an .*put: the trace must be another file\$" said || fail "said: $(<said)"
    cmp before "$1" || fail "$1 was written"
    rm said before
}

test_trace_is_no_file_of_the_job() {
    printf 'some bytes' >in
    printf 'others' >out
    kept in fault.copy in -o new --trace ./in
    # shellcheck disable=SC2094 # refused: nothing is written there
    kept in fault.copy - -o new --trace in <in
    kept out fault.copy in -o out --trace "$PWD/out"
    kept in fault.copy in -o new --trace ./new
    ln -s new link
    kept in fault.copy in -o link --trace new
    rm link
    [[ ! -e new ]] || fail "an output of a refused job"
    mkdir many
    kept in fault.copy in --out-dir many --trace in
    kept in fault.copy in --out-dir many --trace many/in
    files_are in many out
}

# So that what others saw at the same clock can be put beside it: of two jobs one comes after the other, and neither is
# later than the machine's uptime, which runs on while that clock stands still.
test_times_have_a_base() {
    run_ok fault.none n=10 --trace first.json
    run_ok fault.none n=10 --trace second.json
    jq -es --argjson up "$(cut -d ' ' -f 1 /proc/uptime)" 'map(.otherData.base_ns as $base | [.traceEvents[] |
        select(.ph != "M") | .ts] | [$base + min * 1000, $base + max * 1000]) | .[0][0] > 0 and .[0][1] < .[1][0] and
        .[1][1] <= ($up + 0.01) * 1e9' first.json second.json >/dev/null ||
        fail "not one after the other: $(jq -c .otherData.base_ns first.json second.json)"
    files_are first.json second.json
}

test_short_chunks_share_records() {
    run_ok noop n=10000000 --trace t.json --json
    well_formed t.json
    each_chunk_once 10000000 t.json
    [[ $(jq '.traceEvents | length' t.json) -lt 100000 ]] || fail "a record for every empty chunk"
}

# The chunk stands there twice: lost with its cause, then done in another process.
test_a_killed_workers_chunk_is_there_twice() {
    local chunk
    in_background job "$PWCCTL" run fault.none n=1200 ms=5 --trace t.json --json
    until_true "a little of the job" job_done_at_least 100
    kill_stage KILL "$WORKING"
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    well_formed t.json
    each_chunk_once 1200 t.json
    equal "deaths" 1 "$(jq '[.traceEvents[] | select(.cat == "died" and .args.why == "crash")] | length' t.json)"
    chunk=$(jq '.traceEvents[] | select(.cat == "died" and .args.why == "crash") | .args.first' t.json)
    equal "the lost one" '["crash"]' "$(jq -c "[.traceEvents[] | select(.name == \"chunk lost\" and .args.first == $chunk) |
        .args.why]" t.json)"
    equal "processes at it" 2 "$(jq "[.traceEvents[] | select(.cat == \"chunks\" and .args.first == $chunk) | .tid] | unique |
        length" t.json)"
    equal "its retry" 1 "$(jq "[.traceEvents[] | select(.cat == \"retry\" and .args.first == $chunk)] | length" t.json)"
    jq -e ".account.deaths | .count == 1 and .measured == 1 and .redone_ns > 0 and .respawned > 0 and
        .again_max_ns >= .again_p50_ns and .again_p50_ns > 0" job.out >/dev/null || fail "account: $(jq -c .account job.out)"
    "$PWCCTL" trace t.json --json >again
    equal "the account from the file" "$(jq -S .account job.out)" "$(jq -S . again)"
}

hit_or_over() {
    signal_stage KILL "$WORKING" || ! kill -0 "$BG" 2>/dev/null
}

# Not when all that its worker had computed before it, and not told yet, is done again. Ten are hit, or as many as a machine
# that is busy with other things finds before the job is over.
test_the_chunk_that_was_hit_comes_first() {
    in_background job "$PWCCTL" run fault.none n=4000 ms=1 --trace t.json
    for i in {1..10}; do
        until_true "chunk $((i * 100))" job_done_at_least $((i * 100))
        until_true "a worker in a chunk, or the end of the job" hit_or_over
    done
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    well_formed t.json
    each_chunk_once 4000 t.json
    jq '[.traceEvents[] | select(.cat == "lease")] as $leases | .traceEvents[] | select(.cat == "died" and .args.why == "crash" and
        .args.n == 1) | . as $d | {chunk: .args.first, lost: first($leases[] | select(.args.lease == $d.args.lease)),
        next: ([$leases[] | select(.ts > $d.ts)] | min_by(.ts))}' t.json >hits
    jq -es 'any(.lost.args.first < .chunk)' hits >/dev/null || fail "none was hit behind the first of its lease: $(jq -c .chunk hits)"
    equal "next leases that begin with another chunk, or have more" '[]' "$(jq -cs 'map(select(.next.args.first != .chunk or
        .next.args.n != 1) | [.chunk, .next.args])' hits)"
    rm hits
}

# Times of the account, from the events by another hand.
test_the_account_can_be_recomputed() {
    in_background job "$PWCCTL" run fault.none n=1200 ms=5 --trace t.json --json
    for i in 1 2 3; do
        until_true "chunk $((i * 80))" job_done_at_least $((i * 80))
        kill_stage KILL "$WORKING"
    done
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    well_formed t.json
    local redone again
    redone=$(jq '([.traceEvents[] | select(.cat == "lease")] | map({key: (.args.lease | tostring), value: .ts}) |
        from_entries) as $given | [.traceEvents[] | select(.args.ended and .args.why == "crash") |
        .ts - $given[.args.ended | tostring]] | add * 1000 | round' t.json)
    equal "redone" "$redone" "$(jq .account.deaths.redone_ns job.out)"
    again=$(jq '[.traceEvents[] | select(.cat == "died" and .args.why == "crash")] as $deaths |
        [.traceEvents[] | select(.cat == "chunks")] as $chunks | [$deaths[] | . as $d | [$chunks[] |
        select(.tid != $d.tid and .args.first == $d.args.first and .ts > $d.ts) | .ts] | min - $d.ts] | max * 1000 | round' t.json)
    equal "until the chunk was begun again" "$again" "$(jq .account.deaths.again_max_ns job.out)"
}

test_serial_output() {
    need_vips
    vips black b.v 4000 3000 --bands 3 >/dev/null
    vips copy b.v in.tif >/dev/null
    run_ok image.gaussblur sigma=2 in.tif out.png --trace t.json
    well_formed t.json
    each_chunk_once "$(jq '[.traceEvents[] | select(.cat == "job") | .args.n] | max' t.json)" t.json
    for role in producer worker consumer; do
        jq -e ".traceEvents[] | select(.name == \"thread_name\") | .args.name | select(split(\", pid\")[0] | test(\"$role\"))" t.json \
            >/dev/null || fail "no track of a $role"
    done
    jq -e '[.traceEvents[] | select(.cat == "announced")] | length > 1' t.json >/dev/null || fail "nothing was announced"
    equal "arrows" "$(jq '[.traceEvents[] | select(.ph == "s")] | length' t.json)" \
        "$(jq '[.traceEvents[] | select(.ph == "f")] | length' t.json)"
    rm b.v
    files_are in.tif out.png t.json
}

test_batches_and_small_jobs() {
    need_vips
    for i in 1 2 3 4 5; do vips black "$i.png" 60 40; done
    echo nonsense >bad.png
    RC=0
    "$PWCCTL" run image.invert --out-dir out ./*.png --trace t.json >"$T/out" 2>"$T/err" || RC=$?
    equal "exit status" 5 "$RC"
    well_formed t.json
    equal "kept" 5 "$(jq '[.traceEvents[] | select(.args.ended) | .args.kept] | add' t.json)"
    equal "given up" 1 "$(jq '[.traceEvents[] | select(.cat == "gave_up")] | length' t.json)"
    run_ok image.invert 1.png one.png --trace t.json
    well_formed t.json
    each_chunk_once 1 t.json
}

test_a_killed_consumer() {
    head -c 400000 /dev/urandom >in
    in_background job "$PWCCTL" run fault.copy in -o out chunk=10000 slow=process ms=20 --trace t.json --json
    until_true "a little of the job" job_done_at_least 8
    kill_stage KILL '.role == "consumer"'
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    same in out
    well_formed t.json
    equal "it started again" 1 "$(jq '[.traceEvents[] | select(.cat == "restart")] | length' t.json)"
    rm in out job.*
}

# The half that the first has not begun goes to the second. How many chunks a lease has depends on how quick they were.
test_a_tail_that_was_taken_back() {
    local at
    expect_log 'its time is up'
    for at in {100..119}; do
        run_ok fault.hang n=300 ms=1 at="$at" attempts=1 --chunk-timeout 1s --trace t.json --json
        well_formed t.json
        each_chunk_once 300 t.json
        jq -e 'any(.traceEvents[]; .cat == "taken_back")' t.json >/dev/null && return 0
    done
    fail "no tail was ever taken back"
}

# Others' jobs of one chunk travel with their leases to the same processes meanwhile.
test_small_jobs_beside_it() {
    local i
    in_background job "$PWCCTL" run fault.none n=400 ms=5 --trace t.json
    until_true "a little of the job" job_done_at_least 20
    for i in {1..20}; do run_ok noop n=1; done
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    well_formed t.json
    each_chunk_once 400 t.json
}

# One that could travel with its lease and others behind it has a lease of its own when it is traced.
test_a_small_job() {
    for i in 1 2 3; do run_ok noop n=1; done
    run_ok noop n=1 --trace t.json
    well_formed t.json
    each_chunk_once 1 t.json
    equal "leases" 1 "$(jq '[.traceEvents[] | select(.cat == "lease")] | length' t.json)"
}

# A file without a name yet, or with one for the time being.
some_is_written() {
    stat -L -c '%F %h %s' "/proc/$1/fd"/* 2>/dev/null | grep -q '^regular file 0 [1-9]' || [[ -n $(find . -name '.t.json.*' -size +0) ]]
}

# Else pwcctl keeps all of it, and formats it when everybody waits for it.
test_it_is_written_while_the_job_runs() {
    in_background job "$PWCCTL" run -q fault.none n=1000000 ms=1 --trace t.json
    until_true "something in the file" some_is_written "$BG"
    kill -INT "$BG"
    finish_background "$BG"
    equal "exit status" 130 "$RC"
    well_formed t.json
}

# Who only follows the job gets none of it; the trace of who submitted it is whole.
test_others_follow() {
    in_background job "$PWCCTL" run fault.none n=1000 ms=5 --trace t.json --json
    local job=$BG
    until_true "a little of the job" job_done_at_least 20
    in_background other "$PWCCTL" wait 1 --json
    finish_background "$BG"
    equal "exit status of the other" 0 "$RC"
    equal "an account" null "$(jq -c .account other.out)"
    finish_background "$job"
    equal "exit status" 0 "$RC"
    well_formed t.json
    each_chunk_once 1000 t.json
    rm other.*
}

tried_again() { # JOB.CHUNK
    "$PWCCTL" quarantine retry "$1" >"$T/out" 2>&1
}

test_given_up_and_tried_again() {
    in_background job "$PWCCTL" run fault.segv n=2000 ms=5 at=4 attempts=3 --on-failure skip --trace t.json --json
    local job=$BG
    until_true "a chunk in quarantine" tried_again 1.4
    finish_background "$job"
    equal "exit status" 0 "$RC"
    well_formed t.json
    each_chunk_once 2000 t.json
    equal "in this order" '["gave_up","again"]' "$(jq -c '[.traceEvents[] | select(.cat == "gave_up" or .cat == "again") |
        .cat]' t.json)"
    equal "given up in the end" 0 "$(jq .account.given_up job.out)"
}

test_failed_jobs_have_a_trace() {
    RC=0
    "$PWCCTL" run -q fault.segv n=100 at=17 attempts=99 --trace t.json >"$T/out" 2>"$T/err" || RC=$?
    equal "exit status" 1 "$RC"
    well_formed t.json
    equal "attempts at chunk 17" 3 "$(jq '[.traceEvents[] | select(.name == "chunk lost" and .args.first == 17 and
        .args.why == "crash")] | length' t.json)"
    equal "given up" 17 "$(jq '.traceEvents[] | select(.cat == "gave_up") | .args.first' t.json)"
    equal "the job's end" failed "$(jq -r '[.traceEvents[] | select(.cat == "job")][-1].name' t.json)"
}

# It overwrites slots and ring before it dies: the lease it had is told without it.
test_a_stage_that_scribbles_on_its_ring() {
    run_ok fault.scribble n=500 at=123 attempts=1 --trace t.json --json
    well_formed t.json
    each_chunk_once 500 t.json
    equal "deaths" "$(field deaths)" "$(jq .account.deaths.count "$T/out")"
}

test_where_it_goes() {
    run_ok noop n=10 --trace -
    cp "$T/out" piped.json
    well_formed piped.json
    "$PWCCTL" trace - <piped.json | grep -q '10 absorbed' || fail "nothing from stdin"
    echo old >t.json
    chmod 600 t.json
    run_ok noop n=10 --trace t.json
    well_formed t.json
    equal "mode" 600 "$(stat -c %a t.json)"
    refused 1 "cannot write the trace 'no/where.json'.*No such" noop n=10 --trace no/where.json
    refused 1 "cannot write the trace '/dev/full'.*No space" noop n=10 --trace /dev/full
    refused 2 "detach exclude" noop n=10 --trace x.json --detach
    refused 2 "takes stdout" noop n=10 --trace - --json
    refused 2 "no op" no.such.op --trace x.json
    files_are piped.json t.json
}

test_files_that_are_no_trace() {
    local text
    check_no_trace() { # PATTERN
        RC=0
        "$PWCCTL" trace bad.json >"$T/out" 2>"$T/err" || RC=$?
        equal "exit status for $(head -c 40 bad.json)" 1 "$RC"
        equal "lines" 1 "$(wc -l <"$T/err")"
        grep -qE "$1" "$T/err" || fail "no '$1' in $(<"$T/err")"
    }
    run_ok noop n=10 --trace good.json
    for text in '{' '{"traceEvents":[' 'x' '{"a":}' '{"a" 1}' '[]' '{"a":"' "$(printf '%0100d' 0 | tr 0 '[')"; do
        printf '%s' "$text" >bad.json
        check_no_trace 'no JSON at byte'
    done
    sed $'s/"op":"noop"/"op":"no\e[31mop"/' good.json >bad.json
    "$PWCCTL" trace bad.json >"$T/out"
    grep -q '^trace of job 1, no?\[31mop: ' "$T/out" || fail "a terminal is steered: $(cat -v "$T/out")"
    head -c 700 good.json >bad.json
    check_no_trace 'no JSON at byte'
    echo '{"traceEvents":[]}' >bad.json
    check_no_trace 'no trace'
    : >bad.json
    check_no_trace 'empty'
    sed -E 's/:[0-9]+/:18446744073709551615/g' good.json >wild.json
    "$PWCCTL" trace wild.json >/dev/null || :
    "$PWCCTL" trace wild.json --json | jq -e .schema >/dev/null || fail "wild numbers give no account"
    RC=0
    "$PWCCTL" trace missing.json 2>"$T/err" || RC=$?
    equal "exit status" 1 "$RC"
}

# Without --trace nobody writes records, also after a job that had one.
test_nothing_when_nobody_asked() {
    run_ok noop n=1000 --trace t.json
    run_ok noop n=1000 --json
    equal "an account" null "$(jq -c .account "$T/out")"
}

test_verbose_summary() {
    run_ok fault.none n=200 ms=1 --trace t.json -v
    grep -q '200 absorbed' "$T/err" || fail "no account: $(<"$T/err")"
    "$PWCCTL" trace t.json >from-file
    grep -A9 '^trace of' "$T/err" >from-run
    same from-run from-file
}

run_tests "$@"
