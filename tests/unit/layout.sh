#!/bin/bash
# layout.sh - the rules of the tree that no compiler enforces: who may include whom, what pwcd is linked with, how
# large files and functions may be, and that no test sleeps. One check a rule; each prints what breaks it.
#
#   proto <- ipc <- {daemon, worker, client} <- tests
#   pwcctl (client/ctl) sees of all that only client/pwc.h
set -euo pipefail
export LC_ALL=C
build=$PWD
cd "${srcdir:-$(dirname "$0")/../..}"

FILE_MOST=700
FUNCTION_MOST=100

passed=0 failed=0

# holds RULE COMMAND...: what the command prints breaks the rule.
holds() {
    local found
    found=$("${@:2}") || true
    if [[ -z $found ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s:\n    %s\n' "$1" "${found//$'\n'/$'\n    '}"
    fi
}

# sources SUFFIXES PLACE...: our files there, not what a build left.
sources() {
    find "${@:2}" -type f -regextype egrep -regex ".*\.($1)" ! -name '*.pb-c.[ch]' | sort
}

# includes '"' or '<' PLACE...: "FILE INCLUDED" a line.
includes() {
    sources 'c|h' "${@:2}" | xargs -r grep -HE "^[ 	]*#[ 	]*include[ 	]*[$1]" |
        sed -E 's/^([^:]*):[^"<]*["<]([^">]*)[">].*/\1 \2/'
}

# ---- who may include whom ----

outside() { # ROOM ALLOWED...
    includes '"' "$1" | awk -v ok="^($(IFS='|' && echo "${*:2}"))/" '$2 !~ ok'
}
ctl_includes() { includes '"' client/ctl | awk '$2 !~ /^client\/(ctl\/.*|pwc\.h)$/'; }
lib_includes() { includes '"' client | awk '$1 !~ /^client\/ctl\// && $2 ~ /^client\/ctl\//'; }
public_includes() { includes '"' client/pwc.h; }
angled() { # PATTERN PLACE...
    includes '<' "${@:2}" | grep -E " ($1)"
}
op_includes() { angled 'sys/socket\.h|sys/wait\.h|spawn\.h|event2/' worker/ops | grep -v '^worker/ops/fault'; }
core_includes() {
    local -a core
    mapfile -t core < <(sed -n '/^libcore_la_SOURCES/,/[^\\]$/p' daemon/part.am | grep -oE 'daemon/[a-z_]+\.[ch]')
    [[ ${#core[@]} -gt 4 ]] || echo "daemon/part.am: libcore_la_SOURCES is not where this script looks"
    angled 'event2/|sys/|time\.h|pthread\.h|poll\.h|signal\.h|fcntl\.h' "${core[@]}" | grep -vE ' sys/(queue|types)\.h$'
}
reads_includes() { [[ $(includes '"' ipc | wc -l) -gt 10 ]] || echo "it found no #include in ipc/"; }

holds "this script reads includes" reads_includes
holds "proto/ includes only of proto/" outside proto proto
holds "ipc/ includes only of proto/ and ipc/" outside ipc proto ipc
holds "daemon/ includes only of proto/, ipc/ and daemon/" outside daemon proto ipc daemon
holds "worker/ includes only of proto/, ipc/ and worker/" outside worker proto ipc worker
holds "client/ includes only of proto/, ipc/ and client/" outside client proto ipc client
holds "tests/ includes by path" outside tests proto ipc daemon worker client tests
holds "pwcctl includes only its own headers and client/pwc.h" ctl_includes
holds "libpwc includes nothing of pwcctl" lib_includes
holds "client/pwc.h stands alone" public_includes
holds "libvips and seccomp are the worker's" angled 'vips/|glib|seccomp\.h|linux/(seccomp|landlock)\.h' proto ipc daemon client
holds "libevent is the daemon's" angled 'event2/|event\.h' proto ipc worker client
holds "libsystemd is the daemon's" angled 'systemd/' proto ipc worker client
holds "ops see no sockets and no processes" op_includes
holds "the core of the daemon decides and does nothing else" core_includes

# ---- what programs are made of ----

# binary PROGRAM: the file that a build made, whatever libtool wrapped around it.
binary() {
    local f
    for f in "$build/.libs/$1" "$build/$1"; do
        [[ -x $f && $(head -c 4 "$f" | tail -c 3) == ELF ]] && echo "$f" && return
    done
    return 1
}
needs() { readelf -d "$2" | grep NEEDED | grep -E "$1"; }
symbols() { nm "$2" | grep -E "$1"; }

if pwcd=$(binary pwcd); then
    holds "pwcd needs neither libvips nor libseccomp" needs 'vips|seccomp|glib' "$pwcd"
    holds "pwcd holds no op" symbols ' (op_fail|ops_[a-z]+|optable_add|array_[a-z_]+|vips_[a-z_]+)$' "$pwcd"
else
    echo "skip: pwcd is not built here: what it is linked with is not checked"
fi
if pwcctl=$(binary pwcctl); then
    holds "pwcctl speaks through libpwc only" symbols ' [TtU] (chan_|frame_(get|put)|msg_(find|unpack)|protobuf_c_|pwc__)' "$pwcctl"
else
    echo "skip: pwcctl is not built here: what it is linked with is not checked"
fi

# ---- sizes ----

mapfile -t code < <(sources 'c|h|sh|def|proto' proto ipc daemon worker client tests contrib)
long_files() { wc -l "${code[@]}" | awk -v most=$FILE_MOST '$2 != "total" && $1 > ($2 ~ /^tests/ ? 800 : most) {print $2 ": " $1 " lines"}'; }
functions() { # NAME PLACE FIRST LAST
    sources 'c|h' ipc daemon worker client tests | xargs ctags -x --c-kinds=f --_xformat='%N %F:%n %n %{end}'
}
long_functions() {
    functions | awk -v most=$FUNCTION_MOST '$4 != "" && $4 - $3 >= most {print $2 ": " $1 ": " $4 - $3 + 1 " lines"}'
}
reads_functions() { [[ $(functions | awk '$4 > $3' | wc -l) -gt 50 ]] || echo "it found no functions"; }

holds "no file has more than $FILE_MOST lines, of the tests 800" long_files
if ctags --version 2>/dev/null | grep -q Universal; then
    holds "this script reads functions" reads_functions
    holds "no function has more than $FUNCTION_MOST lines" long_functions
else
    echo "skip: no universal ctags: lengths of functions are not checked"
fi

# ---- habits ----

sleeping_programs() {
    sources 'c|h' tests | xargs grep -nE '\b(u?sleep|(clock_)?nanosleep|thrd_sleep) *\('
}
sleeping_scripts() {
    sources 'sh' tests | xargs grep -nE '(^|[;&|({]|\b(do|then|else))[ 	]*sleep[ 	]+["$0-9.]' | grep -v '^tests/unit/layout.sh'
}
left_over() { grep -nE '\b(TODO|FIXME|XXX)\b' "${code[@]}" | grep -v '^tests/unit/layout.sh'; }
leaky_calls() {
    sources 'c' ipc daemon worker client | xargs grep -nE '\b(dup|dup2|pipe|accept|creat|epoll_create|fopen) *\(' |
        grep -vE 'fopen *\([^)]*"[a-z]*e[a-z]*"|dup2\([^)]*, STD(IN|OUT|ERR)_FILENO\)'
}

# As a plain tree: below somebody else's repository git would skip all files.
stale_plants() {
    local p
    [[ -n $(type -P git) ]] || return 0
    for p in "$PWD"/tests/planted/*.patch; do
        GIT_CEILING_DIRECTORIES=$(dirname "$PWD") git apply --check "$p" >/dev/null 2>&1 || echo "$p"
    done
}
unlisted_plants() {
    local p
    for p in tests/planted/*.patch; do
        grep -qF "| $(sed -n 's/^Bug: //p; /^$/q' "$p") |" doc/TESTING.md || echo "$p"
    done
}

holds "bugs to plant fit the code they are planted in" stale_plants
holds "doc/TESTING.md lists the bugs to plant" unlisted_plants
holds "no test program sleeps" sleeping_programs
holds "no test script sleeps" sleeping_scripts
holds "nothing is left for later" left_over
holds "descriptors are close-on-exec from birth" leaky_calls

printf '%s passed, %s failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
