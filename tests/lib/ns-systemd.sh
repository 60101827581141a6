# shellcheck shell=bash
# ns-systemd.sh - a real systemd as PID 1 of namespaces of its own, over a throw-away copy of this machine's root.
#
#   machine_possible            false, with the reason on standard output, where it cannot work
#   machine_start DIRECTORY     boots; DIRECTORY (existing, empty) is seen inside as /host
#   machine COMMAND...          runs as root inside
#   machine_stop
#
# Every change inside goes to a tmpfs above the root file system (an overlay), so nothing outside is touched but one
# cgroup, which machine_stop removes. systemd tells that it is up by READY=1, as it tells any container manager;
# mind(1) of this folder listens for it, and sees to it that nothing survives.
#
# Needs root, overlayfs and cgroup v2 (alone or as the "unified" half of a hybrid). Expects $TOOLS, $PWC_SRC, $WAIT_LIMIT.

# shellcheck source=own-root.sh
. "$PWC_SRC/tests/lib/own-root.sh"

cgroup2_mount() {
    if [[ -e /sys/fs/cgroup/cgroup.procs ]]; then
        echo /sys/fs/cgroup
    elif [[ -e /sys/fs/cgroup/unified/cgroup.procs ]]; then
        echo /sys/fs/cgroup/unified
    fi
}

machine_possible() {
    local cg
    cg=$(cgroup2_mount)
    if [[ $EUID -ne 0 ]]; then
        echo "needs root"
    elif [[ ! -x /lib/systemd/systemd ]]; then
        echo "needs the Debian package systemd"
    elif [[ -z $cg || ! -w $cg ]] || ! mkdir "$cg/pwc-probe-$$" 2>/dev/null; then
        echo "needs a cgroup v2 tree that it may write to"
    elif ! rmdir "$cg/pwc-probe-$$" || ! own_root_possible; then
        echo "needs to mount an overlay"
    else
        return 0
    fi
    return 1
}

# The machine's init before systemd: a root of its own, then systemd in it. Runs in the new namespaces.
# shellcheck disable=SC2016 # expanded inside
MACHINE_INIT=$OWN_ROOT'
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
cd "$root"
mkdir -p .outside
pivot_root . .outside
exec env -i container=pwc-test NOTIFY_SOCKET=/host/notify PATH=/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c "
    umount -l /.outside
    exec /lib/systemd/systemd --system --unit=machine.target --log-target=journal --show-status=0"
'

machine_start() {
    local host word outer
    host=$(cd "$1" && pwd)
    MACHINE_CGROUP=$(cgroup2_mount)/pwc-test-$$
    mkdir "$MACHINE_CGROUP"
    mkfifo "$host/../machine-mind"
    # The whole machine, mind too, lives in the cgroup that becomes the root of its cgroup namespace.
    # shellcheck disable=SC2016
    MIND_NOTIFY=$host/notify bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' - "$MACHINE_CGROUP" \
        "$TOOLS/mind" "$host/../machine-log" unshare --cgroup --mount --pid --uts --ipc --net --fork --kill-child=KILL \
        bash -c "$MACHINE_INIT" - "$host" >"$host/../machine-mind" &
    MACHINE_MIND=$!
    exec {MACHINE_FD}<"$host/../machine-mind"
    read -r -t "$WAIT_LIMIT" -u "$MACHINE_FD" word outer || word=nothing
    [[ $word == ready ]] || fail "systemd did not come up ($word): $(tail -n 5 "$host/../machine-log")"
    read -r MACHINE_INIT_PID _ <"/proc/$outer/task/$outer/children" || :
}

machine() {
    nsenter -t "$MACHINE_INIT_PID" --all -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        LC_ALL=C.UTF-8 "$@" </dev/null
}

machine_stop() {
    [[ -n ${MACHINE_MIND-} ]] || return 0
    kill -TERM "$MACHINE_MIND"
    wait "$MACHINE_MIND" || :
    unset MACHINE_MIND
    exec {MACHINE_FD}<&-
    find "$MACHINE_CGROUP" -depth -type d -exec rmdir {} \;
}
