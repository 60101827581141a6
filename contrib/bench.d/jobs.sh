# shellcheck shell=bash
# jobs.sh - contrib/bench: rows without images: chunks, one-chunk jobs, sums, deaths, idleness.
# shellcheck disable=SC2154,SC2034 # the variables of setup.sh, and for it

row_empty() {
    local n=100000000
    SIDES=(--run ours "$CLIENT chunks noop $n")
    peer omp gcc "$BIN/bench-omp empty $n"
    row empty "10^8 empty chunks" "${SIDES[@]}" --goal "ns_chunk omp <= 1.0"
}

# Each side warms up by itself, and a round takes a quarter of a minute.
row_mix() {
    local n sum
    n=$(by 1000000 50000)
    sum=$("$BIN/bench-omp" expect "$n" "$STEPS")
    SIDES=(--run ours "$CLIENT chunks bench.mix $n $STEPS $sum")
    peer omp gcc "$BIN/bench-omp mix $n $STEPS $sum"
    peer pool.map "$PYTHON" "$PEERS mix $BIN/.libs/libmix.so $n $STEPS $sum"
    row mix "$n chunks of 10 us" --warm 0 "${SIDES[@]}" --goal "ns_chunk omp <= 1.05" --goal "ns_chunk pool.map <= 0.8"
}

# ---- Gearman's daemon: stop_all ends it with its row ----

gearman_up() {
    local i
    have gearmand || return 0
    [[ -x $BIN/bench-gear ]] || return 0
    gearmand -L 127.0.0.1 -p "$GEARMAN_PORT" -l "$TMP/gearmand.log" >/dev/null 2>&1 &
    GEARMAND_PID=$!
    GEAR_WORKERS=
    for ((i = 0; i < 100; i++)); do
        (: <"/dev/tcp/127.0.0.1/$GEARMAN_PORT") 2>/dev/null && break
        pause
    done
    for ((i = 0; i < SEATS; i++)); do
        "$BIN/bench-gear" worker "$GEARMAN_PORT" 2>/dev/null &
        GEAR_WORKERS+=" $!"
    done
}

gearman_peer() { # ARGUMENTS
    if have gearmand && [[ -x $BIN/bench-gear ]]; then
        SIDES+=(--run gearman "$BIN/bench-gear $1")
    else
        SIDES+=(--absent gearman "peer not installed: gearman-job-server, libgearman-dev")
    fi
}

row_latency() {
    local n
    n=$(by 4000 2000)
    gearman_up
    SIDES=(--run ours "$CLIENT latency $n" --run ping "$BIN/bench-ping $n" --run epoll "$BIN/bench-ping $n epoll"
        --run looking "$BIN/bench-ping $n looking")
    peer pool.apply "$PYTHON" "$PEERS latency $n"
    gearman_peer "latency $GEARMAN_PORT $n"
    row latency "one-chunk job there and back, us" "${SIDES[@]}" \
        --goal "p50 ping <= 2" --goal "p99 ping <= 2" --goal "p50 epoll <= 2" --show "p50 looking" --show "p99 looking" \
        --goal "p50 pool.apply <= 0.25" --goal "p99 pool.apply <= 0.25" --goal "p50 gearman <= 0.25" --goal "p99 gearman <= 0.25"
    note "latency: ping and epoll sleep until a message comes; our stage looks for the next one for some 70 us before it sleeps," \
        "and the supervisor for its answer, and the next job of one client, for 50; looking is the ping whose worker and broker look as long"
}

# flood_row ID TITLE CLIENTS JOBS THEIR_JOBS
flood_row() {
    gearman_up
    SIDES=(--run ours "$CLIENT flood $4 $((4000 / $3)) $3")
    gearman_peer "flood $GEARMAN_PORT $5 $3"
    peer futures.map "$PYTHON" "$PEERS flood $5 $3"
    row "$1" "$2" "${SIDES[@]}" --goal "rate gearman >= 10" --goal "rate futures.map >= 10" \
        --goal "rate - >= 100000"
}

row_flood() {
    flood_row flood "one-chunk jobs/s, one connection" 1 "$(by 100000 20000)" "$(by 8000 4000)"
}

row_flood8() {
    flood_row flood8 "one-chunk jobs/s, 8 clients" 8 "$(by 12500 2500)" "$(by 1000 500)"
}

# ---- sums ----

# As many numbers as leave the machine half of its memory.
sum_numbers() {
    awk -v most="$(by 1000000000 100000000)" \
        '/^MemAvailable/ {n = int($2 * 1024 / 2 / 4); print n < most ? n : most}' /proc/meminfo
}

# sum_row ID TITLE PATH SUM NUMBERS
sum_row() {
    local small=$(($5 / 10))
    SIDES=(--run ours "$CLIENT sum $3 $4")
    peer omp gcc "$BIN/bench-omp sum $3 $4"
    peer memmap "$PYTHON" "$PEERS memmap $3 $4"
    peer pickle "$PYTHON" "$PEERS pickle $3 - $small"
    row "$1" "$2" "${SIDES[@]}" --goal "gb_s omp >= 0.9" --goal "gb_s memmap >= 0.9" \
        --goal "gb_s pickle >= 50"
}

row_sum_memfd() {
    local n path sum
    n=$(sum_numbers)
    mkfifo "$TMP/hold"
    "$BIN/bench-omp" hold "$n" <"$TMP/hold" >"$TMP/held" &
    HOLDER_PID=$!
    exec {HOLD}>"$TMP/hold"
    until [[ -s $TMP/held ]]; do
        kill -0 "$HOLDER_PID" || die "no memory for $n numbers"
        pause
    done
    read -r path sum <"$TMP/held"
    sum_row sum.memfd "sum of $n int32, memfd, GB/s" "$path" "$sum" "$n"
    exec {HOLD}>&-
    wait "$HOLDER_PID"
    HOLDER_PID=
    rm "$TMP/hold" "$TMP/held"
}

row_sum_file() {
    local n sum
    n=$(sum_numbers)
    sum=$("$BIN/bench-omp" file "$n" "$TMP/numbers")
    sum_row sum.file "sum of $n int32, page cache, GB/s" "$TMP/numbers" "$sum" "$n"
    rm "$TMP/numbers"
}

# ---- deaths ----

# At moments that nobody chose, by the trace alone. The median of the largest of 69 values is the 99th percentile of what they
# are drawn from (0.99^69 is a half), of 40 the 98th. Chunks of 20 ms, a kill each 35, half a chunk lost with it, and some more.
row_kill_any() {
    local kills chunks
    kills=$(by 70 40)
    chunks=$((SEATS * kills * 36 / 20 - kills / 2))
    row kill.any "killed at any moment, by the trace, us" --warm 0 --goal "p50 - <= 2000" --goal "p99 - <= 2000" \
        --run ours "$CLIENT anytime $PWCCTL $TMP/kill-any.trace $chunks $((STEPS * 2000)) \
            $("$BIN/bench-omp" expect "$chunks" $((STEPS * 2000))) $kills"
    note "kill.any: of the kills of a round $(values_of kill.any kills) met a chunk, $(values_of kill.any missed) did not"
    rm -f "$TMP/kill-any.trace"
}

# A chunk takes 20 ms, no more than it is from kill to kill: one that was hit each time would run out of attempts.
row_kill() {
    local kills
    kills=$(by 120 40)
    row kill "killed until the chunk is elsewhere, us" --warm 0 --run ours "$CLIENT kill $kills $((STEPS * 2000))" \
        --run exec "$CLIENT exec $STAGE 10" --goal "p50 - <= 2000" --goal "p99 - <= 2000"
    note "kill: beside the $kills kills of a round $(values_of kill missed) met no chunk; of the $kills, $(values_of kill unseen)" \
        "were not told, or their chunk not seen elsewhere, within a second"
}

# sized CHUNKS STEPS: and the sum they give
sized() {
    printf '%s %s' "$1" "$("$BIN/bench-omp" expect "$1" "$2")"
}

# The job's own account, from its trace, and by the clock: in per cent, as in the row below.
row_kills() {
    local seconds work=$((STEPS * 100)) second=$((1000 * SEATS))
    seconds=$(by 10 1)
    row kills "$seconds s job, a worker killed a second" --warm 0 --run ours "$CLIENT kills $PWCCTL $TMP/kills.trace $work 1 \
        $(sized $((second * seconds)) $work) $(sized $((second * $(by 15 5) / 10)) $work) $(sized $((SEATS * 2)) $work)" \
        --goal "lost_percent - <= 2" --goal "added_percent - <= 2"
    rm -f "$TMP/kills.trace"
}

# What being traced adds, and not the ratio of both: a tolerance of five per cent would be more than the goal. Behind the
# first 16,384 records such chunks share one in groups of 32 us. Each trace is a new file: to replace one of before, some file
# systems first write the new one to the disk, at the end and all at once. One that lacks a record would have been cheap.
row_trace() {
    local n sum run
    n=$(by 100000 50000)
    sum=$("$BIN/bench-omp" expect "$n" "$STEPS")
    run="bench.mix n=$n steps=$STEPS | xargs)\" = 'chunks $n sum $sum'"
    row trace "--trace of 10 us chunks, grouped, adds, %" --warm 0 --goal "added_percent - <= 3" --run ours "$CLIENT added $(
        printf '%q ' "test \"\$($PWCCTL run -q $run" "test \"\$($PWCCTL run -q --trace $TMP/cost.trace.\$RUN $run" \
            "$CLIENT whole $PWCCTL $TMP/cost.trace.\$RUN $n"
    )"
    rm -f "$TMP"/cost.trace.*
}

# used_daemon SECONDS: one that has run a flood of jobs, one of many chunks and, where there are pictures, a blur; what it
# costs when they are over. Their own figures are of no interest.
used_daemon() {
    local jobs="$CLIENT flood 10000 2000 2 && $CLIENT chunks noop 10000000"
    if have vips; then
        picture 2048 .tif
        jobs+=" && $PWCCTL run -q image.gaussblur $PICTURE -o $TMP/out-used.tif sigma=8"
    fi
    echo "$CLIENT fresh '' sh -c '{ $jobs; } >/dev/null && exec $CLIENT idle $1 $(have strace && echo strace) used'"
}

# A daemon that has run one empty chunk, as one finds it after the boot, and beside it one that has worked, and one with a
# watchdog: none does anything, but the last says so. The peer is a bare program with a stage's libraries.
row_idle() {
    local seconds goals word
    seconds=$(by 15 4)
    for word in "" used_; do
        goals+=(--goal "${word}wakeups - <= 0" --goal "${word}stage_wakeups - <= 0" --goal "${word}calls - <= 0"
            --goal "${word}rss_mib - <= 8")
    done
    goals+=(--goal "watched_beyond - <= 0" --goal "watched_stage_wakeups - <= 0")
    SIDES=(--run ours "$(used_daemon "$seconds") & used=\$!
        $CLIENT watched $seconds & watched=\$!
        $CLIENT fresh '' $CLIENT idle $seconds $(have strace && echo strace)
        rc=\$?; wait \$used && wait \$watched && exit \$rc")
    if [[ -x $BIN/bench-libs ]]; then
        SIDES+=(--run libs "$BIN/bench-libs")
    else
        SIDES+=(--absent libs "built without libvips")
    fi
    row idle "idle: wakeups in $seconds s, resident MiB" --once "${SIDES[@]}" "${goals[@]}" --goal "stage_rss_mib libs <= 1"
}
