# shellcheck shell=bash
# lib.sh - the harness of the scenario tests: a real pwcd on a socket in a folder of the test's own.
#
# A script sources this file, defines functions test_NAME, and ends with `run_tests "$@"`. Each test runs in a
# shell of its own (set -eu), between the script's setup (if it has one; $1 is the test's name) and teardown, with a
# folder of its own:
#
#   $T          harness: socket $S, log, scratch/        $T/w   the test's working directory
#
# What a test can rely on when it ends: pwcd was stopped with SIGTERM and must have exited with 0; no process,
# no socket, no scratch file, no hidden file may be left; pwcd must hold no descriptor of a client; its log must
# have no line at warning or above that the test did not announce with expect_log. Nothing sleeps: waits are
# for lines of a pipe, for processes, or poll a condition until a deadline.
#
# Usage: SCRIPT [test_NAME...]       PWC_BUILD: top of the build tree (default: the current directory)
#        PWC_KEEP=1: keep the folders of tests that failed

set -u
export LC_ALL=C

PWC_BUILD=$(cd "${PWC_BUILD:-.}" && pwd)
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # for the scripts
PWC_SRC=$(cd "$HERE/../.." && pwd)
TOOLS=$PWC_BUILD/tests/lib
PWCD=$PWC_BUILD/pwcd
PWCCTL=$PWC_BUILD/pwcctl
STAGE=${PWC_STAGE:-$PWC_BUILD/pwc-stage-test}
SANITIZED=
! grep -qs '^#define PWC_SANITIZED 1' "$PWC_BUILD/config.h" || SANITIZED=yes
# Seconds for one test and for one wait in it. Sanitized builds and busy machines are slow; nothing waits this
# long unless something is broken.
TEST_LIMIT=${PWC_TEST_LIMIT:-300}
WAIT_LIMIT=${PWC_WAIT_LIMIT:-60}

# ---- users ----

# shellcheck disable=SC2034 # for the scripts
ALICE=1001 BOB=1002

# need_users: to be root, and pwcctl where everybody can run it. The build tree may lie where only root can look, and
# libtool's wrapper would write beside itself.
need_users() {
    need_root
    mkdir "$T/bin"
    cp "$PWC_BUILD/.libs/pwcctl" "$PWC_BUILD"/.libs/libpwc.so.* "$T/bin"
    PWCCTL=$T/bin/pwcctl
    export LD_LIBRARY_PATH=$T/bin
}

# as UID COMMAND...
as() {
    local uid=$1
    shift
    setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}

# in_background_as NAME UID COMMAND...: a signal to BG reaches the command; with the function above it would end at a shell that
# waits for it.
in_background_as() {
    in_background "$1" setpriv --reuid "$2" --regid "$2" --clear-groups "${@:3}"
}

# as_stage PID COMMAND...: with the rights of that process, which may be all that is needed and more than root has.
as_stage() {
    local uid gid
    uid=$(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$1/status")
    gid=$(sed -n 's/^Gid:\t\([0-9]*\).*/\1/p' "/proc/$1/status")
    shift
    setpriv --reuid "$uid" --regid "$gid" --clear-groups "$@"
}

# limit_of PID ARGUMENT...: prlimit, with the rights of that process.
limit_of() {
    local -a as=(as_stage "$1")
    [[ $EUID -eq 0 ]] || as=()
    "${as[@]}" prlimit --pid "$@"
}

# ---- verdicts ----

fail() {
    printf 'FAIL: %s\n' "$*" >&2
    exit 1
}

skip() {
    printf '%s\n' "$*" >"$T/skipped"
    exit 77
}

# note WORDS: shown beside the verdict.
note() {
    printf '%s\n' "$*" >>"$T/notes"
}

need_root() {
    [[ $EUID -eq 0 ]] || skip "needs root"
}

need_vips() {
    [[ -n $(type -P vips) ]] || skip "needs the vips command (Debian package libvips-tools)"
    grep -q "^#define HAVE_VIPS 1" "$PWC_BUILD/config.h" || skip "built without libvips"
}

# equal WHAT EXPECTED ACTUAL
equal() {
    [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
}

# same FILE FILE: byte for byte
same() {
    cmp -s "$1" "$2" || fail "$1 and $2 differ: $(cmp "$1" "$2" 2>&1)"
}

# Nothing else lies in the working directory than the names given.
files_are() {
    local want have
    want=$(printf '%s\n' "$@" | sort)
    have=$(find . -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)
    equal "files in the working directory" "${want//$'\n'/ }" "${have//$'\n'/ }"
}

# ---- waiting ----

exec {NEVER}<> <(:)

# A short pause of a poll; no process is started for it.
tick() {
    read -r -t 0.02 -u "$NEVER" _ || :
}

# until_true WHAT COMMAND...: polls until COMMAND succeeds.
until_true() {
    local what=$1 end=$((SECONDS + WAIT_LIMIT))
    shift
    until "$@"; do
        ((SECONDS < end)) || fail "waited ${WAIT_LIMIT} s for: $what"
        tick
    done
}

# await_line FILE PATTERN: until the file has a line that matches (grep -E); prints the first.
await_line() {
    until_true "a line '$2' in $1" grep -qsE -- "$2" "$1"
    grep -m1 -E -- "$2" "$1"
}

# in_background NAME COMMAND...: as from an interactive shell (SIGINT is not ignored), output to NAME.out and
# NAME.err. Sets BG to the process; finish_background takes its status.
in_background() {
    local name=$1
    shift
    set -m
    "$@" >"$name.out" 2>"$name.err" </dev/null &
    # shellcheck disable=SC2034 # for the caller
    BG=$!
    set +m
}

# finish_background PID: its exit status in RC.
finish_background() {
    RC=0
    local end=$((SECONDS + WAIT_LIMIT))
    while kill -0 "$1" 2>/dev/null; do
        ((SECONDS < end)) || fail "process $1 did not end within ${WAIT_LIMIT} s"
        tick
    done
    wait "$1" || RC=$?
}

# ---- the daemon ----

# A daemon gone wild writes megabytes.
log_tail() {
    tail -n 8 "$T/log" 2>/dev/null | cut -c1-300
}

# launch_pwcd [ARGUMENT...]: starts it under mind, whose first line will say "ready", "exit" or "signal".
# PREFIX=(command...) goes before the program.
launch_pwcd() {
    mkdir -p "$T/scratch"
    [[ $EUID -ne 0 || -z ${DAEMON_USER-} ]] || chown "$DAEMON_USER" "$T" "$T/scratch"
    mkfifo "$T/mind"
    "$TOOLS/mind" "$T/log" "${PREFIX[@]}" "$PWCD" --socket "$S" --stage "$STAGE" --scratch "$T/scratch" "$@" \
        >"$T/mind" 2>&1 &
    MIND=$!
    exec {MINDFD}<"$T/mind"
    rm "$T/mind"
}

# start_pwcd [ARGUMENT...]: returns when it is ready.
start_pwcd() {
    local word
    launch_pwcd "$@"
    read -r -t "$WAIT_LIMIT" -u "$MINDFD" word PID || fail "pwcd says nothing: $(log_tail)"
    [[ $word == ready ]] || fail "pwcd did not get ready ($word ${PID-}): $(log_tail)"
}

# The next line of mind must begin with these words.
mind_says() {
    local line
    read -r -t "$WAIT_LIMIT" -u "$MINDFD" line || fail "pwcd did not end within ${WAIT_LIMIT} s"
    [[ $line == "$1"* ]] || fail "pwcd: expected '$1', got '$line'"
}

# Clients' files are closed by a thread of pwcd, a moment after the job.
no_client_descriptors() {
    ! find "/proc/$PID/fd" -type l -lname "$T/w/*" 2>/dev/null | grep -q .
}

count_fds() {
    find "/proc/$PID/fd" -type l 2>/dev/null | wc -l
}

count_fds_is() {
    [[ $(count_fds) -eq $1 ]]
}

stop_pwcd() {
    until_true "pwcd to close the clients' descriptors" no_client_descriptors
    kill -TERM "$PID"
    mind_says "exit 0"
    mind_says "left 0"
    end_pwcd
    [[ ! -e $S ]] || fail "pwcd left its socket behind"
}

# kill -9 of the daemon itself: the stages must notice and end.
crash_pwcd() {
    kill -KILL "$PID"
    mind_says "signal 9"
    mind_says "left"
    mind_says "stayed 0"
    wait "$MIND" 2>/dev/null || :
    unset PID
    exec {MINDFD}<&-
    rm -f "$S"
}

end_pwcd() {
    mind_says "stayed 0"
    wait "$MIND" 2>/dev/null || :
    unset PID
    exec {MINDFD}<&-
}

# expect_log PATTERN: warnings that match (grep -E) belong to the test.
expect_log() {
    printf '%s\n' "$1" >>"$T/expected"
}

# Each announced pattern must have come, and no other line.
check_log() {
    [[ -e $T/log ]] || return 0
    local pattern
    grep -aE '^[a-z-]+: (bug|fatal|warning): |^<[0-4]>|runtime error: |Sanitizer' "$T/log" >"$T/bad" || :
    while read -r pattern; do
        grep -qaE -- "$pattern" "$T/bad" || fail "the log has no line like: $pattern"
    done <"$T/expected"
    if grep -avE -f "$T/expected" "$T/bad" >"$T/unexpected"; then
        fail "unexpected in the log: $(head -n 5 "$T/unexpected")"
    fi
}

# Of all processes, those of stages too: a chunk may have been done again and all may seem well.
check_reports() {
    local report
    report=$(a_report "$T/reports")
    [[ -z $report ]] || fail "report of a sanitizer: $(head -n 30 "$report")"
}

check_nothing_left() {
    local left
    left=$(find "$T/scratch" -mindepth 1 2>/dev/null | head -n 3)
    [[ -z $left ]] || fail "scratch files left: $left"
    left=$(find "$T/w" -name '.?*' | head -n 3)
    [[ -z $left ]] || fail "hidden files left: $left"
    left=$(find /dev/shm -maxdepth 1 -name '*pwc*' 2>/dev/null | head -n 3)
    [[ -z $left ]] || fail "left in /dev/shm: $left"
}

# ---- jobs ----

# run ARGUMENT...: `pwcctl run`, output in out, messages in err, status in RC.
run() {
    RC=0
    "$PWCCTL" run "$@" >"$T/out" 2>"$T/err" </dev/null || RC=$?
}

# run_ok ARGUMENT...: the same, and it must succeed.
run_ok() {
    run "$@"
    [[ $RC -eq 0 ]] || fail "pwcctl run $*: exit $RC: $(<"$T/err")"
}

# refused RC PATTERN ARGUMENT...: it must end with this status and one line of reason that matches (grep -iE).
refused() {
    local rc=$1 pattern=$2 lines
    shift 2
    run "$@"
    [[ $RC -eq $rc ]] || fail "pwcctl run $*: expected exit $rc, got $RC: $(<"$T/err")"
    lines=$(grep -c . "$T/err") || :
    [[ $lines -eq 1 ]] || fail "pwcctl run $*: $lines lines of reason instead of one: $(<"$T/err")"
    grep -qiE -- "$pattern" "$T/err" || fail "pwcctl run $*: no '$pattern' in: $(<"$T/err")"
}

# field NAME: from the last `run --json`, wherever in the document it stands.
field() {
    jq -r "[.. | objects | select(has(\"$1\")) | .\"$1\"] | first" "$T/out"
}

# job_field NAME: the same of the newest job that the daemon knows.
job_field() {
    "$PWCCTL" jobs --json | jq -r "[.. | objects | select(has(\"job\") and has(\"state\"))] | last | [.. | objects |
        select(has(\"$1\")) | .\"$1\"] | first"
}

job_done_at_least() {
    local n
    n=$(job_field "done" 2>/dev/null) && [[ $n != null && $n -ge $1 ]]
}

daemon_alive() {
    "$PWCCTL" ping >/dev/null || fail "pwcd does not answer"
}

# stage_pids FILTER: pids of the stages that jq's FILTER chooses, one a line.
stage_pids() {
    "$PWCCTL" workers --json 2>/dev/null | jq -r "[.. | objects | select(has(\"pid\") and has(\"role\"))] | .[] |
        select($1) | .pid"
}

a_stage() {
    VICTIM=$(stage_pids "$1" | head -n 1)
    [[ -n $VICTIM ]]
}

signal_stage() {
    a_stage "$2" && kill "-$1" "$VICTIM" 2>/dev/null # it may have ended since it was listed
}

# kill_stage SIGNAL FILTER: waits for such a stage, sends the signal; its pid goes to VICTIM.
kill_stage() {
    until_true "a stage with $2" signal_stage "$1" "$2"
}

gone() {
    [[ ! -e /proc/$1 ]]
}

# shellcheck disable=SC2034 # for the scripts
WORKING='.role == "worker" and has("chunk")'

# settled SPARES: somebody computes, and no stage is being made or enters: nothing is on its way to pwcd with a descriptor.
settled() {
    a_stage "$WORKING" && [[ -z $(stage_pids '.state == "booting" or .state == "entering"') ]] &&
        [[ $("$PWCCTL" status --json | jq .daemon.spares) -eq $1 ]]
}

# ---- running them ----

finish_test() {
    local rc=$?
    trap - EXIT
    if declare -F teardown >/dev/null; then teardown || rc=1; fi
    if [[ $rc -eq 0 ]]; then
        (
            set -eu
            [[ -z ${PID-} ]] || stop_pwcd
            check_log
            check_reports
            check_nothing_left
        ) || rc=1
    elif [[ $rc -ne 77 && -s $T/log ]]; then
        printf -- '--- the end of the log:\n'
        tail -n 20 "$T/log"
    fi
    # mind kills what is left when this shell ends
    [[ -z ${MINDFD-} ]] || exec {MINDFD}<&- 2>/dev/null || :
    exit "$rc"
}

run_one() {
    set -eu
    T=$1
    S=$T/s
    mkdir "$T/w"
    cd "$T/w"
    : >"$T/expected"
    export PWC_SOCKET=$S
    PREFIX=()
    mkdir -m 1777 "$T/reports"
    if [[ -n $SANITIZED ]]; then
        export PWC_REPORTS=$T/reports
    fi
    # shellcheck source=../lib/sanitizers.sh
    . "$HERE/../lib/sanitizers.sh"
    trap finish_test EXIT
    if declare -F setup >/dev/null; then setup "$2"; fi
    "$2"
}

run_tests() {
    if [[ ${1-} == --one ]]; then
        run_one "$2" "$3"
        exit
    fi
    local passed=0 failed=0 skipped=0 name dir rc
    local -a names=("$@")
    [[ $# -gt 0 ]] || mapfile -t names < <(compgen -A function test_)
    for name in "${names[@]}"; do
        dir=$(mktemp -d "${TMPDIR:-/tmp}/pwc-XXXXXX")
        chmod 755 "$dir"
        rc=0
        timeout --foreground -k 10 "$TEST_LIMIT" bash "$0" --one "$dir" "$name" >"$dir/output" 2>&1 || rc=$?
        case $rc in
        0)
            passed=$((passed + 1))
            printf 'ok: %s\n' "$name"
            [[ ! -e $dir/notes ]] || sed 's/^/    /' "$dir/notes"
            ;;
        77) skipped=$((skipped + 1)) && printf 'skip: %s: %s\n' "$name" "$(<"$dir/skipped")" ;;
        *)
            failed=$((failed + 1))
            [[ $rc -ne 124 ]] || printf 'no end within %d s\n' "$TEST_LIMIT" >>"$dir/output"
            printf 'FAILED: %s (%d)\n' "$name" "$rc"
            tail -n 60 "$dir/output" | cut -c1-400 | sed 's|^|    |'
            ;;
        esac
        if [[ $rc -ne 0 && $rc -ne 77 && -n ${PWC_KEEP-} ]]; then
            printf '    kept: %s\n' "$dir"
        else
            rm -rf "$dir"
        fi
    done
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [[ $failed -eq 0 && $((passed + skipped)) -gt 0 ]] || exit 1
    [[ $passed -gt 0 ]] || exit 77
    exit 0
}
