# shellcheck shell=bash
# setup.sh - contrib/bench: packages, programs, the daemon under test, the two kinds of measurement, the report.
#
# row ID TITLE ARGUMENT...     one comparison (tests/bench/pair.c): result in rows.jsonl and table.tsv
# point TABLE X COMMAND...     one point of a growth table: result in growth.tsv
# shellcheck disable=SC2154,SC2034 # variables of contrib/bench, variables for the other parts

PEER_PACKAGES=(gearman-job-server libgearman-dev python3 python3-numpy parallel libvips-tools findutils)
PYTHON=/usr/bin/python3
GEARMAN_PORT=$((14730 + RANDOM % 1000))
failed=0

stop_process() { # PID: asks it to end and waits
    [[ -n ${1-} ]] || return 0
    kill -TERM "$1" 2>/dev/null || return 0
    wait "$1" 2>/dev/null || :
}

clean_up() {
    local pid
    for pid in ${PWCD_PID-} ${GEARMAND_PID-} ${GEAR_WORKERS-} ${HOLDER_PID-}; do
        stop_process "$pid"
    done
    [[ -z ${TMP-} ]] || rm -rf "$TMP"
}

# ---- programs ----

find_programs() {
    local dir
    if [[ -n $build ]]; then
        [[ -e $build/Makefile ]] || die "$build: no build of pwc is there"
        build=$(cd "$build" && pwd)
        headline "Building in $build"
        quietly "$TMP/make.log" make -C "$build" -j"$(nproc)" bench-programs
    else
        dir=$SOURCE/build-bench
        headline "Building an optimized pwc in $dir"
        [[ $install == no ]] || install_packages "${BUILD_PACKAGES[@]}"
        copy_source "$dir/src"
        TARGETS=bench-programs build "$dir/obj" "$dir/src" CFLAGS="-O2 -g"
        build=$dir/obj
    fi
    quietly "$TMP/make-gear.log" make -C "$build" -k tests/bench/bench-gear || :
    BIN=$build/tests/bench
    # libtool's wrapper scripts are left aside: commands are timed from their start.
    export LD_LIBRARY_PATH=$build/.libs
    CLIENT=$BIN/.libs/bench-client
    PWCCTL=$build/.libs/pwcctl
    [[ -x $CLIENT ]] || CLIENT=$BIN/bench-client
    [[ -x $PWCCTL ]] || PWCCTL=$build/pwcctl
    STAGE=$build/pwc-stage-test
    PEERS="$PYTHON $SOURCE/tests/bench/peers.py"
}

prepare() {
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    TMP=$(mktemp -d "${TMPDIR:-/var/tmp}/pwc-bench.XXXXXX")
    if [[ $install == yes ]]; then
        install_packages "${PEER_PACKAGES[@]}"
    fi
    find_programs
    output=${output:-$SOURCE/build-bench/results}
    mkdir -p "$output" "$TMP/scratch"
    output=$(cd "$output" && pwd)
    touch "$TMP/rows.jsonl" "$TMP/table.tsv" "$TMP/growth.tsv"
    ROUNDS=15 FEW=15
    [[ -z $quick ]] || ROUNDS=3 FEW=3
    [[ -z $rounds ]] || ROUNDS=$rounds FEW=$rounds
    export PWC_SOCKET=$TMP/s
    BEGAN=$SECONDS
}

start_pwcd() {
    # For daemons of other settings: bench-client fresh.
    export BENCH_PWCD=$build/pwcd BENCH_STAGE=$STAGE BENCH_TMP=$TMP
    "$build/pwcd" --socket "$PWC_SOCKET" --stage "$STAGE" --scratch "$TMP/scratch" 2>"$TMP/pwcd.log" &
    PWCD_PID=$!
    SEATS=$("$CLIENT" ready | awk '$1 == "seats" {print $2}') || die "pwcd does not start: $(tail -n 3 "$TMP/pwcd.log")"
    export BENCH_PROCESSES=$SEATS OMP_NUM_THREADS=$SEATS
}

calibrate() {
    STEPS=$("$BIN/bench-omp" calibrate 10000)
    printf 'A chunk of about 10 us is %s steps of arithmetic. %s rounds a row.\n' "$STEPS" "$ROUNDS"
}

# ---- the machine ----

have() {
    [[ -n $(type -P "$1") ]]
}

version_of() { # PACKAGE
    dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo "not installed"
}

describe_machine() {
    MACHINE=$(awk -F': *' '/^model name/ {print $2; exit}' /proc/cpuinfo)
    {
        printf 'machine   %s, %s CPUs, %s MiB\n' "${MACHINE:-$(uname -m)}" "$(nproc)" \
            "$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)"
        printf 'system    %s, Linux %s\n' "$(. /etc/os-release && echo "$PRETTY_NAME")" "$(uname -r)"
        printf 'pwc       %s, %s, CFLAGS %s\n' "$("$build/pwcd" --version | head -n 1)" \
            "$(git -C "$SOURCE" describe --always --dirty 2>/dev/null || echo "no git")" \
            "$(sed -n 's/^CFLAGS = //p' "$build/Makefile")"
        printf 'compiler  %s\n' "$(gcc --version | head -n 1)"
        printf 'peers     libvips-tools %s, gearman-job-server %s, python3 %s, numpy %s, parallel %s\n' \
            "$(version_of libvips-tools)" "$(version_of gearman-job-server)" "$(version_of python3)" \
            "$(version_of python3-numpy)" "$(version_of parallel)"
        printf 'settings  %s; load before %s\n' "${quick:+quick, }$ROUNDS rounds, defaults of pwcd" "$(cut -d ' ' -f 1-3 /proc/loadavg)"
    } | tee "$TMP/machine.txt"
    awk '$1 > 0.5 {print "note      others use this machine: absolute times are worth little, ratios something"}' \
        /proc/loadavg | tee -a "$TMP/machine.txt"
}

# ---- rows ----

# peer NAME REQUIRED COMMAND: adds a side to SIDES. REQUIRED: a program or file that must be there.
peer() {
    if have "$2"; then
        SIDES+=(--run "$1" "$3")
    else
        SIDES+=(--absent "$1" "peer not installed: $2")
    fi
}

row() {
    local id=$1 title=$2 before
    shift 2
    before=$(wc -l <"$TMP/table.tsv")
    "$BIN/bench-pair" --row "$id" --title "$title" --json "$TMP/rows.jsonl" --table "$TMP/table.tsv" "$@" || failed=1
    tail -n +$((before + 1)) "$TMP/table.tsv" | format_lines
}

FORMAT='%-11s %-38s %-14s %-11s %9s %9s %7s %17s %9s  %s\n'

head_line() {
    # shellcheck disable=SC2059
    printf "$FORMAT" row work metric against ours theirs ratio "95 % of it" goal reached
}

format_lines() {
    awk -F'\t' -v format="$FORMAT" '{
        bound = $8 != "" ? $8 " - " $9 : ""
        printf format, $1, substr($2, 1, 38), $3, $4, $5, $6, $7, bound, $10, $11
    }'
}

# ---- growth ----

growth_head() { # TABLE TITLE
    printf '\n%s\n' "$2"
}

# point TABLE X COMMAND...
point() {
    local table=$1 x=$2 key value
    shift 2
    if ! "$@" >"$TMP/point" 2>"$TMP/point.err"; then
        printf '  %-10s failed: %s\n' "$x" "$(tail -n 1 "$TMP/point.err")"
        failed=1
        return 0
    fi
    while read -r key value; do
        printf '%s\t%s\t%s\t%s\n' "$table" "$x" "$key" "$value"
    done <"$TMP/point" >>"$TMP/growth.tsv"
    awk -v x="$x" 'BEGIN {printf "  %-11s", x} {printf " %s %.4g", $1, $2} END {print ""}' "$TMP/point"
}

# ---- the end ----

json_text() {
    sed 's/[\\"]/\\&/g' | awk '{printf "%s%s", sep, $0; sep = "\\n"}'
}

write_json() {
    printf '{"machine":"%s",\n"rows":[\n' "$(json_text <"$TMP/machine.txt")"
    sed '$!s/$/,/' "$TMP/rows.jsonl"
    printf '],\n"growth":[\n'
    awk -F'\t' '{
        if ($1 != table || $2 != x) {
            printf "%s{\"table\":\"%s\",\"x\":%s", (NR > 1 ? "},\n" : ""), $1, $2
            table = $1
            x = $2
        }
        printf ",\"%s\":%s", $3, $4
    } END {if (NR > 0) print "}"}' "$TMP/growth.tsv"
    printf ']}\n'
}

finish() {
    local yes no
    {
        cat "$TMP/machine.txt"
        printf 'command   contrib/bench%s%s\n\n' "${quick:+ --quick}" "${rounds:+ --rounds $rounds}"
        head_line
        format_lines <"$TMP/table.tsv"
    } >"$output/table.txt"
    write_json >"$output/results.json"
    cp "$TMP/growth.tsv" "$output/growth.tsv"
    [[ -z $plots ]] || draw_plots
    yes=$(awk -F'\t' '$11 == "yes"' "$TMP/table.tsv" | wc -l)
    no=$(awk -F'\t' '$11 == "no" || $11 ~ /^FAILED/' "$TMP/table.tsv" | wc -l)
    headline "Results"
    cat "$output/table.txt"
    printf '\n%s goals reached, %s missed, %s not measured, in %s s; %s\n' "$yes" "$no" \
        "$(($(wc -l <"$TMP/table.tsv") - yes - no))" "$((SECONDS - BEGAN))" "$output/results.json"
    return "$failed"
}

draw_plots() {
    mkdir -p "$SOURCE/doc/bench"
    local spec
    while read -r spec; do
        # shellcheck disable=SC2086 # words
        draw_plot $spec
    done <<'PLOTS'
chunks seconds,daemon_cpu_ms,daemon_rss_kib
waiting submit_us,list_us,dispatch_us,bytes_job
clients connect_us,job_p50,bytes_client
workers ns_chunk,daemon_cpu_ms
sizes seconds,anon_mib,daemon_rss_mib
PLOTS
}

draw_plot() { # TABLE KEY,KEY...
    grep -q "^$1	" "$TMP/growth.tsv" || return 0
    awk -v table="$1" -v keys="$2" -f "$SOURCE/tests/bench/plot.awk" "$TMP/growth.tsv" >"$SOURCE/doc/bench/$1.svg"
}
