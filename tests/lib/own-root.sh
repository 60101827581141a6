# shellcheck shell=bash
# own-root.sh - a throw-away copy of this machine's root: a tmpfs above the root file system (an overlay).
#
#   own_root_possible   here, by whoever asks
#   need_prefix         units of this build are found by systemd
#   install_into DIR    `make install` into a folder, to be copied over such a root
#   $OWN_ROOT           lines of a script for new namespaces of which $1 is a directory, the machine's /host: they mount
#                       the copy and leave its place in $root. Nothing else of this machine is in it: no /proc, no /dev,
#                       and no unit is started but systemd's own and what is asked for.
#
# Expects lib.sh of the scenario tests.

own_root_possible() {
    unshare --mount sh -c '
        mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/m &&
        mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/m' 2>/dev/null
}

need_prefix() {
    local prefix
    prefix=$(sed -n 's/^prefix = //p' "$PWC_BUILD/Makefile")
    [[ $prefix == /usr/local || $prefix == /usr ]] || skip "configured for $prefix, where systemd finds no units"
}

install_into() {
    make -s -C "$PWC_BUILD" install DESTDIR="$1" >"$T/install.log" 2>&1 || fail "make install: $(tail "$T/install.log")"
}

# shellcheck disable=SC2016,SC2034 # expanded inside; for those who source this
OWN_ROOT='
set -eu
host=$1
mount --make-rprivate /
base=$host/../machine
mkdir -p "$base"
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
root=$base/root
mount -t overlay overlay -o lowerdir=/,upperdir="$base/upper",workdir="$base/work" "$root"
mkdir -p "$root/host" "$root/etc/systemd/system"
mount --bind "$host" "$root/host"
: >"$root/etc/fstab"
# Not multi-user.target: that would start whatever else is installed on this machine.
printf "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n" >"$root/etc/systemd/system/machine.target"
'
