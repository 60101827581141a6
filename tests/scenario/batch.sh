#!/bin/bash
# Batches: each file a chunk in one worker; a broken one fails alone and is named; descriptors come on demand.
. "$(dirname "$0")/lib.sh"

setup() {
    need_vips
    start_pwcd --workers 2
}

# small_images N: img-001.jpg and on, all different.
small_images() {
    local i
    vips gaussnoise n.v 320 240 --mean 128 --sigma 40 --seed 3
    vips cast n.v base.v uchar
    mkdir in
    for ((i = 1; i <= $1; i++)); do
        # One start of vips a file is slow: copies with a comment of their own will do.
        [[ $i -gt 1 ]] || vips jpegsave base.v in/img-001.jpg
        [[ $i -eq 1 ]] || cp in/img-001.jpg "in/img-$(printf %03d "$i").jpg"
    done
    rm n.v base.v
}

test_two_hundred_images() {
    small_images 200
    run_ok image.thumbnail --out-dir out width=64 in/*.jpg
    equal "outputs" 200 "$(find out -type f | wc -l)"
    vips thumbnail in/img-001.jpg theirs.jpg 64
    vips rawsave theirs.jpg theirs.raw
    vips rawsave out/img-001.jpg ours.raw
    same theirs.raw ours.raw
}

test_broken_files_fail_alone() {
    small_images 200
    echo "this is not an image" >in/img-050.jpg
    : >in/img-100.jpg
    head -c 600 in/img-001.jpg >in/img-150.jpg
    rm in/img-200.jpg
    mkdir in/img-200.jpg
    run image.thumbnail --out-dir out width=64 in/*.jpg
    [[ $RC -eq 1 || $RC -eq 5 ]] || fail "exit status $RC: $(<"$T/err")"
    for n in 050 100 150 200; do
        grep -q "img-$n.jpg" "$T/err" || fail "img-$n.jpg is not named: $(<"$T/err")"
        [[ ! -e out/img-$n.jpg ]] || fail "a broken file has an output"
    done
    equal "outputs" 196 "$(find out -type f | wc -l)"
    ! grep -q 'img-001.jpg' "$T/err" || fail "a good file is named as broken"
}

test_missing_file_fails_alone() {
    small_images 3
    run image.thumbnail --out-dir out width=64 in/*.jpg in/none.jpg
    [[ $RC -eq 1 || $RC -eq 5 ]] || fail "exit status $RC: $(<"$T/err")"
    grep -q 'none.jpg' "$T/err" || fail "the missing file is not named"
    equal "outputs" 3 "$(find out -type f | wc -l)"
}

# The document names what failed, with names of any bytes, and stays a document.
test_broken_files_as_json() {
    small_images 2
    local odd=$'in/two\nlines \xff.jpg'
    echo "this is not an image" >"$odd"
    run image.thumbnail --out-dir out width=64 in/*.jpg --json
    equal "exit status" 5 "$RC"
    equal "files that failed" 1 "$(jq '.files_failed | length' "$T/out")"
    equal "its name" $'in/two\nlines \xef\xbf\xbd.jpg' "$(jq -r '.files_failed[0].file' "$T/out")"
    [[ $(jq -r '.files_failed[0].reason' "$T/out") == *'not an image'* ]] || fail "reason: $(<"$T/out")"
    equal "lines of summary" 1 "$(grep -c '1 of 3' "$T/err")"
    jq . "$T/out" >/dev/null
    iconv -f UTF-8 -t UTF-8 "$T/out" >/dev/null || fail "the document is no UTF-8"
    run_ok image.thumbnail --out-dir out width=64 in/*.jpg --json --allow-partial
    ! grep -q '"error"' "$T/err" || fail "an error that ends nothing: $(<"$T/err")"
    equal "lines of summary" 1 "$(grep -c '1 of 3' "$T/err")"
}

# Whoever sent the files chose their names: none of them ends a line, steers a terminal, or runs something when
# the line that does the work again is given to a shell.
test_hostile_names() {
    mkdir in
    local name again
    local -a names=($'a\nb.jpg' $'esc\e[31m.jpg' $'csi\xc2\x9b1m.jpg' "quo'te; touch RUN '.jpg" $'both\e\'\\.jpg'
        'eq=1.jpg' '-dash.jpg' 'ünï.jpg')
    cd in
    for name in "${names[@]}"; do
        : >"./$name"
    done
    run image.thumbnail --out-dir ../out width=64 -- "${names[@]}"
    equal "exit status" 5 "$RC"
    equal "lines" $((${#names[@]} + 1)) "$(grep -c '^pwcctl: ' "$T/err")"
    equal "all lines" $((${#names[@]} + 1)) "$(wc -l <"$T/err")"
    grep -q 'ünï.jpg' "$T/err" || fail "a name was changed for no reason: $(<"$T/err")"
    "$PWCCTL" deaths >>"$T/err"
    "$PWCCTL" quarantine >>"$T/err"
    "$PWCCTL" quarantine show 1 >"$T/again"
    ! LC_ALL=C grep -aP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' "$T/err" "$T/again" || fail "control characters"
    pwcctl() { # run image.thumbnail width=64 --out-dir DIR INPUT
        printf '%s\0' "${@: -1}" >>"$T/inputs"
    }
    : >"$T/inputs"
    sed -n 's/.*run it again: //p' "$T/again" >"$T/lines"
    while IFS= read -r again; do
        eval "$again"
    done <"$T/lines"
    unset -f pwcctl
    [[ ! -e RUN ]] || fail "a name was run"
    for name in "${names[@]}"; do
        [[ $name != -* && $name != *=* ]] || name=./$name
        printf '%s\0' "$name"
    done | sort -z | cmp - <(sort -z "$T/inputs") || fail "names that come back: $(tr '\0' '|' <"$T/inputs")"
    cd ..
    rm -r in
}

# Computed, but its place is gone: that is a failure, too.
test_output_that_cannot_be_published() {
    mkdir in out
    echo something >in/file
    in_background job "$PWCCTL" run fault.copy --out-dir out in/file slow=whole ms=3000
    until_true "a stage to work" a_stage "$WORKING"
    kill -STOP "$VICTIM"
    rmdir out
    kill -CONT "$VICTIM"
    finish_background "$BG"
    equal "exit status" 5 "$RC"
    grep -q 'in/file.*cannot write' job.err || fail "reason: $(<job.err)"
}

# A directory that was made for nothing goes again; one that was there stays.
test_refused_leaves_no_directory() {
    small_images 1
    mkdir there
    local dir
    for dir in out there; do
        run image.gaussblur --out-dir "$dir" in/img-001.jpg
        equal "exit status" 2 "$RC"
    done
    files_are in there
}

test_killed_workers() {
    small_images 200
    in_background job "$PWCCTL" run image.gaussblur --out-dir out sigma=9 in/*.jpg --json
    until_true "a few files" job_done_at_least 10
    kill_stage KILL "$WORKING"
    until_true "more files" job_done_at_least 60
    kill_stage KILL "$WORKING"
    finish_background "$BG"
    [[ $RC -eq 0 ]] || fail "exit $RC: $(<job.err)"
    equal "outputs" 200 "$(find out -type f | wc -l)"
    vips gaussblur in/img-001.jpg theirs.jpg 9
    vips rawsave theirs.jpg theirs.raw
    local f
    for f in out/*.jpg; do cmp -s out/img-001.jpg "$f" || fail "$f is not like the others"; done
    vips rawsave out/img-001.jpg ours.raw
    same theirs.raw ours.raw
}

test_same_name_twice_is_refused() {
    small_images 1
    mkdir other
    cp in/img-001.jpg other
    run image.thumbnail --out-dir out width=64 in/img-001.jpg other/img-001.jpg
    [[ $RC -eq 2 || $RC -eq 1 ]] || fail "exit status $RC"
    grep -q 'img-001.jpg' "$T/err" || fail "does not say which: $(<"$T/err")"
}

# What links lead to is replaced: two outputs must not be one file.
test_links_to_one_file_are_refused() {
    small_images 2
    mkdir out
    ln -s img-002.jpg out/img-001.jpg
    : >out/img-002.jpg
    run image.thumbnail --out-dir out width=64 in/img-001.jpg in/img-002.jpg
    equal "exit status" 2 "$RC"
    grep -q 'out/img-001.jpg' "$T/err" || fail "does not say which: $(<"$T/err")"
    grep -q 'out/img-002.jpg' "$T/err" || fail "does not say which: $(<"$T/err")"
    [[ ! -s out/img-002.jpg ]] || fail "it was written"
    rm out/img-002.jpg # so it is where the link leads to what is not there yet
    run image.thumbnail --out-dir out width=64 in/img-001.jpg in/img-002.jpg
    equal "exit status" 2 "$RC"
    [[ ! -e out/img-002.jpg ]] || fail "it was written"
    : >out/img-002.jpg
    rm out/img-001.jpg
    ln out/img-002.jpg out/img-001.jpg # of one that has two names each is replaced on its own
    run_ok image.thumbnail --out-dir out width=64 in/img-001.jpg in/img-002.jpg
    [[ -s out/img-001.jpg && -s out/img-002.jpg ]] || fail "not written"
}

# What all items share is an input like theirs.
test_output_that_is_a_shared_input_is_refused() {
    small_images 1
    mkdir out
    cp in/img-001.jpg out/img-001.jpg
    run image.hist_match --out-dir out --in ref=out/img-001.jpg in/img-001.jpg
    equal "exit status" 1 "$RC"
    grep -q 'out/img-001.jpg.*is an input too' "$T/err" || fail "said: $(<"$T/err")"
}

# Far more files than descriptors: at most a few are open at a time, on either side.
test_more_files_than_descriptors() {
    small_images 1
    mkdir many
    local i
    for ((i = 0; i < 3000; i++)); do ln in/img-001.jpg "many/$i.jpg"; done
    (
        ulimit -n 256
        run_ok image.thumbnail --out-dir out width=16 many/*.jpg
    )
    equal "outputs" 3000 "$(find out -type f | wc -l)"
}

test_interrupted() {
    small_images 200
    in_background job "$PWCCTL" run image.gaussblur --out-dir out sigma=20 in/*.jpg
    until_true "a few files" job_done_at_least 5
    kill -INT "$BG"
    finish_background "$BG"
    equal "exit status" 130 "$RC"
    local f
    # What is there is whole.
    for f in out/*.jpg; do vips avg "$f" >/dev/null || fail "$f is not whole"; done
}

run_tests "$@"
