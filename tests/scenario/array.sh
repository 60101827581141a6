#!/bin/bash
# array.*: exact, whatever the number of workers, from files and memory files, whoever is killed.
. "$(dirname "$0")/lib.sh"

setup() {
    start_pwcd --workers 2
}

# numbers TEMPLATE FROM TO: packed by perl, which every Debian has.
numbers() {
    perl -e 'print pack("$ARGV[0]*", $ARGV[1] .. $ARGV[2])' "$1" "$2" "$3"
}

result() {
    run_ok "$@"
    awk -v name="${1#array.}" '$1 == name { print $2 }' "$T/out"
}

test_sum_of_each_type() {
    local row type template
    for row in int8:c uint8:C int16:s uint16:S int32:l uint32:L int64:q uint64:Q float32:f float64:d; do
        type=${row%:*} template=${row#*:}
        numbers "$template" 1 100 >n
        equal "sum of $type" 5050 "$(result array.sum n type="$type" | sed 's/\.0*$//')"
        equal "min of $type" 1 "$(result array.min n type="$type" | sed 's/\.0*$//')"
        equal "max of $type" 100 "$(result array.max n type="$type" | sed 's/\.0*$//')"
    done
}

test_sum_beyond_64_bits() {
    perl -e 'print pack("Q", 18446744073709551615) x 100000' >n
    equal "sum" 1844674407370955161500000 "$(result array.sum n type=uint64)"
    perl -e 'print pack("q", -9223372036854775807 - 1) x 100000' >n
    equal "sum" -922337203685477580800000 "$(result array.sum n type=int64)"
}

# Adding floats in another order gives another sum; ours does not depend on the cut.
test_float_sum_does_not_depend_on_the_workers() {
    perl -e 'srand 7; print pack("d", (rand() - 0.5) * 10 ** int(rand 30)) for 1 .. 300000' >n
    local two one
    two=$(result array.sum n type=float64)
    stop_pwcd
    rm "$T/log"
    start_pwcd --workers 1
    one=$(result array.sum n type=float64)
    equal "sum with one worker and with two" "$two" "$one"
}

test_histogram() {
    numbers C 0 255 >n
    run_ok array.histogram n type=uint8 bins=4 min=0 max=256
    grep -q '64 64 64 64' "$T/out" || fail "counts: $(<"$T/out")"
}

# The last leases of that many workers leave more states than one message holds.
test_histogram_of_many_workers() {
    stop_pwcd
    start_pwcd --workers 16
    head -c 64M /dev/urandom >n
    run_ok array.histogram n type=uint8 bins=4 min=0 max=256 -j 1 --json
    local want
    want=$(jq -c .results "$T/out")
    run_ok array.histogram n type=uint8 bins=4 min=0 max=256 --json
    equal "histogram with 16 workers" "$want" "$(jq -c .results "$T/out")"
}

# A hole of 3 GiB and one number at its end: nothing is copied, nothing allocated.
test_large_sparse_file() {
    truncate -s 3G n
    numbers C 7 7 >>n
    equal "sum" 7 "$(result array.sum n type=uint8)"
}

test_standard_input() {
    numbers l 1 1000 >n
    equal "sum" 500500 "$("$PWCCTL" run array.sum - type=int32 <n | awk '$1 == "sum" { print $2 }')"
    # shellcheck disable=SC2002 # a pipe is what is tested
    equal "sum" 500500 "$(cat n | "$PWCCTL" run array.sum - type=int32 | awk '$1 == "sum" { print $2 }')"
}

test_killed_workers() {
    local deaths=0 i
    truncate -s 6G n
    numbers C 7 7 >>n
    for i in 1 2 3 4 5 6; do
        in_background "job$i" "$PWCCTL" run array.sum n type=uint8 --json
        while kill -0 "$BG" 2>/dev/null; do
            ! a_stage "$WORKING" || kill -KILL "$VICTIM" 2>/dev/null || :
            for _ in 1 2 3 4 5; do tick; done
        done
        finish_background "$BG"
        cp "job$i.out" "$T/out"
        if [[ $RC -eq 0 ]]; then
            equal "sum" 7 "$(field sum)"
        else
            equal "exit status" 1 "$RC"
        fi
        deaths=$((deaths + $(field deaths)))
    done
    [[ $deaths -gt 0 ]] || fail "no worker was ever caught at work"
}

# Seen in the page cache or copied, a file that comes and goes is a result or an error with its name, never another number.
test_file_that_changes_its_length() {
    local i
    truncate -s 48M n
    in_background shrinker bash -c 'while [[ ! -e stop ]] && kill -0 "$PPID" && truncate -s 0 n && truncate -s 48M n; do :; done'
    local shrinker=$BG
    for i in {1..40}; do
        run array.sum n type=uint8 --json
        case $RC in
        0) [[ $(field sum) -eq 0 && $(field count) =~ ^(0|50331648)$ ]] || fail "$(<"$T/out")" ;;
        # Who is asked for its length when the file is there again says that reading failed, or that it had none.
        1) grep -qE 'became shorter|reading the input failed|says that it is empty and is not' "$T/err" || fail "$(<"$T/err")" ;;
        *) fail "exit status $RC: $(<"$T/err")" ;;
        esac
    done
    touch stop
    finish_background "$shrinker"
    truncate -s 48M n
    equal "sum" 0 "$(result array.sum n type=uint8)"
}

test_empty_array() {
    : >n
    run array.sum n type=int32
    if [[ $RC -eq 0 ]]; then
        equal "sum of nothing" 0 "$(awk '$1 == "sum" { print $2 }' "$T/out")"
    else
        equal "exit status" 1 "$RC"
    fi
}

run_tests "$@"
