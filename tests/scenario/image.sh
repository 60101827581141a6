#!/bin/bash
# Images through producer, workers and consumer: pixels as the vips command makes them, whoever is killed meanwhile.
. "$(dirname "$0")/lib.sh"

setup() {
    need_vips
    start_pwcd --workers 2
}

# photo WIDTH HEIGHT OUTPUT: something with structure at every scale, the same in every run.
photo() {
    local size="$1 $2"
    # shellcheck disable=SC2086 # two words
    {
        vips zone z.v $size --uchar
        vips sines s.v $size --uchar --hfreq 7.3 --vfreq 3.1
        vips black k.v $size
        vips invert z.v i.v
    }
    vips bandjoin "z.v s.v i.v" rgb.v
    vips copy rgb.v "$3" --interpretation srgb
    rm z.v s.v k.v i.v rgb.v
}

# pixels FILE: the decoded pixels alone, as raw bytes.
pixels() {
    vips rawsave "$1" "$1.pixels"
    vipsheader -f width "$1"
    vipsheader -f height "$1"
    vipsheader -f bands "$1"
    vipsheader -f format "$1"
    sha256sum <"$1.pixels"
    rm "$1.pixels"
}

# as_vips OP INPUT SUFFIX PWC-PARAMETERS -- VIPS-ARGUMENTS: the same pixels.
as_vips() {
    local op=$1 in=$2 suffix=$3 params=()
    shift 3
    while [[ $1 != -- ]]; do
        params+=("$1")
        shift
    done
    shift
    run_ok "image.$op" "$in" -o "ours$suffix" "${params[@]}"
    vips "$op" "$in" "theirs$suffix" "$@"
    equal "pixels of $op $in ${params[*]}" "$(pixels "theirs$suffix")" "$(pixels "ours$suffix")"
    rm "ours$suffix" "theirs$suffix"
}

# What somebody has set for the vips command: libvips would lock what a forked process waits for.
test_profile_of_libvips_is_off() {
    stop_pwcd
    PREFIX=(env VIPS_PROFILE=1)
    start_pwcd --workers 2
    photo 301 203 photo.png
    run_ok image.gaussblur photo.png -o out.png sigma=3 --chunk-timeout 10s --retries 0
}

# Each with the least that it needs. Some refuse this picture; none does what the sandbox ends a process for.
test_every_operation_in_the_sandbox() {
    local well=0
    local -a words
    photo 61 47 in.tif
    printf '1 1\n1\n' >m.mat
    "$PWCCTL" ops image. --json | jq -r '
        def least: if .choices then .choices[0]
            elif .type == "floats" or .type == "ints" then if .name == "matrix" then "1,0,0,1" else "1" end
            elif .type == "bool" then "true" elif .type == "string" then "srgb"
            else [([1, .min // 1] | max), .max // 1] | min end;
        .ops[] | [.name] + [.roles[] | select((.out or .optional or .name == "in") | not) | "--in=\(.name)=m.mat"] +
            [.params[] | select(.required) | "\(.name)=\(least)"] | join(" ")' >least
    while read -r -a words; do
        run -q "${words[@]}" in.tif -o out.tif
        [[ $RC -le 1 ]] || fail "${words[*]}: exit status $RC: $(<"$T/err")"
        ! grep -q 'killed by' "$T/err" || fail "${words[*]}: $(<"$T/err")"
        well=$((well + (RC == 0)))
    done <least
    [[ $well -ge 60 ]] || fail "only $well operations of $(wc -l <least) did anything: this proves little"
    equal "deaths" 0 "$("$PWCCTL" status --json | jq .daemon.deaths)"
}

# From 100 MB on libvips would decode it into a temporary file, which a stage cannot make; or earlier, if somebody says so.
test_webp_of_more_than_a_hundred_megabytes() {
    vips black 'large.webp[lossless,effort=0]' 7000 5100 --bands 3
    as_vips invert large.webp .tif --
    run_ok image.invert large.webp --out-dir many --format png
    stop_pwcd
    PREFIX=(env VIPS_DISC_THRESHOLD=1k)
    start_pwcd --workers 2
    photo 301 203 photo.webp
    as_vips invert photo.webp .png --
}

# Large enough for strips in a window.
test_large_photo_in_strips() {
    photo 3001 2003 photo.tif
    as_vips gaussblur photo.tif .tif sigma=8 -- 8
    as_vips invert photo.tif .png --
    as_vips sharpen photo.tif .tif --
    as_vips resize photo.tif .tif scale=0.37 -- 0.37
    as_vips resize photo.tif .tif scale=1.5 -- 1.5
    as_vips flip photo.tif .tif direction=vertical -- vertical
    as_vips rank photo.tif .tif width=5 height=5 index=12 -- 5 5 12
    as_vips linear photo.tif .tif a=0.5 b=20 uchar=true -- 0.5 20 --uchar
}

test_large_photo_that_needs_everything_first() {
    photo 3001 2003 photo.tif
    as_vips rot photo.tif .tif angle=d90 -- d90
    as_vips hist_equal photo.tif .tif --
}

# It lies where none of the squares in the middle of the output sees it.
test_large_photo_that_is_turned_out_of_sight() {
    vips zone grey.tif 4000 4000 --uchar
    as_vips similarity grey.tif .tif angle=-7 scale=0.2 odx=-675 -- --angle -7 --scale 0.2 --odx -675
}

# A single row of the result is more than an arena takes of a chunk.
test_rows_that_no_arena_holds() {
    vips grey wide.v 8400000 2 --uchar
    vips copy wide.v wide.tif
    rm wide.v
    run_ok image.cast wide.tif -o ours.tif format=double
    vips cast wide.tif theirs.tif double
    same theirs.tif ours.tif
    run_ok image.cast wide.tif -o ours.raw format=double
    vips cast wide.tif theirs.v double
    vips rawsave theirs.v theirs.raw
    same theirs.raw ours.raw
}

test_small_photo_whole() {
    photo 301 203 photo.png
    as_vips gaussblur photo.png .png sigma=3 -- 3
    as_vips hist_equal photo.png .png --
    as_vips rot photo.png .png angle=d180 -- d180
    as_vips rotate photo.png .png angle=17 -- 17
}

test_one_pixel_wide() {
    photo 1 301 tall.png
    photo 301 1 wide.png
    photo 1 1 dot.png
    for f in tall wide dot; do
        as_vips invert "$f.png" .png --
        as_vips gaussblur "$f.png" .png sigma=1.5 -- 1.5
    done
}

test_bands_and_depths() {
    photo 2501 1403 rgb.png
    vips extract_band rgb.png grey.png 0
    vips bandjoin "rgb.png grey.png" rgba.png
    vips linear rgb.png deep.v 257 0
    vips cast deep.v deep16.v ushort
    vips copy deep16.v rgb16.png --interpretation rgb16
    vips extract_band rgb16.png g16.v 0
    vips copy g16.v grey16.png --interpretation grey16
    rm ./*.v
    for f in grey rgba rgb16 grey16; do
        as_vips gaussblur "$f.png" .png sigma=4 -- 4
        as_vips invert "$f.png" .tif --
    done
}

# The command of libvips 8.14 takes 8-bit pixels for 16-bit ones here, and writes what lies behind them.
test_sixteen_bits_of_a_png_from_eight() {
    photo 301 203 rgb.png
    vips extract_band rgb.png grey.png 0
    vips bandjoin "rgb.png grey.png" rgba.png
    local f
    for f in grey rgb rgba; do
        run_ok image.invert "$f.png" -o ours.png --save bitdepth=16
        vips invert "$f.png" inverse.v
        vips colourspace inverse.v theirs.v "$([[ $f == grey ]] && echo grey16 || echo rgb16)"
        equal "pixels of $f" "$(pixels theirs.v)" "$(pixels ours.png)"
    done
    # Of more bits they are what the command writes.
    vips colourspace rgb.png deep.png rgb16
    run_ok image.invert deep.png -o ours.png --save bitdepth=16
    vips invert deep.png "theirs.png[bitdepth=16]"
    equal "pixels of 16 bits" "$(pixels theirs.png)" "$(pixels ours.png)"
}

test_formats() {
    photo 2501 1403 in.tif
    vips copy in.tif in.jpg
    vips copy in.tif "in.webp[lossless]"
    vips tiffsave in.tif tiled.tif --tile --tile-width 128 --tile-height 128 --compression deflate
    vips tiffsave in.tif pyramid.tif --tile --pyramid
    for f in in.jpg in.webp tiled.tif pyramid.tif; do
        as_vips gaussblur "$f" .tif sigma=2 -- 2
    done
    # The bytes of an encoder, too: same encoder, same options.
    run_ok image.invert in.tif -o ours.jpg --save Q=90
    vips invert in.tif "theirs.jpg[Q=90]"
    equal "pixels of the JPEG" "$(pixels theirs.jpg)" "$(pixels ours.jpg)"
    run_ok image.invert in.tif -o ours.webp --save lossless=true
    vips invert in.tif "theirs.webp[lossless]"
    equal "pixels of the WebP" "$(pixels theirs.webp)" "$(pixels ours.webp)"
}

test_metadata_is_carried() {
    photo 2501 1403 p.tif
    vips copy p.tif in.v --xres 11.8 --yres 11.8
    vips jpegsave in.v in.jpg --profile srgb
    run_ok image.invert in.jpg -o ours.jpg
    vips invert in.jpg theirs.jpg
    # Everything the header says but the name of the file itself.
    diff <(vipsheader -a theirs.jpg | grep -v '^theirs\|^filename') <(vipsheader -a ours.jpg | grep -v '^ours\|^filename') ||
        fail "the headers differ"
    vipsheader -a ours.jpg | grep -q icc-profile-data || fail "the ICC profile is lost"
    local kind
    for kind in png tif webp; do
        run_ok image.invert in.jpg -o "ours.$kind"
        vipsheader -a "ours.$kind" | grep -q icc-profile-data || fail "$kind: the ICC profile is lost"
    done
}

test_mask_as_second_input() {
    photo 2501 1403 in.tif
    printf '3 3 9 0\n1 1 1\n1 1 1\n1 1 1\n' >box.mat
    vips cast box.mat box.png uchar
    vips conv in.tif theirs.tif box.mat
    run_ok image.conv in.tif -o ours.tif --in mask=box.mat
    equal "pixels of conv with a matrix" "$(pixels theirs.tif)" "$(pixels ours.tif)"
    # An image has no place for the matrix's divisor.
    vips conv in.tif theirs.tif box.png
    run_ok image.conv in.tif -o ours.tif --in mask=box.png
    equal "pixels of conv with an image" "$(pixels theirs.tif)" "$(pixels ours.tif)"
}

test_thumbnail() {
    photo 3001 2003 p.tif
    vips copy p.tif in.jpg
    run_ok image.thumbnail in.jpg -o ours.png width=256
    vips thumbnail in.jpg theirs.png 256
    equal "pixels of thumbnail" "$(pixels theirs.png)" "$(pixels ours.png)"
}

# ---- kill -9 of each role while a large image is on its way: the bytes of the output are those of an undisturbed run ----

# kill_during FILTER: the first stage that jq's FILTER finds, in the middle of the job.
# The victim may have ended its work in the moment between the look and the blow: then another job is tried. The
# picture must be right every time.
kill_during() {
    local try
    photo 8001 6003 "photo.tif[tile]" # decoded: else there is next to nothing to produce
    run_ok image.gaussblur photo.tif -o quiet.tif sigma=12
    for try in 1 2 3 4 5; do
        rm -f out.tif
        in_background "job$try" "$PWCCTL" run image.gaussblur photo.tif -o out.tif sigma=12 --json
        kill_stage KILL "$1"
        finish_background "$BG"
        [[ $RC -eq 0 ]] || fail "exit $RC: $(<"job$try.err")"
        same quiet.tif out.tif
        cp "job$try.out" "$T/out"
        [[ $(field deaths) -eq 0 ]] || break
    done
    equal "deaths" 1 "$(field deaths)"
}

test_killed_worker() {
    kill_during "$WORKING"
}

test_killed_producer() {
    kill_during '.role == "producer"'
}

test_killed_planner_of_a_small_image() {
    photo 1200 1100 photo.png
    run_ok image.gaussblur photo.png -o quiet.png sigma=40
    in_background job "$PWCCTL" run image.gaussblur photo.png -o out.png sigma=40
    kill_stage KILL '.role == "planner"'
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    same quiet.png out.png
}

test_killed_consumer() {
    kill_during '.role == "consumer"'
}

test_killed_nursery_and_worker() {
    expect_log 'nursery'
    photo 8001 6003 photo.tif
    run_ok image.gaussblur photo.tif -o quiet.tif sigma=12
    in_background job "$PWCCTL" run image.gaussblur photo.tif -o out.tif sigma=12
    kill_stage KILL "$WORKING"
    kill_stage KILL '.role == "nursery"'
    finish_background "$BG"
    equal "exit status" 0 "$RC"
    same quiet.tif out.tif
}

# Its workers map it: what is not there any more is a SIGBUS, which is the file's fault.
test_input_that_shrinks_in_place() {
    photo 8001 6003 photo.tif
    in_background job "$PWCCTL" run image.gaussblur photo.tif -o out.tif sigma=12 --retries 0
    until_true "a stage to work" a_stage "$WORKING"
    truncate -s 1000000 photo.tif
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    grep -q 'became shorter while it was read' job.err || fail "$(<job.err)"
    [[ ! -e out.tif ]] || fail "a failed job left an output"
    daemon_alive
}

# The cut leaves the page that the last pixels lie in: what is behind it are zeros, and no fault tells. Nobody takes
# results, so the last strips have to wait until it is made.
cut_while_strips_wait() {
    local end
    in_background job "$PWCCTL" run image.gaussblur photo.tif -o out.tif sigma=2 --retries 0
    kill_stage STOP '.role == "consumer"'
    STOPPED=$VICTIM
    until_true "a producer that is done" no_producer
    end=$(od -An -td4 -j4 -N4 photo.tif) # the directory comes behind the pixels
    equal "page of the cut" "$(((end - 1) / 4096))" "$(((end - 100 - 1) / 4096))"
    truncate -s $((end - 100)) photo.tif
    kill -CONT "$STOPPED" 2>/dev/null || :
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    [[ ! -e out.tif ]] || fail "a failed job left an output"
}

# On a busy machine the consumer may have stood still for so long that pwcd ended it: that says nothing.
test_input_cut_inside_a_page() {
    case $(stat -f -c %T .) in
    ext2/ext3 | xfs | btrfs | f2fs) ;;
    *) skip "pixels are used where they lie on file systems of disks only" ;;
    esac
    photo 8001 6003 whole.tif
    for _ in {1..20}; do
        cp whole.tif photo.tif
        cut_while_strips_wait
        grep -q 'it was stopped' job.err || break
    done
    grep -q 'became shorter while it was read' job.err || fail "$(<job.err)"
    daemon_alive
}

no_producer() {
    [[ -z $(stage_pids '.role == "producer"') ]] && a_stage '.role == "consumer"'
}

# Whoever dies, again and again: the right picture, or a clear failure and no picture.
test_killed_all_the_time() {
    expect_log 'nursery|stage|job|nothing'
    echo 'pwcd: warning: nothing' >>"$T/log"
    photo 4001 3003 photo.tif
    run_ok image.gaussblur photo.tif -o quiet.tif sigma=6
    local rounds=0 good=0
    while ((rounds < 6)); do
        rounds=$((rounds + 1))
        in_background job "$PWCCTL" run image.gaussblur photo.tif -o out.tif sigma=6
        while kill -0 "$BG" 2>/dev/null; do
            VICTIM=$(stage_pids '.pid > 0 and .role != "spare" and .role != "parked"' | shuf -n 1)
            [[ -z $VICTIM ]] || kill -KILL "$VICTIM" 2>/dev/null || :
            for _ in 1 2 3 4 5; do tick; done
        done
        finish_background "$BG"
        if [[ $RC -eq 0 ]]; then
            same quiet.tif out.tif
            rm out.tif
            good=$((good + 1))
        else
            [[ $RC -eq 1 && $(grep -c . job.err) -ge 1 ]] || fail "exit $RC: $(<job.err)"
            [[ ! -e out.tif ]] || fail "a failed job left an output"
        fi
    done
    note "$good of $rounds jobs came through"
    until_true "the daemon to recover" "$PWCCTL" run image.invert photo.tif -o out.tif
}

# Of a distribution's modules with formats only that one of ours is loaded, which is used: the others cost every fork and
# every death, and hold decoders that no client's bytes may reach.
test_modules() {
    local maps libvips
    until_true "a spare" a_stage '.role == "spare"'
    maps=$(cat "/proc/$VICTIM/maps") || skip "/proc/PID/maps of a stage is not ours to read"
    libvips=$(grep -oE '/[^ ]*/libvips\.so[^ ]*$' <<<"$maps" | sort -u)
    [[ -n $libvips ]] || skip "libvips is linked statically"
    ! grep -E 'vips-(modules|plugins)-' <<<"$maps" | grep -v '/vips-heif\.' || fail "further modules of libvips are loaded"
    if compgen -G "${libvips%/*}/vips-modules-*/vips-heif.so" >/dev/null; then
        grep -q '/vips-heif\.so$' <<<"$maps" || fail "the module with HEIF is not loaded"
    fi
    photo 64 48 rgb.png
    vips copy rgb.png rgb.avif 2>/dev/null || return 0 # no encoder
    as_vips invert rgb.avif .png --
}

# PID and inode of each arena that a parked stage can write, one a line.
arenas() {
    local pid
    for pid in $(stage_pids '.role == "parked"'); do
        sed -nE "s|^[^ ]+ rw.s [^ ]+ [^ ]+ ([0-9]+) +/memfd:pwc-arena.*|$pid \\1|p" "/proc/$pid/maps"
    done | sort -u
}

# What the next job of the same user would only clear again. One of another shape gets arenas of its own.
test_arenas_are_kept() {
    need_root # to see what a stage maps
    photo 3000 2000 photo.tif
    local first
    run_ok image.gaussblur photo.tif -o first.png sigma=4
    first=$(arenas)
    [[ -n $first ]] || fail "no stage has an arena: this proves nothing"
    run_ok image.gaussblur photo.tif -o second.png sigma=4
    [[ -n $(comm -12 <(echo "$first") <(arenas)) ]] || fail "new arenas: $(arenas), before: $first"
    same first.png second.png
    run_ok image.resize photo.tif -o third.png scale=0.1
    run_ok image.gaussblur photo.tif -o fourth.png sigma=4
    same first.png fourth.png
    equal "deaths" 0 "$(job_field deaths)"
}

test_interrupted() {
    photo 8001 6003 photo.tif
    in_background job "$PWCCTL" run image.gaussblur photo.tif -o out.tif sigma=12
    until_true "a stage to work" a_stage "$WORKING"
    kill -INT "$BG"
    finish_background "$BG"
    equal "exit status" 130 "$RC"
    files_are photo.tif job.out job.err
    daemon_alive
}

# A picture is computed on threads of libvips, while the stage's own waits: the record is about the former.
test_the_reason_names_who_computes() {
    expect_log 'job 1: stage [0-9]+ \(pid [0-9]+, planner\): its time is up|job 1, chunk [0-9]+: .*: its time is up'
    vips black big.v 3000 1200 --bands 3
    vips linear big.v big.tif 1 77
    run image.gaussblur big.tif -o out.tif sigma=300 --retries 0 --chunk-timeout 50ms
    equal "exit status" 1 "$RC"
    grep -q 'its time is up' "$T/err" || fail "$(<"$T/err")"
    ! grep -qE 'g_cond_wait|img_process|semaphore' "$T/err" || fail "names who waits: $(<"$T/err")"
    "$PWCCTL" deaths --json | jq -e '.deaths | any(.cause == "timeout" and
        (.stack | test("^thread [^\n]* computes:\n#0 .*\n(#.*\n)*#.* vips_")))' >/dev/null ||
        fail "no stack of the thread that computes: $("$PWCCTL" deaths --json)"
    rm big.v big.tif
}

run_tests "$@"
