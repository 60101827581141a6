# shellcheck shell=bash
# uml.sh - a kernel of one's own: User-mode Linux, with a real systemd, over a throw-away copy of this machine's root.
#
#   kernel_possible                          false, with the reason on standard output, where it cannot work
#   kernel_run MEGABYTES DIRECTORY COMMAND   boots a machine of so much memory and one processor, runs COMMAND (a line for
#                                            bash) in it as root, and switches it off. DIRECTORY (existing) is seen inside
#                                            as /host, build and source trees where they are here, and can be read only.
#                                            Output is that of COMMAND, status 0 if COMMAND ends with 0.
#
# Debian's is the kernel that Debian 12 runs, with all controllers of cgroup v2, without Landlock, without PSI and without
# CONFIG_CHECKPOINT_RESTORE. It is a process like any other: nothing outside is touched. Needs root and overlayfs.
# Expects $PWC_BUILD, $PWC_SRC, $TEST_LIMIT.

# shellcheck source=own-root.sh
. "$PWC_SRC/tests/lib/own-root.sh"

kernel_possible() {
    if [[ $EUID -ne 0 ]]; then
        echo "needs root"
    elif [[ ! -x /lib/systemd/systemd ]]; then
        echo "needs the Debian package systemd"
    elif [[ -z $(type -P linux.uml) ]]; then
        echo "needs the Debian package user-mode-linux"
    elif ! own_root_possible; then
        echo "needs to mount an overlay"
    else
        return 0
    fi
    return 1
}

# What a machine for one command can do without, and what would look for hardware.
KERNEL_MASKED="e2scrub_reap systemd-journal-flush systemd-modules-load systemd-random-seed systemd-sysusers
systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-udev-trigger systemd-udevd systemd-update-utmp"

# The memory of the machine is a file that its processes map with PROT_EXEC: in the tmpfs of the copy.
# shellcheck disable=SC2016 # expanded inside
KERNEL_BOOT=$OWN_ROOT'
megabytes=$2 masked=$3
shift 3
for tree; do
    mkdir -p "$root$tree"
    mount --bind "$tree" "$root$tree"
    mount -o remount,bind,ro "$root$tree"
done
units=$root/etc/systemd/system
ln -s machine.target "$units/default.target"
for unit in $masked; do ln -sf /dev/null "$units/$unit.service"; done
mkdir "$units/machine.target.wants" "$base/memory"
ln -s ../command.service "$units/machine.target.wants"
cat >"$units/command.service" <<END
[Unit]
After=basic.target
[Service]
Type=oneshot
OOMPolicy=continue
ExecStart=/bin/bash -c ". /host/command"
ExecStopPost=/bin/sh -c "echo \$EXIT_STATUS >/host/status; exec systemctl poweroff -ff >/dev/null 2>&1"
StandardOutput=file:/host/output
StandardError=inherit
END
mount -t proc proc /proc
TMPDIR=$base/memory exec linux.uml mem="${megabytes}M" root=/dev/root rootfstype=hostfs rootflags="$root" rw \
    init=/lib/systemd/systemd systemd.show_status=0 cgroup_no_v1=all con=null con0=null,fd:1 quiet
'

kernel_run() {
    local host
    host=$(cd "$2" && pwd)
    rm -f "$host/output" "$host/status"
    printf '%s\n' "$3" >"$host/command"
    # What hangs in there would outlive the test otherwise.
    timeout -k 5 "$((TEST_LIMIT - 20))" unshare --mount --pid --fork --kill-child=KILL \
        bash -c "$KERNEL_BOOT" - "$host" "$1" "$KERNEL_MASKED" "$PWC_BUILD" "$PWC_SRC" >"$host/console" 2>&1 </dev/null || :
    [[ -e $host/status ]] || fail "the machine did not come up: $(tail -n 5 "$host/console")"
    cat "$host/output"
    [[ $(<"$host/status") == 0 ]]
}
