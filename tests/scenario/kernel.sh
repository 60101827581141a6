#!/bin/bash
# What a test on somebody else's kernel cannot try: limits of memory that the kernel keeps, a machine whose memory is really
# used up, and the kernel of Debian 12 itself. In a machine of the test's own.
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/uml.sh
. "$PWC_SRC/tests/lib/uml.sh"

setup() {
    local why
    why=$(kernel_possible) || skip "$why"
    [[ -z $SANITIZED ]] || skip "sanitizers reserve terabytes"
    mkdir "$T/host"
    "$PWCCTL" --version >/dev/null # libtool's wrapper may make something once, where it can be written
}

# tests_pass MEGABYTES SCRIPT TEST...: in such a machine; none is skipped.
tests_pass() {
    local megabytes=$1 script=$2
    shift 2
    kernel_run "$megabytes" "$T/host" "mkdir -m 1777 /run/tests
        export TMPDIR=/run/tests PWC_BUILD=$PWC_BUILD PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
        bash $PWC_SRC/tests/scenario/$script $*" >passed || fail "$(<passed)"
    grep -qx "$# passed, 0 failed" passed || fail "$(<passed)"
    note "$(<passed)"
}

# Each stage in a cgroup of its own: its limit, what the kernel says of it, what a crash leaves.
test_memory_cgroups() {
    tests_pass 768 memory.sh test_cgroup_of_each_stage test_cgroups_of_a_crash_are_removed test_kernel_kills
}

test_memory_of_the_machine() {
    tests_pass 384 memory.sh test_whole_machine test_whole_machine_unwatched
}

# The unit with a real service manager and all controllers: what eats more than its limit is ended by the kernel, in its own
# cgroup; nothing else is, the service least of all.
# shellcheck disable=SC2016 # expanded inside
SERVICE='
set -eu
cp -a /host/root/. /
ldconfig
systemd-sysusers 2>/dev/null
useradd -m -G pwc alice
systemctl daemon-reload
systemctl start pwcd.socket
cd /home/alice
alice() { runuser -u alice -- "$@"; }
alice pwcctl run noop n=1000
main=$(systemctl show -P MainPID pwcd.service)
alice pwcctl status --json | jq -r .daemon.memory
alice sh -c "pwcctl run -q fault.none n=200 ms=20 --json >other.json" &
alice pwcctl run -q fault.leak n=9 at=3 attempts=1 --memory 60M --json | jq "[.. | .deaths? // empty] | first"
rc=0
alice pwcctl run -q fault.leak n=9 at=3 attempts=9 --memory 60M --retries 0 2>&1 || rc=$?
echo "status $rc"
wait
jq "[.. | .deaths? // empty] | first" other.json
alice pwcctl deaths --json | jq -r ".deaths[] | \"\(.cause) by \(.oom_by)\"" | sort | uniq -c
[[ $(systemctl show -P MainPID pwcd.service) == "$main" ]] || echo "another main process"
systemctl show -p NRestarts -p Result -p ActiveState pwcd.service
systemctl stop pwcd.socket pwcd.service
'

test_service() {
    need_prefix
    install_into "$T/host/root"
    cp "$PWC_BUILD/pwc-stage-test" "$(find "$T/host/root" -type f -name pwc-stage)"
    kernel_run 768 "$T/host" "$SERVICE" >says || fail "$(<says)"
    diff - says <<'END' || fail "not what was to be expected"
a cgroup for each stage, in /sys/fs/cgroup/system.slice/pwcd.service
1
pwcctl: chunk 3 killed: over its memory limit of 60M, attempt 1 of 1
status 1
0
      2 oom by cgroup
Result=success
NRestarts=0
ActiveState=active
END
}

run_tests "$@"
