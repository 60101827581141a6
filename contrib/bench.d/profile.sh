# shellcheck shell=bash
# profile.sh - contrib/bench --profile: where our own cycles go, with perf: each program's share by library and by
# function. Where the machine has no hardware counters (most virtual ones) perf's clock cannot fire while interrupts are
# off, so time in the kernel shows at the places that turn them on again (finish_task_switch, _raw_spin_unlock_irqrestore).
# shellcheck disable=SC2154 # the variables of setup.sh

# perf_lines FILE: where the cycles of one recording went
perf_lines() {
    perf report -i "$1" --stdio --no-children -g none --sort dso --percent-limit 1 2>/dev/null |
        sed -nE 's/^ +([0-9.]+%) +([^ ]+).*/\1 \2/p' | awk '{printf "  %s%s", NR > 1 ? ", " : "", $0} END {print ""}'
    perf report -i "$1" --stdio --no-children -g none --sort dso,symbol --percent-limit 1 2>/dev/null |
        sed -nE 's/^ +([0-9.]+%) +([^ ]+) +(\[[.k]\] [^ ]+).*/  \1  \3  \2/p' | head -n 25
}

# profile_of TITLE COMMAND...: the supervisor, its stages and the client apart, while the command runs
profile_of() {
    local title=$1 stages
    shift
    stages=$(tr ' ' ',' <"/proc/$PWCD_PID/task/$PWCD_PID/children")
    printf '\n==== %s\n' "$title"
    perf record -q -F 1999 -p "$PWCD_PID" -o "$TMP/perf.daemon" -- \
        perf record -q -F 1999 -p "${stages%,}" -o "$TMP/perf.stages" -- \
        perf record -q -F 1999 -o "$TMP/perf.client" -- timeout -k 5 60 "$@" 2>"$TMP/perf.err" ||
        { printf 'perf failed: %s\n' "$(tail -n 1 "$TMP/perf.err")" && return 0; }
    for stages in daemon stages client; do
        printf '%s:\n' "$stages"
        perf_lines "$TMP/perf.$stages"
        rm -f "$TMP/perf.$stages"
    done
}

row_profile() {
    if ! have perf; then
        note "no profile: perf is not installed (Debian package linux-perf)"
        return 0
    fi
    local side
    side=$(by 8192 2048)
    ! have vips || picture "$side" .tif
    {
        profile_of "one-chunk jobs, one after the other" "$CLIENT" latency 20000
        profile_of "one-chunk jobs, pipelined" "$CLIENT" flood 100000 4000 1
        profile_of "one-chunk jobs, 8 clients" "$CLIENT" flood 12500 500 8
        profile_of "empty chunks" "$CLIENT" chunks noop 1000000000
        profile_of "chunks of 10 us" "$CLIENT" chunks bench.mix 200000 "$STEPS"
        ! have vips || profile_of "gaussblur of $side^2" \
            sh -c "$(ours_image "$PICTURE" "$TMP/out-profile.tif" image.gaussblur sigma=8)"
    } >"$output/profile.txt"
    printf 'profile: %s\n' "$output/profile.txt"
}
