# shellcheck shell=bash
# setup.sh - contrib/bench: packages, programs, the daemon under test, the two kinds of measurement, the report.
#
# row ID TITLE ARGUMENT...     one comparison (tests/bench/pair.c): result in rows.jsonl and table.tsv
# point TABLE X COMMAND...     one point of a growth table: result in growth.tsv
# shellcheck disable=SC2154,SC2034 # variables of contrib/bench, variables for the other parts

PEER_PACKAGES=(gearman-job-server libgearman-dev python3 python3-numpy parallel libvips-tools findutils strace)
PYTHON=/usr/bin/python3
GEARMAN_PORT=$((14730 + RANDOM % 1000))
failed=0

exec {NEVER}<> <(:)
pause() {
    read -r -t 0.05 -u "$NEVER" _ || :
}

stop_process() { # PID, a child: asks it to end, waits, makes it end
    local i
    [[ -n ${1-} ]] || return 0
    kill -TERM "$1" 2>/dev/null || return 0
    for ((i = 0; i < 200; i++)); do
        kill -0 "$1" 2>/dev/null || break
        pause
    done
    kill -KILL "$1" 2>/dev/null || :
    wait "$1" 2>/dev/null || :
}

# What a row has started; each row is a shell of its own.
stop_all() {
    local pid
    for pid in ${GEAR_WORKERS-} ${GEARMAND_PID-} ${HOLDER_PID-} ${PWCD_PID-}; do
        stop_process "$pid"
    done
    GEAR_WORKERS='' GEARMAND_PID='' HOLDER_PID='' PWCD_PID=''
}

clean_up() {
    stop_all
    [[ -z ${TMP-} ]] || rm -rf "$TMP"
}

# ---- programs ----

find_programs() {
    local dir
    if [[ -n $build ]]; then
        build=$(cd "$build" && pwd)
        output=${output:-$build/bench-results}
        headline "Building in $build"
        quietly "$TMP/make.log" make -C "$build" -j"$(nproc)" bench-programs
    else
        dir=$SOURCE/build-bench
        headline "Building an optimized pwc in $dir"
        [[ $install == no ]] || install_packages "${BUILD_PACKAGES[@]}"
        copy_source "$dir/src"
        TARGETS=bench-programs build "$dir/obj" "$dir/src" CFLAGS="-O2 -g"
        build=$dir/obj
        output=${output:-$dir/results}
    fi
    # Their libraries may be missing: the rows say so. Not with "quietly", which ends us.
    make -C "$build" -k tests/bench/bench-gear tests/bench/bench-libs >"$TMP/make-peers.log" 2>&1 </dev/null || :
    BIN=$build/tests/bench
    # libtool's wrapper scripts are left aside: commands are timed from their start.
    export LD_LIBRARY_PATH=$build/.libs
    CLIENT=$BIN/.libs/bench-client
    PWCCTL=$build/.libs/pwcctl
    [[ -x $CLIENT ]] || CLIENT=$BIN/bench-client # built without shared libraries
    [[ -x $PWCCTL ]] || PWCCTL=$build/pwcctl
    STAGE=$build/pwc-stage-test
    PEERS="$PYTHON $SOURCE/tests/bench/peers.py"
}

prepare() {
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    TMP=$(mktemp -d "${TMPDIR:-/var/tmp}/pwc-bench.XXXXXX")
    if [[ $install == yes ]]; then
        install_packages "${PEER_PACKAGES[@]}" ${profile:+linux-perf}
    fi
    find_programs
    mkdir -p "$output" "$TMP/scratch"
    output=$(cd "$output" && pwd)
    touch "$TMP/rows.jsonl" "$TMP/table.tsv" "$TMP/growth.tsv" "$TMP/titles.tsv" "$TMP/notes.txt"
    ROUNDS=${rounds:-$(by 15 3)}
    MINUTES=${minutes:-$(by 29.5 2.7)}
    PREPARED=$SECONDS
    END=$(end_after "$PREPARED")
    [[ $END -le $(end_after 0) ]] ||
        note "installing and building took $PREPARED s: all of it takes $((END / 60)):$(printf %02d $((END % 60))) instead of $MINUTES minutes"
    export PWC_SOCKET=$TMP/s
    # For daemons of other settings: bench-client fresh.
    export BENCH_PWCD=$build/pwcd BENCH_STAGE=$STAGE BENCH_TMP=$TMP
}

# end_after SECONDS: when all shall be over, if installing and building took so long. Most of the time is left to the
# rows; with --quick the promise of three minutes comes first, as long as a third is left to them.
end_after() {
    awk -v m="$MINUTES" -v gone="$1" -v part="$(by 0.7 0.33)" \
        'BEGIN {all = m * 60; least = gone + part * all; print int(least > all ? least : all)}'
}

start_pwcd() {
    "$build/pwcd" --socket "$PWC_SOCKET" --stage "$STAGE" --scratch "$TMP/scratch" 2>"$TMP/pwcd.log" &
    PWCD_PID=$!
    SEATS=$("$CLIENT" ready | awk '$1 == "seats" {print $2}') || die "pwcd does not start: $(tail -n 3 "$TMP/pwcd.log")"
    export BENCH_PROCESSES=$SEATS OMP_NUM_THREADS=$SEATS
}

calibrate() {
    start_pwcd
    stop_all
    STEPS=$("$BIN/bench-omp" calibrate 10000)
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
        printf 'settings  %s rounds, %s minutes at most, defaults of pwcd (growth tables name theirs), %s seats, OMP_NUM_THREADS=%s, ' \
            "${quick:+quick, }$ROUNDS" "$MINUTES" "$SEATS" "$OMP_NUM_THREADS"
        printf 'vipsN: VIPS_CONCURRENCY=N VIPS_DISC_THRESHOLD=4g\n'
        printf 'chunk     %s steps of arithmetic are about 10 us\n' "$STEPS"
        printf 'files     pictures, scratch and results are on %s\n' "$(df --output=fstype "$TMP" | tail -n 1)"
        printf 'load      %s before anything was built or run\n' "$load_before"
    } | tee "$TMP/machine.txt"
    awk '$1 > 0.5 {print "note      this machine was not idle before: absolute times are worth little, ratios something"}' \
        <<<"$load_before" | tee -a "$TMP/machine.txt"
}

# ---- rows ----

by() { # FULL QUICK
    [[ -z $quick ]] && echo "$1" || echo "$2"
}

wanted() {
    local pattern patterns
    IFS=, read -ra patterns <<<"$only" # no file names take a pattern's place
    for pattern in "${patterns[@]}"; do
        # shellcheck disable=SC2053 # it is a pattern
        [[ $1 != $pattern ]] || return 0
    done
    return 1
}

# NAMES and their WEIGHTS, in order
choose_rows() {
    local name full fast
    NAMES=() WEIGHTS=()
    while read -r name full fast; do
        [[ -n $name ]] || continue
        [[ $only == list ]] || wanted "$name" || continue
        NAMES+=("$name") WEIGHTS+=("$(by "$full" "$fast")")
    done <<<"$ROWS"
    [[ -z $profile ]] || NAMES+=(profile) WEIGHTS+=(30)
    [[ ${#NAMES[@]} -gt 0 ]] || die "--rows: '$only' is none of: $(awk '{print $1}' <<<"$ROWS" | xargs)"
}

note() { # something that the reader of the results has to know
    printf 'note: %s\n' "$*"
    printf '%s\n' "$*" >>"$TMP/notes.txt"
}

# no_result ROW WHY: a row with nothing else to show stands in the table and in the JSON all the same
no_result() {
    printf '%s\t%s\t\t\t\t\t\t\t\t\t%s\t\t0\n' "$1" "$1" "$2" >>"$TMP/table.tsv"
    printf '{"row":"%s","failure":"%s","sides":[],"goals":[]}\n' "$1" "$2" >>"$TMP/rows.jsonl"
    failed=1
}

# share_of NUMBER: the row's share of what is left: BUDGET for its rounds, LIMIT for one command.
share_of() {
    local k rest=0 left=$((END - SECONDS))
    for ((k = $1; k < ${#WEIGHTS[@]}; k++)); do
        rest=$((rest + WEIGHTS[k]))
    done
    BUDGET=$((left * WEIGHTS[$1] / rest)) LIMIT=$(by 120 40)
    BUDGET=$((BUDGET > 0 ? BUDGET : 1)) LIMIT=$((LIMIT < left ? LIMIT : left))
}

# run_in_share NUMBER: the row. RC is its status; a failure ends that row alone.
run_in_share() {
    printf '%s[row %d of %d: %s; %d s of %d s gone, up to %d s for it]%s\n' "$BOLD" $(($1 + 1)) ${#NAMES[@]} "${NAMES[$1]}" \
        "$SECONDS" "$END" "$BUDGET" "$PLAIN" >&2
    set +e
    run_row "${NAMES[$1]}"
    RC=$?
    set -e
    [[ $RC -ne 130 ]] || exit 130
}

run_rows() {
    local i row before
    head_line
    for i in "${!NAMES[@]}"; do
        row=${NAMES[i]}
        if [[ $((END - SECONDS)) -lt 5 ]]; then
            note "$row: left out, the $MINUTES minutes are over"
            no_result "$row" "left out"
            continue
        fi
        before=$(lines_of table.tsv)
        share_of "$i"
        run_in_share "$i"
        [[ $RC -ne 0 ]] || continue
        failed=1
        [[ $(lines_of table.tsv) -gt $before ]] || no_result "$row" "FAILED: see the notes"
    done
}

# ---- what was cut goes on ----

lines_of() { # FILE
    wc -l <"$TMP/$1"
}

# Rows that have fewer rounds than they should.
choose_cut() {
    local name names=("${NAMES[@]}")
    NAMES=()
    for name in "${names[@]}"; do
        [[ -s $TMP/keep-$name ]] || continue
        awk -F'\t' -v row="$name" '$1 == row && split($12, n, " of ") == 2 && n[1] < n[2] {cut = 1} END {exit !cut}' \
            "$TMP/table.tsv" || continue
        NAMES+=("$name")
    done
}

# put_in_place FILE LINES START: of the lines that begin with START those behind the first LINES take the others' place.
put_in_place() {
    awk -v before="$2" -v start="$3" '
        FNR == NR {
            if (FNR > before && index($0, start) == 1) new = new $0 "\n"
            next
        }
        FNR > before && index($0, start) == 1 {next}
        index($0, start) == 1 {
            printf "%s", new
            new = ""
            next
        }
        {print}
        END {printf "%s", new}' "$TMP/$1" "$TMP/$1" >"$TMP/placed"
    mv "$TMP/placed" "$TMP/$1"
}

CUT_SLACK=20 # s that the last round may take beyond the end

# At the end there may be time left: rows that took less than their share leave some. Those that were cut have it, each on
# a daemon of its own once more, all that is left: a row that has its rounds ends. One that has begun a round may end it.
run_cut() {
    local i row table json notes
    choose_cut
    for i in "${!NAMES[@]}"; do
        [[ $((END - SECONDS)) -ge 5 ]] || return 0
        row=${NAMES[i]} table=$(lines_of table.tsv) json=$(lines_of rows.jsonl) notes=$(lines_of notes.txt)
        BUDGET=$((END - SECONDS)) LIMIT=$((BUDGET + CUT_SLACK))
        run_in_share "$i"
        [[ $RC -eq 0 ]] || failed=1
        [[ $(lines_of table.tsv) -gt $table ]] || continue # no further round: what there was stays
        put_in_place table.tsv "$table" "$row"$'\t'
        put_in_place rows.jsonl "$json" "{\"row\":\"$row\","
        put_in_place notes.txt "$notes" "$row: "
    done
}

# What it returns says whether all went well; it must not be called where bash ignores -e.
run_row() (
    set -e
    failed=0 done_with='' this=$1 # when the trap runs, $1 is the script's again
    trap 'stop_all; [[ -n $done_with ]] || note "$this: could not be run to its end"' EXIT
    trap 'exit 130' INT TERM
    start_pwcd
    "row_${1//./_}"
    done_with=yes
    exit "$failed"
)

# peer NAME REQUIRED COMMAND: adds a side to SIDES. REQUIRED: a program or file that must be there.
peer() {
    if have "$2"; then
        SIDES+=(--run "$1" "$3")
    else
        SIDES+=(--absent "$1" "peer not installed: $2")
    fi
}

# row ID TITLE ARGUMENT...; an argument that is given twice counts as given last
row() {
    local id=$1 title=$2 before
    shift 2
    before=$(wc -l <"$TMP/table.tsv")
    "$BIN/bench-pair" --row "$id" --title "$title" --keep "$TMP/keep-$id" --json "$TMP/rows.jsonl" \
        --table "$TMP/table.tsv" --notes "$TMP/notes.txt" --rounds "$ROUNDS" --budget "$BUDGET" --limit "$LIMIT" "$@" || failed=1
    tail -n +$((before + 1)) "$TMP/table.tsv" | format_lines
}

# values_of ROW KEY: what ours had in each round, as told last: "0, 2, 1"
values_of() {
    local values
    values=$(awk -v row="{\"row\":\"$1\"," -v key="\"$2\":[" 'index($0, row) == 1 && (at = index($0, key)) > 0 {
        rest = substr($0, at + length(key))
        values = substr(rest, 1, index(rest, "]") - 1)
    } END {print values}' "$TMP/rows.jsonl")
    values=${values:-(no round)}
    echo "${values//,/, }"
}

FORMAT='%-11s %-36s %-13s %-11s %8s %8s %7s %17s %9s %-8s %s\n'

head_line() {
    # shellcheck disable=SC2059
    printf "$FORMAT" row work metric against ours theirs ratio "95 % of it" goal pairs reached
}

# A range of fewer than six values is marked: it is the smallest and the largest, and no 95 % bound.
format_lines() {
    awk -F'\t' -v format="$FORMAT" '{
        bound = $8 != "" ? ($13 < 0.95 ? "~" : "") $8 " - " $9 : ""
        printf format, $1, substr($2, 1, 36), $3, $4, $5, $6, $7, bound, $10, $12, $11
    }'
}

# ---- growth ----

growth_head() { # TABLE TITLE [SETTINGS of pwcd, if they are not the defaults]
    ROW_BEGAN=$SECONDS
    printf '%s\n' "$2${3:+ ($3)}"
    printf '%s\t%s\t%s\n' "$1" "$2" "${3-}" >>"$TMP/titles.tsv"
}

# point TABLE X COMMAND...: within what is left of the row's budget
point() {
    local table=$1 x=$2 key value left
    shift 2
    left=$((ROW_BEGAN + BUDGET - SECONDS))
    if [[ $left -lt 1 ]]; then
        note "$table: $x left out, the time for this row is over"
        return 0
    fi
    if ! timeout -k 5 "$((left < 5 ? 5 : left))" "$@" >"$TMP/point" 2>"$TMP/point.err"; then
        note "$table: $x failed or took too long: $(tail -n 1 "$TMP/point.err")"
        failed=1
        return 0
    fi
    while read -r key value; do
        printf '%s\t%s\t%s\t%s\n' "$table" "$x" "$key" "$value"
    done <"$TMP/point" >>"$TMP/growth.tsv"
    awk -v x="$x" 'BEGIN {printf "  %-11s", x} {printf " %s %.4g", $1, $2} END {print ""}' "$TMP/point"
}
