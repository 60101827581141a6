#!/bin/bash
# bench_pair.sh - what the benchmark says must follow from what the programs printed: medians and bounds, verdicts, wrong
# results, programs that hang, budgets; and what contrib/bench writes into documents and plots.
set -u
export LC_ALL=C
src=$(cd "$(dirname "$0")/../.." && pwd)
pair=${PWC_BUILD:-.}/tests/bench/bench-pair
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# equal WHAT EXPECTED ACTUAL
equal() {
    if [[ $2 == "$3" ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED: %s: expected "%s", got "%s"\n' "$1" "$2" "$3"
    fi
}

# run_row ARGUMENT...: a row of its own; its status in RC
run_row() {
    rm -f "$tmp/json" "$tmp/table"
    "$pair" --row r --title t --json "$tmp/json" --table "$tmp/table" "$@" 2>"$tmp/err"
    RC=$?
}

# cell N: of the only line of the table
cell() {
    cut -f "$1" "$tmp/table"
}

# reached: what the JSON says of the only goal
reached() {
    sed -nE 's/.*"reached":([a-z]+).*/\1/p' "$tmp/json"
}

# counting FILE VALUES: a command that prints the next of the values each time it is run
counting() {
    printf '%s\n' "$2" | tr ' ' '\n' >"$tmp/$1"
    printf 'printf "v %%s\\n" "$(head -n 1 %s)"; sed -i 1d %s' "$tmp/$1" "$tmp/$1"
}

# ---- medians, bounds, verdicts ----
run_row --rounds 9 --warm 0 --run ours "$(counting a '1 9 3 7 5 2 8 4 6')" --run p "echo v 10" --goal "v p <= 0.5"
equal "status" 0 $RC
equal "median of 1..9 against 10" 0.500 "$(cell 7)"
equal "its bounds: the second of each end" "0.200 0.800" "$(cell 8) $(cell 9)"
equal "0.8 is over 0.5 x 1.05" no "$(cell 11)"
equal "pairs" 9 "$(cell 12)"
equal "sure" yes "$(awk -F'\t' '{print ($13 >= 0.95) ? "yes" : "no"}' "$tmp/table")"
run_row --rounds 15 --run ours "echo v 2" --run p "echo v 4" --goal "v p <= 0.5"
equal "a goal that is just met" yes "$(cell 11)"
run_row --rounds 14 --run ours "echo v 2" --run p "echo v 4" --goal "v p <= 0.5"
equal "fourteen pairs are too few" "yes, too few pairs null" "$(cell 11) $(reached)"
run_row --rounds 5 --run ours "echo v 2" --run p "echo v 4" --goal "v p <= 0.5"
equal "five values have no bound" "unsure null no" "$(cell 11) $(reached) $(awk -F'\t' '{print ($13 >= 0.95) ? "yes" : "no"}' "$tmp/table")"
run_row --once --run ours "echo v 2" --goal "v - <= 2"
equal "what is measured once" "yes true once" "$(cell 11) $(reached) $(cell 12)"
equal "and has no range" "" "$(cell 8)$(cell 9)"
run_row --rounds 15 --run ours "echo v 104" --run p "echo v 100" --goal "v p <= 1.0"
equal "within 1.05 of the goal" yes "$(cell 11)"
run_row --rounds 15 --run ours "echo v 106" --run p "echo v 100" --goal "v p <= 1.0"
equal "not within" no "$(cell 11)"
run_row --rounds 15 --run ours "echo v 94" --run p "echo v 100" --goal "v p >= 1.0"
equal "at least" no "$(cell 11)"
run_row --rounds 15 --run ours "echo v 2" --run slow "echo v 8" --run fast "echo v 1" --goal "v slow+fast <= 1"
equal "the best of several" "fast 2.000 no" "$(cell 4) $(cell 7) $(cell 11)"
run_row --rounds 15 --run ours "echo v 2" --run p "echo v 4" --show "v p"
equal "what no goal speaks of is shown" "0 0.500  no goal null" "$RC $(cell 7) $(cell 10) $(cell 11) $(reached)"
run_row --rounds 3 --warm 2 --run ours "$(counting a '100 100 1 2 3')" --goal "v - <= 5"
equal "rounds that warm up are not kept" "2.000 3" "$(cell 5) $(cell 12)"

# side NAME: a command that writes down its turn
side() {
    echo "printf $1 >>$tmp/order; echo v 1"
}
run_row --rounds 4 --warm 0 --run a "$(side a)" --run b "$(side b)" --run c "$(side c)" --goal "v b <= 1"
equal "each order and its reverse, and who begins changes" abccbabcaacb "$(cat "$tmp/order")"

# ---- what goes wrong ----
run_row --rounds 3 --run ours "echo v 1; exit 1" --run p "echo v 9" --goal "v p <= 1"
equal "a wrong result of ours" "1 FAILED: ours failed, or its result was wrong false" "$RC $(cell 11) $(reached)"
run_row --rounds 3 --run ours "echo v 1" --run p "exit 1" --goal "v p <= 1"
equal "a wrong result of a peer" "0 failed, or its result was wrong" "$RC $(cell 11)"
run_row --rounds 3 --run ours "echo v 1" --run p "exit 77" --goal "v p <= 1"
equal "a peer that cannot run" "cannot run here" "$(cell 11)"
run_row --rounds 3 --run ours "echo v 1" --absent p "not installed" --goal "v p <= 1"
equal "a peer that is not there" "not installed" "$(cell 11)"
run_row --rounds 4 --warm 0 --notes "$tmp/notes" --run ours "echo v 1" --run slow "echo v 3" \
    --run fast "$(counting a '2 2') && test -s $tmp/a" --goal "v slow+fast <= 1"
equal "a peer that fails once is named" "slow r: without fast: failed, or its result was wrong (rounds before that: 1)" \
    "$(cell 4) $(cat "$tmp/notes")"
run_row --rounds 3 --run ours "echo v 1" --run p "echo v 0" --goal "v p <= 1"
equal "no ratio to nothing" "their value is 0" "$(cell 11)"
run_row --rounds 3 --run ours "echo v inf" --run p "echo v 2" --goal "v p <= 1"
equal "what is no number is no value" "not measured" "$(cell 11)"
run_row --once --run ours "echo v 1" --run p "echo v 2" --goal "v - <= 1"
equal "who is beside a value of ours" "p 1.000 2.000" "$(cell 4) $(cell 5) $(cell 6)"
run_row --rounds 3 --run ours "echo v 1" --run p "echo v 9" --check "exit 1" --goal "v p <= 1"
equal "results that differ" "1 FAILED: the results differ" "$RC $(cell 11)"
run_row --rounds 3 --run ours "echo v 1" --run p "echo w 9" --goal "v p <= 1"
equal "a value that nobody printed" "not measured" "$(cell 11)"
run_row --rounds 3 --run ours "tail -f /dev/null & echo \$! >$tmp/pid; wait" --limit 0.2 --goal "v - <= 1"
equal "ours hangs" "1 FAILED: ours took too long" "$RC $(cell 11)"
end=$((SECONDS + 20))
while kill -0 "$(cat "$tmp/pid")" 2>/dev/null && [[ $SECONDS -lt $end ]]; do :; done
equal "and what it started is gone" gone "$(kill -0 "$(cat "$tmp/pid")" 2>/dev/null && echo alive || echo gone)"
run_row --rounds 3 --run ours "echo v 1" --run p "exec tail -f /dev/null" --limit 0.2 --goal "v p <= 1"
equal "a peer hangs" "0 took too long" "$RC $(cell 11)"
run_row --rounds 50 --warm 0 --budget 0.01 --run ours "timeout 0.05 tail -f /dev/null; echo v 1" --goal "v - <= 1"
equal "the budget is spent after the first round" "1 of 50 unsure" "$(cell 12) $(cell 11)"
run_row --rounds 50 --budget 0.01 --run ours "$(counting a '1 2 3'); timeout 0.05 tail -f /dev/null || true" --goal "v - <= 1"
equal "with no time for another the round that warms up is kept" "1 of 50 1.000" "$(cell 12) $(cell 5)"
# kept SECONDS...: a row that had rounds which took so long
kept() {
    local IFS=$'\t'
    printf 'took\t%s\nside\tours\nv%s\n' "$*" "$(printf '\t1%.0s' "$@")" >"$tmp/keep"
}
kept 0.001 0.001
run_row --rounds 3 --budget 0.9 --keep "$tmp/keep" --goal "v - <= 1" \
    --run ours "test -e $tmp/warm || { : >$tmp/warm; timeout 1 tail -f /dev/null; }; echo v 1"
equal "a slow round that warms up does not cut the row" "3 1.000" "$(cell 12) $(cell 5)"
kept 1 200 1 1
run_row --rounds 5 --warm 0 --budget 30 --keep "$tmp/keep" --run ours "echo v 1" --goal "v - <= 1"
equal "nor does a slow one among others" 5 "$(cell 12)"
kept 1 31 31 31
run_row --rounds 5 --warm 0 --budget 30 --keep "$tmp/keep" --run ours "echo v 1" --goal "v - <= 1"
equal "one that usually takes longer than there is time is not begun" "4 of 5" "$(cell 12)"
rm "$tmp/keep"
run_row --rounds 3 --warm 0 --budget 0.000001 --keep "$tmp/keep" --run ours "$(counting a '1 2')" \
    --run p "$(counting q '5 6'); test -s $tmp/q" --run q "echo v 2; test -s $tmp/q" --goal "v p+q <= 9"
equal "what was cut is kept" "1 of 3 kept" "$(cell 12) $(test -s "$tmp/keep" && echo kept)"
run_row --rounds 3 --warm 1 --keep "$tmp/keep" --run ours "$(counting a '100 3 5')" --run p "$(counting q '9 6 4')" \
    --run q "echo v 2" --goal "v p+q <= 9"
equal "and goes on: with the rounds it had, and another that warms up" "3 [1,3,5] [5,6,4]" \
    "$(cell 12) $(jq -r '.sides[:2][].metrics.v | tostring' "$tmp/json" | xargs)"
equal "what is complete is not kept" gone "$(test -e "$tmp/keep" || echo gone)"
run_row --rounds 3 --warm 0 --budget 0.000001 --keep "$tmp/keep" --run ours "echo v 1" --run p "exit 1" --goal "v p <= 9"
run_row --rounds 3 --warm 0 --keep "$tmp/keep" --run ours "echo v 1" --run p "echo v 1" --goal "v p <= 9"
equal "a peer that failed is absent when it goes on" "failed, or its result was wrong 3" "$(cell 11) $(cell 12)"
run_row --rounds 3 --goal "v p < 1" --run ours "echo v 1"
equal "a goal that is none" "1 bench-pair: goal 'v p < 1': expected METRIC PEER <= VALUE, or >=" "$RC $(cat "$tmp/err")"

# ---- documents and plots ----
# shellcheck source=../../contrib/bench.d/report.sh
. "$src/contrib/bench.d/report.sh"
TMP=$tmp
printf 'before\n%s\nold\n%s\nafter\n' "$(block_begin table)" "$(block_end table)" >"$tmp/doc"
echo "new" | put_block table "$tmp/doc"
cp "$tmp/doc" "$tmp/once"
echo "new" | put_block table "$tmp/doc"
equal "a block is written anew, and nothing else" "before new after" "$(grep -v '^<!--' "$tmp/doc" | xargs)"
equal "and again the same" same "$(cmp -s "$tmp/doc" "$tmp/once" && echo same)"
equal "the documents have their blocks" "2 2" \
    "$(grep -c '^<!-- contrib/bench writes .*: table -->$' "$src/README.md") $(grep -c '^<!-- contrib/bench writes .*: growth -->$' "$src/doc/bench/README.md")"

printf '%s\n' "$COLUMNS_OF_GROWTH" >"$tmp/columns.tsv"
printf 'chunks\t%s\tseconds\t%s\n' 1000 0.5 1000000 0.5 >"$tmp/growth.tsv"
awk -v table=chunks -f "$src/tests/bench/plot.awk" "$tmp/columns.tsv" "$tmp/growth.tsv" >"$tmp/plot.svg"
# Two points of the same height: a line that is level.
equal "a flat cost is a level line" level \
    "$(sed -nE 's/^<polyline points="[0-9.]+,([0-9.]+) [0-9.]+,([0-9.]+) ".*/\1 \2/p' "$tmp/plot.svg" | awk '{print $1 == $2 ? "level" : $0}')"
equal "the axes say what they are" 2 "$(grep -c 'chunks of the job\|time of the job, s' "$tmp/plot.svg")"

# ---- the functions of contrib/bench, without running a row ----

# with_parts SCRIPT: in an empty folder
with_parts() {
    rm -rf "$tmp/parts" && mkdir "$tmp/parts"
    bash -uc '. "$0/contrib/lib.sh"; for part in "$0"/contrib/bench.d/*.sh; do . "$part"; done
        cd "$1"; TMP=$1 quick="" profile="" only="*" arguments=""; '"$1" "$src" "$tmp/parts" "$(cd "${pair%/*}" && pwd)"
}

equal "a copy of the source without git has no builds in it" "./a.c ./build-aux/b" \
    "$(with_parts 'export GIT_DIR=/nonexistent; SOURCE=$TMP
        mkdir build build-aux build-bench build-quickstart build-check; touch a.c build/x build-aux/b build-bench/x \
        build-quickstart/x build-check/x; list_source | sort -z | tr "\0" " " | xargs')"
equal "--quick is over in three minutes if two were enough to build" "162 162 173" \
    "$(with_parts 'quick=yes MINUTES=2.7; echo $(end_after 5) $(end_after 100) $(end_after 120)')"
equal "in full most of the time is left to the rows" "1620 1620 1734" \
    "$(with_parts 'MINUTES=27; echo $(end_after 5) $(end_after 480) $(end_after 600)')"
# Rows that shell functions stand for: one that is measured, one that breaks, one for which there is no time.
equal "every row is in the table and in the JSON" "1 sound:null1 broken:FAILED: see the notes0 late:left out0" \
    "$(with_parts 'start_pwcd() { :; }; row_broken() { false; }
        row_sound() { row sound sound --run ours "echo v 1" --goal "v - <= 1"; }
        BIN=$2 ROUNDS=1 MINUTES=1 SEATS=2 STEPS=9 PREPARED=0 failed=0
        touch rows.jsonl table.tsv growth.tsv notes.txt machine.txt
        NAMES=(sound broken) WEIGHTS=(1 1) END=$((SECONDS + 60)); exec 3>&1 >/dev/null 2>&1; run_rows; exec >&3 2>&1
        NAMES=(late) WEIGHTS=(1) END=0; run_rows >/dev/null
        [[ $(cat notes.txt) == "broken: could not be run to its end"*"late: left out"* ]] || cat notes.txt
        write_json >json; jq -e . json >/dev/null || cat json
        echo "$failed" $(jq -r ".rows[] | \"\(.row):\(.failure)\(.goals | length)\"" json)
        [[ $(cut -f 1,11 table.tsv | tr "\t\n" ": ") == "sound:unsure broken:FAILED: see the notes late:left out " ]] || cat table.tsv')"
# One row is cut; what is left of the time is its own.
equal "a row that was cut goes on when all have run" "0 a:1 of 2:unsure b:2:unsure + a:2 b:2 + a: 1, 2 b: 7" \
    "$(with_parts 'start_pwcd() { :; }
        row_a() {
            local cut=(--budget 0.000001)
            [[ -e keep-a ]] && cut=()
            row a a --warm 0 --run ours "echo v 1; echo >>rounds; printf \"n %d\\n\" \$(wc -l <rounds)" --goal "v - <= 1" "${cut[@]}"
            note "a: $(values_of a n)"
        }
        row_b() { row b b --warm 0 --run ours "echo v 1" --goal "v - <= 1"; note "b: 7"; }
        BIN=$2 ROUNDS=2 MINUTES=1 SEATS=2 STEPS=9 PREPARED=0 failed=0
        touch rows.jsonl table.tsv growth.tsv notes.txt machine.txt
        NAMES=(a b) WEIGHTS=(10 10) END=$((SECONDS + 60)); exec 3>&1 >/dev/null 2>&1; run_rows; exec >&3 2>&1
        echo "$failed" $(cut -f 1,12,11 table.tsv | awk -F"\t" "{print \$1 \":\" \$3 \":\" \$2}")
        exec >/dev/null 2>&1; run_cut; exec >&3
        echo "+" $(jq -r "\"\(.row):\(.rounds)\"" rows.jsonl) "+" $(cat notes.txt)' | xargs)"
# A `vips` that copies; ours is right in one, wrong in the next.
equal "a point whose picture is wrong is none" "right:16 1 wrong: 67 left out, the picture is not what vips makes" \
    "$(with_parts 'mkdir bin; printf "#!/bin/sh\ntest \"\$1\" = gaussblur && cp \"\$2\" \"\$3\"\n" >bin/vips; chmod +x bin/vips
        PATH=$TMP/bin:$PATH SOURCE=$0 SEATS=2 LIMIT=60 BUDGET=60 ROW_BEGAN=$SECONDS failed=0
        touch notes.txt; echo picture >in; echo other >wrong
        printf "%s\t%s\tseconds\t1\n" right 16 wrong 67 >growth.tsv
        for point in "right 16 in" "wrong 67 wrong"; do
            set -- $point; compare_point "$1" "$2" in "$3" theirs >/dev/null 2>&1
        done
        awk "{print \$1 \":\" \$2}" growth.tsv; echo "$failed"; cat notes.txt' | xargs)"
equal "rows by patterns, also where files have such names" "blur blur.png" \
    "$(with_parts 'touch blur.none; only="blu*,none" ROWS="
empty 1 1
blur 1 1
blur.png 1 1"; choose_rows; echo "${NAMES[@]}"')"

equal "an unknown row" 1 "$("$src/contrib/bench" --rows nosuchrow 2>&1 | grep -c "'nosuchrow' is none of: chunks waiting")"
equal "the documents are for a whole run: a part of it is refused" \
    "bench: --readme is for a whole run: not with --quick --rows --rounds 14" \
    "$("$src/contrib/bench" --no-install --quick --rows idle --rounds 14 --readme 2>&1)"
# documents VERDICT NOTE FAILED: what is done with them
documents() {
    with_parts 'quick="" rounds="" only="*" failed='"$3"'; write_blocks() { echo written; }
        printf "r\tt\tm\tp\t1\t2\t3\t4\t5\t<= 1\t%s\t15\t1\n" "'"$1"'" >table.tsv; printf "%s" "'"$2"'" >notes.txt
        write_readme 2>&1; echo "$failed"' | tail -n +1 | paste -sd ' '
}
equal "a whole run is written" "written 0" "$(documents no "kill: 2 met no chunk" 0)"
kept="README.md and doc/bench/README.md stay as they were, this was no whole run:"
equal "one in which a row failed is not" "$kept a row failed or was left out 1" "$(documents yes "" 1)"
equal "nor one without a peer" "$kept r: peer not installed: vips 1" "$(documents "peer not installed: vips" "" 0)"
equal "nor one without a figure" "$kept r: not measured 1" "$(documents "not measured" "" 0)"
equal "what has no goal lacks none" "written 0" "$(documents "no goal" "" 0)"
equal "nor one without a point" "$kept sizes: 900 left out, the time for this row is over 1" \
    "$(documents yes "sizes: 900 left out, the time for this row is over" 0)"
mkdir "$tmp/b"
equal "paths are from where it is started" "bench: --build: no build of pwc is in '$tmp/b'" \
    "$(cd "$tmp" && "$src/contrib/bench" --no-install --build b 2>&1)"
equal "no number of rounds" "bench: --rounds: 'x' is no number of rounds" "$("$src/contrib/bench" --rounds x 2>&1)"

printf '%d passed, %d failed\n' $passed $failed
[[ $failed -eq 0 ]]
