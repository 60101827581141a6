#!/bin/bash
# The example programs of contrib/examples, as a reader of the README would run them.
. "$(dirname "$0")/lib.sh"

setup() {
    start_pwcd --workers 2
}

test_sum() {
    printf '\001\000\000\000\377\377\377\377\012\000\000\000' >numbers
    equal "sum" 10 "$("$PWC_BUILD/example-sum" numbers)"
    equal "sum of bytes" 1031 "$("$PWC_BUILD/example-sum" numbers uint8)"
    local rc=0
    "$PWC_BUILD/example-sum" numbers int33 2>err || rc=$?
    equal "exit status" 1 "$rc"
    grep -q int32 err || fail "reason: $(<err)"
}

test_poll_loop() {
    equal "answer" "2000 jobs, 0 failed" "$("$PWC_BUILD/example-poll-loop" 2000 2>err)"
}

test_blur() {
    need_vips
    vips gaussnoise n.v 700 500 --mean 128 --sigma 30 --seed 3
    vips cast n.v in.png uchar
    vips gaussblur in.png theirs.v 3
    "$PWC_BUILD/example-blur" in.png out.png 3 2>err
    vips copy out.png ours.v
    vips subtract ours.v theirs.v difference.v
    vips abs difference.v absolute.v
    equal "largest difference" 0 "$(vips max absolute.v | cut -d. -f1)"
    local rc=0
    head -c 100 in.png >broken.png
    "$PWC_BUILD/example-blur" broken.png none.png 3 2>err || rc=$?
    equal "exit status" 1 "$rc"
    [[ ! -e none.png ]] || fail "a failed job left an output"
}

test_batch() {
    need_vips
    mkdir small
    vips black a.png 800 600 --bands 3
    vips black b.png 600 800 --bands 3
    echo "not a picture" >c.png
    local rc=0
    "$PWC_BUILD/example-batch" small a.png b.png c.png d.png >out 2>err || rc=$?
    equal "exit status" 1 "$rc"
    equal "answer" "4 done, 2 failed" "$(<out)"
    equal "width" 256 "$(vipsheader -f width small/a.png.jpg)"
    equal "files" "a.png.jpg b.png.jpg" "$(cd small && echo *)"
    rm small/b.png.jpg
    rc=0
    "$PWC_BUILD/example-batch" small a.png b.png >out 2>err || rc=$?
    equal "exit status, one is there already" 1 "$rc"
    equal "answer, one is there already" "2 done, 1 failed" "$(<out)"
    equal "files, one was there already" "a.png.jpg b.png.jpg" "$(cd small && echo *)"
}

run_tests "$@"
