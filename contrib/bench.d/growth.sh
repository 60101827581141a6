# shellcheck shell=bash
# growth.sh - contrib/bench: how cost grows with chunks, waiting jobs, clients, workers and the size of an image; and
# where our own cycles go.
# shellcheck disable=SC2154 # the variables of setup.sh

row_chunks() {
    local n
    growth_head chunks "How cost grows with the chunks of a job (each on a daemon of its own)"
    for n in 1000 10000 100000 1000000 10000000 100000000 1000000000; do
        point chunks "$n" "$CLIENT" fresh "" "$CLIENT" chunks noop "$n"
    done
    row memory "10^9 chunks: supervisor resident, KiB" --rounds 1 --warm 0 \
        --run ours "$CLIENT fresh '' $CLIENT chunks noop 1000000000" --goal "daemon_rss_kib - <= 16384"
}

row_waiting() {
    local n
    growth_head waiting "... with jobs that wait (us a job)"
    for n in 1 10 100 1000 10000 $(by 100000 ""); do
        point waiting "$n" "$CLIENT" fresh "--set jobs_max=1000000 --set jobs_per_user=1000000" "$CLIENT" waiting "$n"
    done
}

row_clients() {
    local n most
    most=$(($(ulimit -Hn) - 200))
    growth_head clients "... with clients that are connected (us)"
    for n in 1 10 100 1000 $(by 10000 ""); do
        [[ $n -le $most ]] || continue
        point clients "$n" "$CLIENT" fresh "--set clients_max=100000 --set clients_per_user=100000" "$CLIENT" clients "$n"
    done
}

row_workers() {
    local n
    growth_head workers "... with workers, on $(nproc) CPUs: $(by 100000 20000) chunks of 10 us"
    for n in 1 2 4 8 16 32 64; do
        point workers "$n" "$CLIENT" fresh "--workers $n" "$CLIENT" chunks bench.mix "$(by 100000 20000)" "$STEPS"
    done
}

# Input, output and raster of one picture lie on the disk at a time.
row_sizes() {
    local megapixels side free
    have vips || return 0
    growth_head sizes "... with the size of an image: gaussblur, TIFF, in megapixels"
    for megapixels in 1 4 16 64 $(by "256 900" ""); do
        side=$(awk -v mp="$megapixels" 'BEGIN {print int(sqrt(mp * 1e6))}')
        free=$(df --output=avail -BM "$TMP" | tail -n 1 | tr -dc 0-9)
        if [[ $free -lt $((megapixels * 14)) ]]; then
            printf '  %-11s left out: %s MiB free\n' "$megapixels" "$free"
            continue
        fi
        picture "$side" .tif
        # shellcheck disable=SC2046 # words
        point sizes "$megapixels" "$CLIENT" fresh "" "$CLIENT" memory \
            sh -c "$(ours_image "$PICTURE" "$TMP/out-size.tif" image.gaussblur sigma=8)"
        rm -f "$PICTURE" "$TMP/out-size.tif"
    done
}

# ---- where cycles go ----

# perf_lines FILE: where the cycles of one recording went
perf_lines() {
    perf report -i "$1" --stdio --no-children -g none --sort dso,symbol --percent-limit 1 2>/dev/null |
        sed -nE 's/^ +([0-9.]+%) +([^ ]+) +(\[[.k]\] [^ ]+).*/  \1  \3  \2/p' | head -n 25
}

# profile_of TITLE COMMAND...: the supervisor, its stages and the client apart, while the command runs
profile_of() {
    local title=$1 stages
    shift
    stages=$(tr ' ' ',' <"/proc/$PWCD_PID/task/$PWCD_PID/children")
    printf '\n==== %s\n' "$title"
    perf record -q -F 4999 -p "$PWCD_PID" -o "$TMP/perf.daemon" -- \
        perf record -q -F 4999 -p "${stages%,}" -o "$TMP/perf.stages" -- \
        perf record -q -F 4999 -o "$TMP/perf.client" -- "$@" 2>"$TMP/perf.err" ||
        { printf 'perf failed: %s\n' "$(tail -n 1 "$TMP/perf.err")" && return 0; }
    for stages in daemon stages client; do
        printf '%s:\n' "$stages"
        perf_lines "$TMP/perf.$stages"
        rm -f "$TMP/perf.$stages"
    done
}

run_profile() {
    if ! have perf; then
        printf 'no profile: perf is not installed (Debian package linux-perf)\n'
        return 0
    fi
    {
        profile_of "one-chunk jobs, one after the other" "$CLIENT" latency 20000
        profile_of "one-chunk jobs, pipelined" "$CLIENT" flood 100000 4000 1
        profile_of "one-chunk jobs, 8 clients" "$CLIENT" flood 12500 500 8
        profile_of "empty chunks" "$CLIENT" chunks noop 1000000000
        profile_of "chunks of 10 us" "$CLIENT" chunks bench.mix 200000 "$STEPS"
    } >"$output/profile.txt"
    printf 'profile: %s\n' "$output/profile.txt"
}
