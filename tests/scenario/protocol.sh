#!/bin/bash
# The examples of doc/PROTOCOL.md, played against a live daemon, each with a fresh one.
. "$(dirname "$0")/lib.sh"

DOC=$PWC_SRC/doc/PROTOCOL.md

play() {
    start_pwcd
    "$TOOLS/replay" -v "$S" "$DOC" "$1"
}

mapfile -t examples < <("$TOOLS/replay" --list "$DOC")
for example in "${examples[@]}"; do
    eval "test_example_${example//-/_}() { play $example; }"
done

# The page has the examples that the text promises.
test_there_are_examples() {
    [[ ${#examples[@]} -ge 7 ]] || fail "only ${#examples[@]} examples in $DOC"
}

run_tests "$@"
