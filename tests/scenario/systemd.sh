#!/bin/bash
# The service as it is installed: `make install` into a machine with a real systemd, the socket started, jobs of an
# ordinary user, a worker killed, the service reloaded, killed and restarted.
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/ns-systemd.sh
. "$PWC_SRC/tests/lib/ns-systemd.sh"

setup() {
    local why
    why=$(machine_possible) || skip "$why"
    need_vips
    need_prefix
    # Sanitizers want address space and system calls that the hardened unit does not grant.
    ! grep -q '^#define PWC_SANITIZED 1' "$PWC_BUILD/config.h" || skip "built with sanitizers"
    mkdir "$T/host"
    install_into "$T/host/root"
    machine_start "$T/host"
    machine cp -a /host/root/. /
    machine ldconfig
    machine systemd-sysusers
    machine useradd -m -G pwc alice
    machine useradd -m mallory
    machine systemctl daemon-reload
    machine systemctl start pwcd.socket
}

teardown() {
    machine_stop
}

alice() {
    machine runuser -u alice -- env -C /home/alice "$@"
}

# The one line that systemctl show has for a property.
property() {
    machine systemctl show -P "$1" pwcd.service
}

property_is() {
    [[ $(property "$1") == "$2" ]]
}

photo_of_alice() {
    alice sh -c 'vips zone z.v 4001 3001 --uchar && vips bandjoin "z.v z.v z.v" rgb.v && vips copy rgb.v photo.tif --interpretation srgb'
}

journal() {
    machine journalctl -u pwcd.service -o cat --no-pager
}

no_complaints() {
    local bad
    bad=$(machine journalctl -u pwcd.service -p warning -o cat --no-pager | grep -vE "$1" || :)
    [[ -z $bad ]] || fail "in the journal: $bad"
}

same_for_alice() {
    alice sh -c "vips $1 && vips rawsave theirs.tif t && vips rawsave out.tif o && cmp t o"
}

test_job_of_an_ordinary_user() {
    photo_of_alice
    property_is ActiveState inactive || fail "active before anybody asked"
    alice pwcctl run image.gaussblur photo.tif -o out.tif sigma=8
    property_is ActiveState active || fail "not started by its socket"
    property_is NRestarts 0 || fail "restarted"
    [[ -n $(property StatusText) ]] || fail "no status text"
    same_for_alice "gaussblur photo.tif theirs.tif 8"
    [[ $(property UID) -ne 0 ]] || fail "runs as root"
    no_complaints 'nothing expected'
}

test_strangers_are_not_let_in() {
    local rc=0
    machine runuser -u mallory -- pwcctl ping 2>err || rc=$?
    equal "exit status" 77 "$rc"
}

test_killed_worker() {
    photo_of_alice
    alice pwcctl run image.gaussblur photo.tif -o quiet.tif sigma=20
    alice pwcctl run image.gaussblur photo.tif -o out.tif sigma=20 --json >job.json &
    local job=$!
    until_true "a worker at work" worker_in_machine
    machine kill -KILL "$VICTIM"
    wait "$job"
    alice cmp quiet.tif out.tif
    [[ $(jq '[.. | objects | .deaths? // empty] | first' job.json) -eq 1 ]] || fail "the death is not told: $(<job.json)"
    property_is NRestarts 0 || fail "the service did not survive the death of a worker"
}

# Pids as seen inside.
worker_in_machine() {
    VICTIM=$(alice pwcctl workers --json 2>/dev/null |
        jq -r '[.. | objects | select(.role? == "worker" and has("chunk"))] | first | .pid // empty')
    [[ -n $VICTIM ]]
}

test_restart_and_reload() {
    photo_of_alice
    alice pwcctl run image.invert photo.tif -o out.tif
    machine systemctl reload pwcd.service
    alice pwcctl ping
    machine systemctl restart pwcd.service
    alice pwcctl run image.invert photo.tif -o out.tif
    same_for_alice "invert photo.tif theirs.tif"
    local before
    before=$(property MainPID)
    machine kill -KILL "$before"
    until_true "systemd to start it again" another_main_pid "$before"
    alice pwcctl run image.invert photo.tif -o out.tif
    same_for_alice "invert photo.tif theirs.tif"
    machine systemctl stop pwcd.service
    [[ $(property Result) == success ]] || fail "stopping ended with $(property Result)"
    # The socket is still there: the next client starts the service.
    alice pwcctl run noop n=1000
}

another_main_pid() {
    local now
    now=$(property MainPID)
    [[ $now -ne 0 && $now -ne $1 ]] && property_is ActiveState active
}

test_watchdog_is_fed() {
    alice pwcctl ping
    [[ $(property WatchdogUSec) == 30s ]] || fail "WatchdogUSec is $(property WatchdogUSec)"
    until_true "a word to the watchdog" eval '[[ $(property WatchdogTimestampMonotonic) -gt 0 ]]'
}

# Delegated: a cgroup for each stage, where this kernel has its memory controller in the v2 tree; else the reason.
test_memory_is_delegated() {
    alice pwcctl run noop n=1000
    property_is Delegate yes || fail "not delegated"
    local says pid
    says=$(alice pwcctl status --json | jq -r .daemon.memory)
    pid=$(property MainPID)
    if machine grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
        [[ $says == "a cgroup for each stage, in "*/pwcd.service ]] || fail "status says: $says"
        machine grep -q '/pwcd.service/supervisor$' "/proc/$pid/cgroup" || fail "pwcd is not in its leaf"
        machine systemctl restart pwcd.service
        alice pwcctl run noop n=1000
        [[ $(alice pwcctl status --json | jq -r .daemon.memory) == "$says" ]] || fail "not so after a restart"
    else
        [[ $says == "watched ten times a second (the memory controller is not there: "*/pwcd.service")" ]] || fail "status says: $says"
        note "no memory controller here: only that it was delegated is tested"
    fi
    no_complaints 'nothing expected'
}

test_stopped_at_shutdown() {
    alice pwcctl run noop n=1000
    machine systemctl stop pwcd.socket pwcd.service
    [[ -z $(machine pgrep -x 'pwcd|pwc-stage' || :) ]] || fail "processes left"
    machine test ! -e /run/pwcd/pwcd.sock || fail "socket left"
    [[ -z $(machine find /var/cache/private/pwcd -mindepth 1 2>/dev/null) ]] || fail "scratch files left"
}

test_units_are_clean() {
    local out
    out=$(machine systemd-analyze verify pwcd.service pwcd.socket 2>&1) || fail "$out"
    [[ -z $out ]] || fail "$out"
    machine systemd-analyze security --offline=true --threshold=15 --no-pager "$(property FragmentPath)" >score ||
        fail "$(tail -n 1 score)"
}

run_tests "$@"
