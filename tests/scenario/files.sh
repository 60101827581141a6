#!/bin/bash
# What happens to files: outputs appear whole or not at all, links and modes are kept, streams stream.
. "$(dirname "$0")/lib.sh"

setup() {
    need_vips
    vips gaussnoise in.v 600 400 --mean 128 --sigma 30 --seed 7
    vips cast in.v in.png uchar
    rm in.v
    [[ -n ${NO_DAEMON-} ]] || start_pwcd --workers 2
}

test_new_file() {
    umask 027
    run_ok image.invert in.png -o out.png
    files_are in.png out.png
    equal "mode" 640 "$(stat -c %a out.png)"
}

test_second_word_is_the_output() {
    run_ok image.invert in.png out.png
    files_are in.png out.png
}

test_existing_file_keeps_its_mode() {
    echo old >out.png
    chmod 604 out.png
    run_ok image.invert in.png -o out.png
    files_are in.png out.png
    equal "mode" 604 "$(stat -c %a out.png)"
    vipsheader out.png >/dev/null
}

test_existing_file_stays_when_the_job_fails() {
    echo old >out.png
    head -c 500 in.png >broken.png
    refused 1 . image.invert broken.png -o out.png
    equal "content" old "$(<out.png)"
    files_are in.png broken.png out.png
}

test_link_stays_a_link() {
    mkdir there
    echo old >there/real.png
    ln -s there/real.png out.png
    run_ok image.invert in.png -o out.png
    [[ -L out.png ]] || fail "the link was replaced"
    vipsheader there/real.png >/dev/null
    files_are in.png out.png there
}

test_link_to_nothing_yet() {
    mkdir there
    ln -s there/new.png out.png
    run_ok image.invert in.png -o out.png
    [[ -L out.png ]] || fail "the link was replaced"
    vipsheader there/new.png >/dev/null
    files_are in.png out.png there
}

test_name_like_a_parameter() {
    cp in.png ./sigma=9.png
    run_ok image.gaussblur ./sigma=9.png -o out.png sigma=2
    run_ok image.gaussblur sigma=2 -o two.png -- sigma=9.png
    same out.png two.png
}

test_standard_streams() {
    run_ok image.invert in.png -o file.png
    "$PWCCTL" run image.invert - -o - --format png <in.png >piped.png
    same file.png piped.png
    # shellcheck disable=SC2002 # a pipe is what is tested
    cat in.png | "$PWCCTL" run image.invert - -o - --format png | cat >piped.png
    same file.png piped.png
}

# Bytes of a picture would steer it.
test_terminal_gets_no_bytes() {
    local rc=0
    script -qec "'$PWCCTL' run image.invert in.png - --format png 2>'$T/err'" /dev/null </dev/null >"$T/screen" || rc=$?
    equal "exit status" 1 "$rc"
    equal "on the screen" '' "$(<"$T/screen")"
    grep -q "^pwcctl: cannot write '-': it is a terminal" "$T/err" || fail "reason: $(<"$T/err")"
}

test_output_to_a_fifo() {
    run_ok image.invert in.png -o file.png
    mkfifo pipe
    cat pipe >piped.png &
    local reader=$!
    run_ok image.invert in.png -o pipe --format png
    wait "$reader"
    same file.png piped.png
    [[ -p pipe ]] || fail "the FIFO was replaced"
}

# connected_to JOB: somebody waits for its publisher, who has a name of its own in the kernel's list.
connected_to() {
    (($(grep -cE "@pwc/[0-9a-f]{32}/$1\$" /proc/net/unix) >= 2))
}

# The publisher waits for a reader of the FIFO, and gets one that does not want it all.
test_wait_hears_what_was_not_published() {
    local id
    mkfifo pipe
    id=$("$PWCCTL" submit image.invert in.png -o pipe --format png)
    in_background wait "$PWCCTL" wait "$id"
    until_true "the waiter to be there" connected_to "$id"
    head -c 10 pipe >some
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    grep -q "^pwcctl: job $id is done, but not all of its output could be published" wait.err ||
        fail "reason: $(<wait.err)"
    id=$("$PWCCTL" submit image.invert in.png -o pipe --format png)
    in_background wait "$PWCCTL" wait "$id"
    until_true "the waiter to be there" connected_to "$id"
    cat pipe >piped.png
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    vipsheader piped.png >/dev/null
}

test_interrupted_leaves_nothing() {
    vips black big.v 9000 9000 --bands 3
    vips tiffsave big.v big.tif
    rm big.v
    in_background job "$PWCCTL" run image.gaussblur big.tif -o out.tif sigma=20
    until_true "a stage to work" a_stage "$WORKING"
    kill -INT "$BG"
    finish_background "$BG"
    equal "exit status" 130 "$RC"
    files_are in.png big.tif job.out job.err
    in_background job "$PWCCTL" run image.gaussblur big.tif -o out.tif sigma=20
    until_true "a stage to work" a_stage "$WORKING"
    kill -TERM "$BG"
    finish_background "$BG"
    equal "exit status" 143 "$RC"
    files_are in.png big.tif job.out job.err
}

# A disk of 1 MiB in a mount namespace of pwcctl's own.
test_full_disk() {
    need_root
    vips gaussnoise n.v 1200 1000 --seed 1
    vips cast n.v big.png uchar
    rm n.v
    mkdir small
    local rc=0
    unshare --mount bash -c 'mount --make-rprivate / && mount -t tmpfs -o size=256k tmpfs small &&
        { "$1" run image.invert big.png -o small/out.tif; rc=$?; ls -A small >left; exit "$rc"; }' - "$PWCCTL" 2>err || rc=$?
    equal "exit status" 1 "$rc"
    equal "lines of reason" 1 "$(grep -c . err)"
    grep -qiE 'no space' err || fail "reason: $(<err)"
    [[ ! -s left ]] || fail "left on the full disk: $(<left)"
    daemon_alive
}

# in_little_space REASON ARGUMENT...: a run, with little room in the temporary directory, fails with one line.
in_little_space() {
    local rc=0
    # shellcheck disable=SC2016 # for the shell within
    unshare --mount bash -c 'mount --make-rprivate / && mount -t tmpfs -o size=256k tmpfs small && TMPDIR=small exec "$@"' - \
        "$PWCCTL" run "${@:2}" 2>err >part || rc=$?
    equal "exit status" 1 "$rc"
    equal "lines of reason" 1 "$(grep -c . err)"
    grep -qE "$1" err || fail "reason: $(<err)"
}

# Which disk that is, when nobody has named it.
test_full_temporary_directory() {
    need_root
    head -c 2000000 /dev/zero >big
    mkdir small
    in_little_space "cannot copy '-' to a temporary file in small: No space left on device" fault.copy - -o out < <(cat big)
    in_little_space "'-', gathered in small: No space left on device" fault.copy big -o -
    in_little_space "^pwcctl: '-': cannot be written as webp" image.replicate in.png across=2000 down=1 -o - --format webp # the format has no room
    rmdir small
    files_are big err in.png part
}

test_full_disk_that_can_be_seen_before() {
    run_ok image.invert in.png -o out.png
    local rc=0
    "$PWCCTL" run image.invert in.png -o - --format png >/dev/full 2>err || rc=$?
    equal "exit status" 1 "$rc"
    equal "lines of reason" 1 "$(grep -c . err)"
}

# What pwcctl itself writes: by default the signal would end it without a word, and leave a job behind.
test_limit_of_a_files_size() {
    local rc
    limited() { # WHAT ARGUMENT...
        rc=0
        bash -c 'ulimit -f 8; exec "$@"' - "$PWCCTL" run "${@:2}" >part 2>err || rc=$?
        equal "$1: exit status ($(<err))" 1 "$rc"
        equal "$1: lines of reason" 1 "$(grep -c . err)"
        grep -q 'File too large' err || fail "$1: $(<err)"
    }
    limited "output" -q image.invert in.png -o - --format png
    limited "copy of a pipe" -q image.invert - -o out.png < <(cat in.png)
    limited "trace" -q fault.none n=1000 --trace t.json
    files_are err in.png part
}

# An uninstalled pwcd does not know where its stages are.
private_daemon() {
    stop_pwcd
    rm "$T/log"
    printf '#!/bin/sh\nexec "%s" --stage "%s" --scratch "%s" "$@"\n' "$PWCD" "$STAGE" "$T/scratch" >"$T/pwcd"
    chmod +x "$T/pwcd"
    export PWC_PWCD=$T/pwcd PWC_SOCKET=$T/none XDG_RUNTIME_DIR=$T/run
    mkdir -m 700 "$T/run"
}

nothing_private_left() {
    equal "left in the directory of sockets" "" "$(ls -A "$T/run")"
}

# --private: no daemon runs before, none after.
test_private_daemon() {
    local out
    private_daemon
    out=$("$TOOLS/mind" "$T/private.log" "$PWCCTL" run --private image.invert in.png -o out.png)
    grep -q '^exit 0' <<<"$out" || fail "$out: $(tail -n 5 "$T/private.log")"
    grep -q '^left 0' <<<"$out" || fail "processes left: $out"
    vipsheader out.png >/dev/null
    files_are in.png out.png
    nothing_private_left
}

# interrupt_private SIGNAL: the client of a private daemon, in the middle of a job.
interrupt_private() {
    local line client
    private_daemon
    mkfifo "$T/lines"
    "$TOOLS/mind" "$T/private.log" "$PWCCTL" run --private sleep n=100000 ms=10 --progress json >"$T/lines" &
    exec {lines}<"$T/lines"
    rm "$T/lines"
    await_line "$T/private.log" '"running"' >/dev/null
    client=$(pgrep -P $! -x 'pwcctl|lt-pwcctl')
    kill "-$1" "$client"
    for line in any left stayed; do
        read -r -t "$WAIT_LIMIT" -u "$lines" line || fail "mind says nothing"
    done
    equal "processes that stay" "stayed 0" "$line"
    wait
}

test_private_daemon_interrupted() {
    interrupt_private INT
    nothing_private_left
}

test_private_daemon_whose_client_is_killed() {
    interrupt_private KILL
}

run_tests "$@"
