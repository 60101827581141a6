#!/bin/bash
# The very large image: 30,000 x 30,000 RGB, 2.7 GB of pixels, in no more than 512 MiB of anonymous and shared memory of
# all processes together. Takes minutes and 10 GB of disk: only with PWC_BIG=1. A smaller one, whose raster is also larger
# than what may be in memory at its scale, always runs.
. "$(dirname "$0")/lib.sh"
TEST_LIMIT=1800
WAIT_LIMIT=1500

# big_tiff SIDE OPTIONS: from noise of 1000 x 1000, repeated. Without tiles it is read where it lies, and has no raster.
big_tiff() {
    vips gaussnoise n.v 1000 1000 --mean 128 --sigma 40 --seed 5
    vips cast n.v c.v uchar
    vips bandjoin "c.v c.v c.v" rgb.v
    vips replicate rgb.v "in.tif$2" $(($1 / 1000)) $(($1 / 1000))
    rm n.v c.v rgb.v
}

# blur_within SIDE MIB [OPTIONS]
blur_within() {
    need_vips
    big_tiff "$1" "${3-}"
    start_pwcd --workers 2
    mkfifo "$T/end"
    in_background job "$PWCCTL" run image.gaussblur in.tif -o out.tif sigma=8
    "$TOOLS/memwatch" "$MIND" "$BG" <"$T/end" >memory &
    local watch=$! peak samples
    exec {END}>"$T/end"
    finish_background "$BG"
    exec {END}>&-
    wait "$watch"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<job.err)"
    read -r peak samples <memory
    note "peak $((peak / 1024)) MiB ($samples samples)"
    local most=$2
    [[ -z $SANITIZED ]] || most=$((2 * most)) # what was freed is kept for a while, and each byte has its shadow
    [[ $((peak / 1024)) -le $most ]] || fail "peak $((peak / 1024)) MiB, allowed are $most"
    # A window of the middle and the corners, against vips' own.
    vips gaussblur in.tif theirs.tif 8
    equal "sum of differences" "0.000000" "$(
        vips subtract theirs.tif out.tif d.tif && vips abs d.tif a.tif && vips max a.tif
    )"
}

test_one_gigapixel_at_a_tenth() {
    blur_within 10000 512 "[tile]"
}

test_one_gigapixel_at_a_tenth_in_place() {
    blur_within 10000 512
}

# The largest that any stage has had in memory at once, pages of files included, in MiB.
peak_of_a_stage() {
    local pid
    for pid in $(stage_pids '.role != "nursery"'); do
        awk '$1 == "VmHWM:" {print int($2 / 1024)}' "/proc/$pid/status"
    done | sort -n | tail -n 1
}

# long_within ROWS MIB [OPTIONS]: of a picture 4000 wide, narrow and tall, whose strips need 25 MiB; one worker reads it all.
long_within() {
    local peak
    need_vips
    [[ -z $SANITIZED ]] || skip "what was freed is kept for a while, and each byte has its shadow"
    start_pwcd --workers 1
    vips black "in.tif${3-}" 4000 "$1"
    run_ok image.resize in.tif -o out.tif scale=0.02
    until_true "a worker that is done" a_stage '.role == "parked"'
    peak=$(peak_of_a_stage)
    note "largest process: $peak MiB"
    [[ $peak -gt 10 && $peak -le $2 ]] || fail "a stage had $peak MiB in memory, allowed are $2"
}

test_a_long_picture_in_place_leaves_the_map() {
    long_within 180000 270 # 687 MiB
}

# Less than a window, so that nothing of the raster is given back.
test_a_long_raster_leaves_the_map() {
    long_within 100000 270 "[tile]" # 381 MiB
}

test_thirty_thousand_square() {
    [[ -n ${PWC_BIG-} ]] || skip "takes minutes and 10 GB of disk; PWC_BIG=1 runs it"
    blur_within 30000 512 "[tile]"
}

run_tests "$@"
