# shellcheck shell=bash
# modes.sh - the ways in which results come together, as jobs that can be held, or made to fail, at any step: what steps.sh
# and rows.sh loop over. On top of tests/faults/lib.sh.
#
#   serial   a consumer takes them in order             none    nobody wants any
#   placed   workers write the output themselves        small   the same, one chunk: the stage may hold several such jobs
#   folded   states go back with the reports            whole   one process does all of it
#                                                       batch   the same for each of many files
#
# Who may misbehave (ROLE): plan, produce, process, merge; fill (placed: who writes in the place of what was given up), finish
# (folded: who makes results of states), whole. How (WAY): none, die, burn, eat, hold, fail; a stage that holds goes on when it
# gets SIGUSR1.
. "$(dirname "${BASH_SOURCE[0]}")/../faults/lib.sh"

PWCCTL=$CLIENT # without libtool's script around it each look takes half the time
BETWEEN='.role == "worker" and .state == "busy" and (has("chunk") | not)'
CHUNKS=40 # of whatever is cut; batch: files

modes_setup() {
    head -c 300000 /dev/urandom >in
    head -c 1000 in >small
    mkdir files
    local i
    for ((i = 0; i < CHUNKS; i++)); do printf '%1000d' "$i" >"files/$((i + 100))"; done
}

# ---- a job of a mode ----

# Ways are ops there.
fold_of() {
    case $1 in
    die) echo fault.segv ;;
    burn) echo fault.hang ;;
    eat) echo fault.leak ;;
    fail) echo fault.error ;;
    *) echo "fault.$1" ;;
    esac
}

# job_of MODE [ROLE WAY AT]: the arguments of pwcctl run, in JOB. Chunk AT misbehaves, in its first attempt unless further
# arguments say more. SLOW=MS: chunks take that long. TAG: behind the names of its files, where there are several jobs.
job_of() {
    local mode=$1 role=${2:-process} way=${3:-none} at=${4:-0} ms=${SLOW:-0}
    case $mode in
    serial | placed)
        JOB=(fault.copy in -o "out${TAG-}" chunk=$((300000 / CHUNKS)) slow=process ms="$ms")
        [[ $mode == serial ]] || JOB+=(place=true)
        ;;
    whole) JOB=(fault.copy small -o "out${TAG-}") ;;
    batch) JOB=(fault.copy --out-dir "outs${TAG-}" files/* slow=whole ms="$ms") ;;
    folded) JOB=("$(fold_of "$way")" n="$CHUNKS" ms="$ms" at="$at") ;;
    none) JOB=(fault.lone n="$CHUNKS" ms="$ms" way="$way" at="$at") ;;
    small) JOB=(fault.lone n=1 way="$way") ;;
    esac
    [[ ${JOB[0]} != fault.copy || $way == none ]] || JOB+=("$way=$role" at="$at")
}

# start_job MODE [ROLE WAY AT [ARGUMENT...]]: in the background, its process in BG.
start_job() {
    job_of "${@:1:4}"
    in_background "job${TAG-}" "$PWCCTL" run --json "${JOB[@]}" "${@:5}"
}

# run_job MODE [ROLE WAY AT [ARGUMENT...]]: exit status in RC.
run_job() {
    job_of "${@:1:4}"
    run --json "${JOB[@]}" "${@:5}"
}

# judge MODE STDOUT: all is there, once; then it is removed.
judge() {
    case $1 in
    serial | placed) same in "out${TAG-}" ;;
    whole) same small "out${TAG-}" ;;
    batch) diff -rq files "outs${TAG-}" || fail "a batch's outputs differ from its inputs" ;;
    folded)
        equal "$1: chunks" "$CHUNKS" "$(jq -r .results.chunks "$2")"
        equal "$1: sum of their numbers" $((CHUNKS * (CHUNKS - 1) / 2)) "$(jq -r .results.sum "$2")"
        ;;
    none) equal "$1: chunks" "$CHUNKS" "$(jq -r '[.. | objects | select(has("done")) | .done] | first' "$2")" ;;
    small) equal "$1: chunks" 1 "$(jq -r '[.. | objects | select(has("done")) | .done] | first' "$2")" ;;
    esac
    rm -rf "out${TAG-}" "outs${TAG-}"
}

# filled_with BYTE CHUNK FILE: it is `in`, with such bytes in the place of that chunk.
filled_with() {
    local n=$((300000 / CHUNKS))
    {
        head -c $((n * $2)) in
        head -c "$n" /dev/zero | tr '\0' "\\$(printf %o "$1")"
        tail -c +$((n * ($2 + 1) + 1)) in
    } | cmp -s - "$3" || fail "not $1 in the place of chunk $2"
}

# nothing_there WHAT: of a job that failed there is no output.
nothing_there() {
    [[ ! -e out ]] || fail "$1: a job that failed left an output"
    rm -rf outs # whose files are whole or not there
}

# finish_job MODE: the one in the background, which must have ended well.
finish_job() {
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "$1: exit $RC: $(<"job${TAG-}.err")"
    judge "$1" "job${TAG-}.out"
    rm "job${TAG-}".*
}

# ---- what is known of it ----

newest_job() {
    "$PWCCTL" jobs --json | jq '.jobs | last | .job'
}

# records [JOB]: of the newest job: "ROLE CHUNK ATTEMPT CAUSE" of each attempt that ended badly, in turn, separated by commas.
records() {
    "$PWCCTL" deaths "${1:-$(newest_job)}" --json |
        jq -r '[.deaths[] | "\(.role) \(.chunk) \(.attempt) \(.cause)"] | join(", ")'
}

# look ROLE AT: somebody of the newest job seems to hold there; a line that says who, and how far the job is.
look() {
    local filter job finished absorbed
    read -r job finished absorbed < <("$PWCCTL" jobs --json |
        jq -r '.jobs | last | "\(.job // 0) \(.counts.done // 0) \(.counts.absorbed // 0)"')
    case $1 in
    process) filter=".role == \"worker\" and .chunk == $2" ;;
    produce) filter='.role == "producer"' && [[ $finished -eq $2 ]] || return 1 ;;
    merge) filter='.role == "consumer"' && [[ $absorbed -eq $2 ]] || return 1 ;;
    plan) filter='.role == "planner" and .state == "busy"' ;;
    whole) filter="(.role == \"planner\" and .state == \"busy\" or .role == \"worker\" and .chunk == $2)" ;;
    finish) filter=$BETWEEN && [[ $finished -ge $((CHUNKS - 5)) ]] || return 1 ;;
    fill) filter=$BETWEEN && [[ $finished -eq $((CHUNKS - 1)) ]] || return 1 ;;
    esac
    a_stage "$filter and .job == ${job:-0}" || return 1
    LOOK="$VICTIM $finished $absorbed"
}

# Two looks in a row see the same.
holds_at() {
    local before
    look "$@" || return 1
    before=$LOOK
    tick
    look "$@" && [[ $LOOK == "$before" ]]
}

# await_hold ROLE AT: until a stage of the newest job holds there, in VICTIM.
await_hold() {
    until_true "a stage that holds as $1 at $2" holds_at "$1" "$2"
}

# release PID: what holds goes on.
release() {
    kill -USR1 "$1"
}

# A fresh dump of pwcd's has one more line with these words.
dumps_more() {
    [[ $(grep -acE -- "dump: $1" "$T/log") -gt $2 ]]
}

# dump_line PATTERN: the newest line of a fresh dump that matches.
dump_line() {
    local n
    n=$(grep -acE -- "dump: $1" "$T/log") || :
    kill -USR1 "$PID"
    until_true "a dump of $1" dumps_more "$1" "$n"
    grep -aE -- "dump: $1" "$T/log" | tail -n 1
}

busy_workers() {
    stage_pids '.role == "worker" and .state == "busy"' | wc -l
}

only_one_works() {
    [[ $(busy_workers) -eq 1 ]]
}

# dumped WORDS: the number behind them.
dumped() {
    dump_line seats | grep -oE "$1 [0-9]+" | grep -oE '[0-9]+$'
}

# lease_of PID: how far its lease goes, and how far it went when it was given: END GIVEN.
lease_of() {
    dump_line "stage [0-9]+ pid=$1 " | sed -E 's/.*\[[0-9]+,([0-9]+)\) given=([0-9]+) .*/\1 \2/'
}
