# shellcheck shell=bash
# lib.sh - what contrib/quickstart and contrib/check share: packages, a copy of the source, messages.
#
# Both work on a copy of the source in a folder of their own, so the tree they are started from stays as it is:
# nothing is generated in it, and a build that somebody else has there is left alone.

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

# What every build needs. One list: the README refers to it.
# shellcheck disable=SC2034 # used by the scripts
BUILD_PACKAGES=(gcc make autoconf automake libtool pkg-config libevent-dev libprotobuf-c-dev
    protobuf-c-compiler libsystemd-dev libseccomp-dev libvips-dev)

if [[ -t 1 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]]; then
    BOLD=$'\e[1m' PLAIN=$'\e[0m'
else
    BOLD='' PLAIN=''
fi

headline() {
    printf '%s== %s%s\n' "$BOLD" "$*" "$PLAIN"
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# configure would say so, but only after packages were installed.
[[ $SOURCE != *[[:space:]\"\#\$\&\'\`\\]* ]] || die "'$SOURCE': no build works below a path with blanks or quotes; clone to another"

# quietly LOG COMMAND...: output goes to LOG, and to the screen only when the command fails.
quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null && return
    tail -n 30 "$log" >&2
    die "failed: $* (all of its output: $log)"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif [[ -n $(type -P sudo) ]]; then
        sudo "$@"
    else
        die "packages must be installed, and that needs root or sudo: $*"
    fi
}

installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# install_packages NAME...: only what is missing, so that with everything there no network is needed.
install_packages() {
    local missing=() p
    for p in "$@"; do
        installed "$p" || missing+=("$p")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    [[ -n $(type -P apt-get) ]] || die "this script installs Debian packages; please install: ${missing[*]}"
    headline "Installing ${missing[*]}"
    local log
    log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >"$log" 2>&1 </dev/null; then
        printf '%s: apt-get update failed, going on with the lists there are\n' "${0##*/}" >&2
    fi
    quietly "$log" as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y --no-install-recommends install "${missing[@]}"
    rm -f "$log"
}

# What belongs to the source: what git tracks or would, else all but builds (build-aux is autoconf's), or each copy would
# hold the one before.
list_source() {
    if git -C "$SOURCE" rev-parse --git-dir >/dev/null 2>&1; then
        git -C "$SOURCE" ls-files -z --cached --others --exclude-standard |
            while IFS= read -r -d '' f; do
                [[ ! -e $SOURCE/$f ]] || printf '%s\0' "$f"
            done
    else
        (cd "$SOURCE" && find . \( -path './build' -o -path './build-[!a]*' -o -path ./bench-results -o -path ./.git -o \
            -path ./autom4te.cache \) -prune -o -type f -print0)
    fi
}

# copy_source DIRECTORY: keeps times, so that a second build does only what has changed. What the copy before had and
# this one has not is removed.
copy_source() {
    mkdir -p "$1"
    list_source | sort -z >"$1.list"
    [[ ! -e $1.before ]] || comm -z -23 "$1.before" "$1.list" | (cd "$1" && xargs -0r rm -f)
    tar -C "$SOURCE" --null --no-recursion -T "$1.list" -cf - | tar -C "$1" -xf -
    mv "$1.list" "$1.before"
}

# build DIRECTORY SOURCE [CONFIGURE ARGUMENT...]: out of the source's tree; TARGETS are make's, "all" if unset. What
# configure found before is kept while its arguments are the same.
build() {
    local dir=$1 src=$2
    shift 2
    mkdir -p "$dir"
    [[ -x $src/configure ]] || (cd "$src" && quietly "$dir/autogen.log" ./autogen.sh)
    if [[ ! -e $dir/Makefile || $(cat "$dir/configured" 2>/dev/null) != "$*" ]]; then
        (cd "$dir" && quietly "$dir/configure.log" "$src/configure" "$@")
        printf '%s\n' "$*" >"$dir/configured"
    fi
    # shellcheck disable=SC2086 # TARGETS is a list of words
    quietly "$dir/make.log" make -C "$dir" -j"$(nproc)" ${TARGETS-all}
}
