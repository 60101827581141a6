#!/bin/bash
# What is wrong with the input, the output or the command line: each with its exit status, one line that says what was
# wrong, no output, and the daemon as before.
. "$(dirname "$0")/lib.sh"

setup() {
    start_pwcd --workers 2
    [[ $1 == *_array* || $1 == *_daemon* || $1 == *_socket* || $1 == *_op* ]] || need_vips
}

# After each refusal: no output, and the next job runs.
as_before() {
    [[ ! -e out.png && ! -e out.tif ]] || fail "a refused job left an output"
    daemon_alive
    run_ok fault.none n=100 --json
    equal "chunks of the next job" 100 "$(field chunks)"
}

good_png() {
    vips gaussnoise n.v 400 300 --mean 128 --sigma 30 --seed 9
    vips cast n.v "${1-in.png}" uchar
    rm n.v
}

test_not_an_image() {
    echo 'Dear diary, today I was taken for a picture.' >in.png
    refused 1 '(not|no).*(image|format)' image.invert in.png -o out.png
    as_before
}

test_empty_file() {
    : >in.png
    refused 1 'empty' image.invert in.png -o out.png
    as_before
}

# truncated SUFFIX: half of a file.
truncated() {
    good_png whole.v
    vips copy whole.v "whole$1"
    head -c $(($(stat -c %s "whole$1") / 2)) "whole$1" >"in$1"
    refused 1 . image.invert "in$1" -o out.png
    as_before
}

test_truncated_jpeg() { truncated .jpg; }
test_truncated_png() { truncated .png; }
test_truncated_tiff() { truncated .tif; }
test_truncated_webp() { truncated .webp; }

# The same, large enough for producer and consumer.
test_truncated_large_png() {
    vips gaussnoise n.v 3000 2000 --seed 1
    vips cast n.v whole.png uchar
    head -c 2000000 whole.png >in.png
    refused 1 . image.gaussblur in.png -o out.png sigma=3
    as_before
}

# 60,000 x 60,000 in a hundred bytes: refused by its header, before a pixel is decoded.
test_bomb() {
    # A PNG: signature, IHDR with 60000 x 60000 RGB, an IDAT of 500 zero bytes, IEND, with their checksums.
    perl -e 'print pack("H*", join "", @ARGV)' 89504e470d0a1a0a0000000d494844520000ea600000ea6008020000000fb0e2150000000e49444154789c63601805230d00 \
        0001f40001c267b09d0000000049454e44ae426082 >in.png
    [[ $(stat -c %s in.png) -lt 1024 ]] || fail "the bomb is too large"
    refused 1 '60000.*1000000000|3600000000.*1000000000' image.invert in.png -o out.png
    as_before
    stop_pwcd
    rm "$T/log"
    start_pwcd --workers 2 --set max_pixels=100000
    good_png small.png
    refused 1 '100000' image.invert small.png -o out.png
    as_before
}

test_directory() {
    mkdir in.png
    refused 1 'directory' image.invert in.png -o out.png
    as_before
}

# Nobody writes to it: opening it must not wait for ever.
test_fifo() {
    mkfifo in.png
    in_background job "$PWCCTL" run image.invert in.png -o out.png
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    equal "lines" 1 "$(wc -l <job.err)"
    grep -qiE 'in.png.*(FIFO|pipe)' job.err || fail "reason: $(<job.err)"
    as_before
}

# It says that it is empty: its sum is not that of nothing.
test_file_that_does_not_tell_its_size() {
    local bytes
    bytes=$(wc -c </proc/version)
    equal "size told" 0 "$(stat -c %s /proc/version)"
    equal "count" "$bytes" "$("$PWCCTL" run --json array.sum type=uint8 /proc/version | jq .results.count)"
    equal "count of stdin" "$bytes" "$("$PWCCTL" run --json array.sum type=uint8 - </proc/version | jq .results.count)"
    local rc=0
    "$PWCCTL" run image.invert --out-dir small --format png /proc/version 2>job.err >/dev/null || rc=$?
    equal "exit status of a batch" 5 "$rc"
    grep -q '/proc/version.*says that it is empty and is not' job.err || fail "reason: $(<job.err)"
    rm job.err
    as_before
}

test_endless_device() {
    refused 1 'device' image.invert /dev/zero -o out.png
    as_before
}

test_missing_input() {
    refused 1 'none.png.*No such file' image.invert none.png -o out.png
    as_before
}

test_unreadable_input() {
    need_root
    good_png
    chmod 0 in.png
    local rc=0
    chmod 777 .
    # root may read anything: as somebody else
    mkdir "$T/bin"
    cp "$PWC_BUILD/.libs/pwcctl" "$PWC_BUILD"/.libs/libpwc.so.* "$T/bin"
    chmod 666 "$S"
    LD_LIBRARY_PATH=$T/bin setpriv --reuid 1001 --regid 1001 --clear-groups "$T/bin/pwcctl" run image.invert in.png \
        -o out.png 2>err || rc=$?
    [[ $rc -eq 1 || $rc -eq 77 ]] || fail "exit status $rc: $(<err)"
    equal "lines" 1 "$(wc -l <err)"
    grep -q 'in.png.*Permission denied' err || fail "$(<err)"
    as_before
}

test_unwritable_output() {
    good_png
    refused 1 'none.*No such file' image.invert in.png -o none/out.png
    refused 1 '/proc/out.png' image.invert in.png -o /proc/out.png
    as_before
}

test_output_is_the_input() {
    good_png
    cp in.png kept.png
    refused 1 'in.png.*input' image.invert in.png -o in.png
    same kept.png in.png
    ln in.png hard.png
    ln -s in.png soft.png
    refused 1 'input' image.invert in.png -o hard.png
    refused 1 'input' image.invert in.png -o soft.png
    same kept.png in.png
    as_before
}

# What libvips itself calls untrusted is not given a chance, whatever the file is called: no decoder of it runs.
test_untrusted_formats() {
    need_vips
    vips black a.v 40 30 --bands 3
    local kind refusals=0
    for kind in ppm pfm csv mat fits hdr jxl jp2; do
        vips copy a.v "a.$kind" 2>/dev/null || rm -f "a.$kind" # not every libvips writes each
    done
    printf '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="5" height="5"/></svg>' >a.svg
    printf '%%PDF-1.1\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj%s' \
        ' 3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj trailer<</Root 1 0 R>>' >a.pdf
    printf '2\t3\t1\t0\t5\n1\t2\t3\t4\t5\n6\t7\t8\t9\t9\n5\t5\t5\t5\t5\n' >a.csv # as a matrix it would be 2 x 3
    printf '2 2\n1 2\n3 4\n' >a.mat
    for kind in v ppm pfm csv mat fits hdr jxl jp2 svg pdf; do
        [[ -e a.$kind ]] || continue
        mv "a.$kind" "$kind.png"
        refused 1 "$kind.png': .*(files are not accepted|not an image that can be read); JPEG, PNG, TIFF, WebP, GIF and HEIF are" \
            image.invert "$kind.png" -o out.png
        refusals=$((refusals + 1))
        [[ ! -e out.png ]] || fail "$kind: an output is there"
    done
    [[ $refusals -ge 6 ]] || fail "only $refusals formats: this proves little"
    run_ok image.matrixinvert mat.png -o inverse.tif # which is about matrices
    equal "deaths" 0 "$("$PWCCTL" status --json | jq .daemon.deaths)"
}

# A decoder has doubts about files that it can read; the one process that reads them all has forgotten these when another
# cannot be read.
test_reason_is_not_that_of_files_before() {
    local i op
    vips black a.v 40 30 --bands 3
    vips copy a.v doubtful.tif
    perl -0777 -pi -e 's/(\x12\x01\x03\0\x01\0\0\0)\x01/$1\x10/ or die "no orientation"' doubtful.tif
    mkdir in
    for i in {10..69}; do cp doubtful.tif "in/$i.tif"; done
    vips copy a.v in/last.jpg
    truncate -s -200 in/last.jpg
    for op in image.invert 'image.thumbnail width=30'; do
        # shellcheck disable=SC2086 # an op and its parameter
        run -q $op -j 1 --out-dir out --format png in/*
        equal "exit status" 5 "$RC"
        equal "files" 60 "$(find out -type f | wc -l)"
        grep -q 'last.jpg.*VipsJpeg' "$T/err" || fail "$op: reason: $(<"$T/err")"
        ! grep -q 'TIFF' "$T/err" || fail "$op: somebody else's reason: $(<"$T/err")"
        rm -r out
    done
    as_before
}

test_unknown_format() {
    good_png
    refused 2 'format' image.invert in.png -o out.xyz
    refused 2 'format|gif' image.invert in.png -o out.png --format doc
    as_before
}

test_unknown_op() {
    refused 2 "image.gausblur.*image.gaussblur" image.gausblur in.png -o out.png
    refused 2 "array.summ.*array.sum" array.summ in
    refused 2 . ''
    as_before
}

test_bad_parameters_of_an_op() {
    head -c 400 /dev/zero >in
    refused 2 'array.sum.*type|type.*array.sum|type' array.sum in
    refused 2 "typ.*type" array.sum in typ=int32
    refused 2 'type.*int8.*float64|int31.*int32' array.sum in type=int31
    refused 2 'n.*many' noop n=many
    refused 2 'n.*(0|1)' noop n=-1
    refused 2 'n' noop n=99999999999999999999999
    refused 2 'n' noop n=1.5
    refused 2 'n' noop
    as_before
}

test_bad_parameters_of_an_image() {
    good_png
    refused 2 'sigma' image.gaussblur in.png -o out.png
    refused 2 'sigma.*1000' image.gaussblur in.png -o out.png sigma=-3
    refused 2 'sigma.*1000' image.gaussblur in.png -o out.png sigma=100000
    refused 2 'sigma' image.gaussblur in.png -o out.png sigma=nan
    refused 2 'sigma.*eight' image.gaussblur in.png -o out.png sigma=eight
    refused 2 'sgima.*sigma' image.gaussblur in.png -o out.png sgima=3
    refused 2 'direction.*horizontal.*vertical' image.flip in.png -o out.png direction=sideways
    refused 2 'Q.*100' image.invert in.png -o out.jpg --save Q=1000
    refused 2 'quality|Q' image.invert in.png -o out.jpg --save quality=90
    as_before
}

# What an operation refuses, with what it was given; a result that is too large is not the input's fault.
test_parameters_that_do_not_fit_the_image() {
    good_png
    refused 1 'extract.*400 x 300.*1 band' image.extract_area in.png -o out.png left=0 top=0 width=500 height=9
    refused 1 'extract.*400 x 300' image.extract_band in.png -o out.png band=7
    refused 1 'pwcctl: out: .*limit' image.zoom in.png -o out.png xfac=9000 yfac=9000
    refused 2 'load.page.*no such.*fail_on' image.invert in.png -o out.png --load page=1
    as_before
}

# It names the output, its format and what was to be written, not only what libvips says of it.
test_pixels_that_a_format_cannot_hold() {
    vips black grey.v 10 10
    vips bandjoin "grey.v grey.v grey.v grey.v" four.png
    vips copy grey.v one.png
    local what='10 x 10 pixels, .* of dpcomplex\); raw holds complex numbers'
    refused 1 "^pwcctl: 'out.jpg': cannot be written as jpeg: .*complex.* \\($what\$" -q image.fwfft four.png -o out.jpg
    refused 1 "^pwcctl: 'out.webp': cannot be written as webp: .*fourier.* \\($what\$" -q image.fwfft one.png -o out.webp
    refused 1 "^pwcctl: 'out.webp': cannot be written as webp: .*too large \\(20000 x 10 pixels, .* of uchar\\)\$" -q \
        image.zoom four.png -o out.webp xfac=2000 yfac=1
    run image.fwfft four.png --out-dir d --format jpeg
    grep -qE "chunk 0 \\(four.png\\) failed: out: cannot be written as jpeg: .*complex.* \\($what" "$T/err" || fail "$(<"$T/err")"
    run_ok image.fwfft four.png -o out.raw
    equal "bytes" $((10 * 10 * 4 * 16)) "$(stat -c %s out.raw)"
    rm -rf out.raw d ./*.v one.png four.png
    as_before
}

test_too_many_or_too_few_files() {
    good_png
    refused 2 . image.invert
    refused 2 . image.invert in.png
    refused 2 . image.invert in.png in.png in.png
    refused 2 . noop n=1 in.png
    as_before
}

test_unknown_role() {
    good_png
    refused 2 'role|input' image.invert in.png -o out.png --in msk=in.png
    as_before
}

test_array_of_wrong_length() {
    head -c 1001 /dev/zero >in
    refused 1 '1001.*4' array.sum in type=int32
    as_before
}

test_array_with_impossible_histogram() {
    head -c 1000 /dev/zero >in
    refused 2 'bins' array.histogram in type=int8 bins=0 min=0 max=1
    refused 2 'bins' array.histogram in type=int8 bins=999999999999 min=0 max=1
    run array.histogram in type=int8 bins=2 min=5 max=1
    [[ $RC -eq 1 || $RC -eq 2 ]] || fail "exit status $RC"
    as_before
}

# Sizes whose product does not fit 64 bits.
test_overflowing_sizes_of_an_image() {
    good_png
    run image.embed in.png -o out.tif x=0 y=0 width=1000000000 height=1000000000
    [[ $RC -eq 1 || $RC -eq 2 ]] || fail "exit status $RC: $(<"$T/err")"
    equal "lines" 1 "$(wc -l <"$T/err")"
    run image.zoom in.png -o out.tif xfac=10000000 yfac=10000000
    [[ $RC -eq 1 || $RC -eq 2 ]] || fail "exit status $RC: $(<"$T/err")"
    equal "lines" 1 "$(wc -l <"$T/err")"
    as_before
}

# A worker stands still in the middle of the file, which becomes shorter meanwhile. The line says where it was in the file.
test_array_that_shrinks_while_it_is_read() {
    truncate -s 8G in
    in_background job "$PWCCTL" run -q array.sum in type=uint32 offset=8
    kill_stage STOP "$WORKING"
    truncate -s 100 in
    kill -CONT "$VICTIM"
    finish_background "$BG"
    equal "exit status" 1 "$RC"
    equal "lines" 1 "$(wc -l <job.err)"
    grep -qiE 'shr[aiu]nk|shorter' job.err || fail "reason: $(<job.err)"
    local chunk from to
    read -r chunk from to < <(sed -nE 's/.*chunk ([0-9]+) \(bytes ([0-9]+) to ([0-9]+)\).*/\1 \2 \3/p' job.err)
    equal "bytes of it" "$((8 + (chunk << 20))) $((7 + ((chunk + 1) << 20)))" "$from $to"
    as_before
}

# ---- no daemon, or not one ----

test_no_daemon() {
    stop_pwcd
    rm "$T/log"
    refused 69 'pwcd' noop n=1
    local rc=0
    "$PWCCTL" ping 2>err || rc=$?
    equal "exit status" 69 "$rc"
    rc=0
    PWC_PWCD=/bin/false "$PWCCTL" --private ping 2>err || rc=$?
    equal "exit status of a pwcd that ends without a word" 69 "$rc"
    equal "what is said" "pwcctl: --private: /bin/false ended at once" "$(<err)"
}

test_socket_that_is_not_pwcds() {
    local mode
    for mode in text close bytes silent; do
        mkfifo "$T/in" "$T/out1"
        "$TOOLS/fakepeer" "$T/fake" "$mode" <"$T/in" >"$T/out1" &
        exec {hold}>"$T/in" {say}<"$T/out1"
        read -r -t "$WAIT_LIMIT" -u "$say" _
        refused 76 . --socket "$T/fake" noop n=1
        exec {hold}>&- {say}<&-
        wait $!
        rm "$T/in" "$T/out1"
    done
    as_before
}

test_socket_without_right_to_connect() {
    need_root
    chmod 600 "$S"
    mkdir "$T/bin"
    cp "$PWC_BUILD/.libs/pwcctl" "$PWC_BUILD"/.libs/libpwc.so.* "$T/bin"
    local rc=0
    LD_LIBRARY_PATH=$T/bin setpriv --reuid 1001 --regid 1001 --clear-groups "$T/bin/pwcctl" ping 2>err || rc=$?
    equal "exit status" 77 "$rc"
}

# A word that is said twice is a mistake: nobody can know which was meant.
test_bad_parameter_given_twice() {
    good_png
    refused 2 "sigma.*twice.*'2'.*'3'" image.gaussblur in.png -o out.png sigma=2 sigma=3
    refused 2 'Q.*twice' image.invert in.png -o out.png --save Q=2 --save Q=3
    refused 2 'Q.*twice' image.invert in.png -o 'out.jpg[Q=2,Q=3]'
    as_before
}

# What is allowed is told in full: nobody can type 4.61e+18.
test_bad_parameters_of_an_op_have_ranges_in_full() {
    refused 2 '0 is out of range, 1 to 4611686018427387904' noop n=0
}

# Nothing but a terminal or an endless device would be copied for ever.
test_device_as_stdin_of_an_op() {
    local rc=0
    "$PWCCTL" run array.sum - type=int8 </dev/zero >out 2>err || rc=$?
    equal "exit status" 1 "$rc"
    equal "lines" 1 "$(wc -l <err)"
    grep -q 'stdin.*device' err || fail "reason: $(<err)"
}

# Descriptors that were closed are not taken for files that happened to get their numbers.
test_closed_standard_descriptors_of_an_op() {
    printf abcd >in
    local rc=0
    "$PWCCTL" run array.sum - type=int8 >out 2>err <&- || rc=$?
    equal "exit status without stdin" 1 "$rc"
    grep -q 'stdin' err || fail "reason: $(<err)"
    rc=0
    "$PWCCTL" run array.sum in type=int8 2>err >&- || rc=$?
    equal "exit status without stdout" 1 "$rc"
    grep -q 'stdout' err || fail "reason: $(<err)"
    "$PWCCTL" run noop n=5 <&- >&- 2>&- || fail "a job that prints nothing needs no descriptors"
    same in <(printf abcd)
}

test_stdout_that_is_full_for_any_verb_of_the_daemon() {
    local verb rc
    for verb in ops status 'status --json' 'ops --json' 'help noop'; do
        rc=0
        # shellcheck disable=SC2086 # a verb and an option
        "$PWCCTL" $verb >/dev/full 2>err || rc=$?
        equal "exit status of $verb" 1 "$rc"
        grep -q 'cannot write to stdout' err || fail "reason of $verb: $(<err)"
    done
}

test_usage_of_an_option() {
    refused 2 'sockt.*socket' --sockt x noop n=1
    refused 2 'progress' --progress loud noop n=1
    refused 2 'timeout' --chunk-timeout soon noop n=1
    refused 2 "halt 'now'.*fail=3" --halt now noop n=1
    equal "a word too many" "pwcctl: 'x' is one word too many: pwcctl status" "$("$PWCCTL" status x 2>&1)"
}

run_tests "$@"
