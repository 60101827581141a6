# shellcheck shell=bash
# report.sh - contrib/bench: results as text and JSON, the growth tables as plots, the blocks in README.md and
# doc/bench/README.md that `--readme` writes anew.
# shellcheck disable=SC2154 # the variables of setup.sh and contrib/bench

# What the growth tables show: table, what its first column is, key, label. A key without a label is only in the JSON.
COLUMNS_OF_GROWTH="\
chunks	chunks of the job	seconds	time of the job, s
chunks	chunks of the job	daemon_cpu_ms	CPU time of the supervisor, ms
chunks	chunks of the job	daemon_percent	its share of all CPU time, %
chunks	chunks of the job	daemon_peak_mib	supervisor at its most, MiB
waiting	jobs that wait, beside the 1000 measured	submit_daemon_us	supervisor to take one, us
waiting	jobs that wait, beside the 1000 measured	list_daemon_us	to list one, us
waiting	jobs that wait, beside the 1000 measured	dispatch_daemon_us	to have one run, us
waiting	jobs that wait, beside the 1000 measured	daemon_percent	supervisor's share of the CPU time of all when they run, %
waiting	jobs that wait, beside the 1000 measured	bytes_job	memory, bytes a job
clients	connected clients	connect_us	connect, us a client
clients	connected clients	job_p50	one-chunk job, p50, us
clients	connected clients	job_p99	one-chunk job, p99, us
clients	connected clients	daemon_percent	supervisor's share of the CPU time of all, %
clients	connected clients	bytes_client	memory, bytes a client
workers	workers	ns_chunk	time a chunk of 10 us, ns
workers	workers	daemon_cpu_ms	CPU time of the supervisor, ms
workers	workers	daemon_percent	its share of all CPU time, %
workers	workers	daemon_peak_mib	supervisor at its most, MiB
sizes	megapixels	seconds	time of the command, s
sizes	megapixels	anon_mib	memory that cannot be dropped, all processes, MiB
sizes	megapixels	pss_mib	the same with pages of files, MiB
sizes	megapixels	daemon_percent	CPU time of the supervisor, share of all, %
sizes	megapixels	daemon_rss_mib	supervisor resident, MiB
heights	megapixels	seconds	time of the command, s
heights	megapixels	anon_mib	memory that cannot be dropped, all processes, MiB
heights	megapixels	pss_mib	the same with pages of files, MiB
heights	megapixels	daemon_percent	CPU time of the supervisor, share of all, %
heights	megapixels	daemon_rss_mib	supervisor resident, MiB
windows	megapixels	seconds	time of the command, s
windows	megapixels	anon_mib	memory that cannot be dropped, all processes, MiB
windows	megapixels	pss_mib	the same with pages of files, MiB
windows	megapixels	daemon_percent	CPU time of the supervisor, share of all, %
windows	megapixels	daemon_rss_mib	supervisor resident, MiB"

# ---- JSON and text ----

json_text() {
    sed 's/[\\"]/\\&/g' | awk '{printf "%s%s", sep, $0; sep = "\\n"}'
}

write_json() {
    printf '{"command":"%s",\n"date":"%s","quick":%s,"rounds":%s,"minutes":%s,"seconds":%s,"prepared_seconds":%s,' \
        "$(json_text <<<"contrib/bench${arguments:+ $arguments}")" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
        "$([[ -n $quick ]] && echo true || echo false)" "$ROUNDS" "$MINUTES" "$SECONDS" "$PREPARED"
    printf '"seats":%s,"steps_a_chunk":%s,"growth_samples":1,\n' "$SEATS" "$STEPS"
    printf '"machine":"%s",\n"notes":"%s",\n"rows":[\n' "$(json_text <"$TMP/machine.txt")" "$(json_text <"$TMP/notes.txt")"
    sed '$!s/$/,/' "$TMP/rows.jsonl"
    printf '],\n"growth":[\n'
    awk -F'\t' '{
        if ($1 != table || $2 != x) {
            printf "%s{\"table\":\"%s\",\"x\":%s", (NR > 1 ? "},\n" : ""), $1, $2
            table = $1
            x = $2
        }
        printf ",\"%s\":%s", $3, $4
    } END {if (NR > 0) print "}"}' "$TMP/growth.tsv"
    printf ']}\n'
}

# Under the table: what cut it short, and what its marks mean.
explain() {
    awk -F'\t' '$4 != "" && $5 != "" && $7 == "" {alone = 1} $8 != "" && $13 < 0.95 {few = 1} $12 ~ /of/ {cut = 1} $11 ~ /too few/ {short = 1} $12 == "once" {once = 1} END {
        if (alone) print "No ratio: the goal is for our own value, and so is the range; theirs is for scale."
        if (few) print "~, unsure: fewer than six pairs; the range is the smallest and the largest, and no 95 % bound."
        if (short) print "yes, too few pairs: the bound is there, but a goal counts as reached with 15 pairs or more."
        if (once) print "once: what does not scatter, counts and memory, is measured once."
        if (cut) print "Rows with \"N of M\" pairs were cut by the time there was."
    }' "$TMP/table.tsv"
    sed 's/^/note: /' "$TMP/notes.txt"
}

summary() {
    awk -F'\t' -v seconds="$SECONDS" -v prepared="$PREPARED" '$11 == "yes" {yes++} $11 == "no" || $11 ~ /^FAILED/ {no++}
        $11 == "unsure" || $11 ~ /too few/ {few++} $11 == "no goal" {shown++} END {
        printf "%d goals reached, %d missed, %d with too few pairs to say, %d not measured, in %d s, of which %d to install and build\n",
            yes, no, few, NR - yes - no - few - shown, seconds, prepared}' "$TMP/table.tsv"
}

finish() {
    {
        cat "$TMP/machine.txt"
        printf 'command   contrib/bench%s\n\n' "${arguments:+ $arguments}"
        head_line
        format_lines <"$TMP/table.tsv"
        explain
        printf '\n'
        summary
    } >"$output/table.txt"
    write_json >"$output/results.json"
    cp "$TMP/growth.tsv" "$output/growth.tsv"
    [[ -z $plots ]] || draw_plots "$([[ -z $(lacking) ]] && echo "$SOURCE/doc/bench" || echo "$output")"
    headline "Results"
    cat "$output/table.txt"
    printf '%s\n' "$output/results.json"
    [[ -z $readme ]] || write_readme
    return "$failed"
}

# ---- what may stand in the documents ----

# part_of: why this cannot be a run of everything, by its options.
part_of() {
    [[ -z $quick ]] || echo "--quick"
    [[ $only == '*' ]] || echo "--rows"
    [[ ${rounds:-15} -ge 15 ]] || echo "--rounds $rounds"
}

refuse_part() {
    local why
    why=$(part_of | paste -sd ' ')
    [[ -z $why ]] || die "--readme is for a whole run: not with $why"
}

# lacking: why it was none, when all is over: options, rows that failed or were left out, peers that are missing, points.
lacking() {
    part_of
    [[ $failed -eq 0 ]] || echo "a row failed or was left out"
    awk -F'\t' '$11 !~ /^(yes|yes, too few pairs|no|no goal|unsure)$/ {print $1 ": " $11}' "$TMP/table.tsv"
    grep -E ' (left out|was not compared)|no pictures' "$TMP/notes.txt" || :
}

write_readme() {
    local why
    why=$(lacking | sort -u)
    if [[ -z $why ]]; then
        write_blocks
        return
    fi
    printf 'README.md and doc/bench/README.md stay as they were, this was no whole run:\n%s\n' "$why" >&2
    failed=1
}

# ---- plots ----

drawn_tables() {
    cut -f 1 "$TMP/growth.tsv" | awk '!seen[$0]++'
}

draw_plots() { # FOLDER
    local table
    mkdir -p "$1"
    printf '%s\n' "$COLUMNS_OF_GROWTH" >"$TMP/columns.tsv"
    for table in $(drawn_tables); do
        awk -v table="$table" -f "$SOURCE/tests/bench/plot.awk" "$TMP/columns.tsv" "$TMP/growth.tsv" \
            >"$1/$table.svg"
    done
}

# ---- blocks in documents ----

# A block is what lies between these lines; NAME is "table" or "growth".
block_begin() {
    echo "<!-- contrib/bench writes from here: $1 -->"
}
block_end() {
    echo "<!-- contrib/bench writes to here: $1 -->"
}

# Before anything is measured: where the results shall go.
have_blocks() {
    local name file
    while read -r name file; do
        if ! grep -qxF "$(block_begin "$name")" "$SOURCE/$file" || ! grep -qxF "$(block_end "$name")" "$SOURCE/$file"; then
            die "$file has no lines '$(block_begin "$name")' and '$(block_end "$name")'"
        fi
    done <<<"table README.md
growth doc/bench/README.md"
}

# put_block NAME FILE <TEXT
put_block() {
    local new
    new=$(mktemp "$2.XXXXXX")
    cat >"$TMP/block"
    awk -v begin="$(block_begin "$1")" -v end="$(block_end "$1")" -v text="$TMP/block" '
        $0 == end {inside = 0}
        !inside
        $0 == begin {
            inside = 1
            print ""
            while ((getline line <text) > 0) print line
            print ""
        }' "$2" >"$new"
    chmod --reference="$2" "$new"
    mv "$new" "$2"
}

# Goals that were missed stand out.
markdown_table() {
    awk -F'\t' 'BEGIN {
        print "| work | what | ours | against | theirs | ratio | 95 % of it | pairs | goal | reached |"
        print "|---|---|--:|---|--:|--:|--:|--:|--:|---|"
    }
    {
        bound = $8 != "" ? ($13 < 0.95 ? "~" : "") $8 " to " $9 : ""
        work = $2 != before ? $2 : ""
        before = $2
        printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", work, $3, $5, $4 == "-" ? "" : $4, $6, $7, bound, $12,
            $10, $11 == "yes" || $11 == "no goal" ? $11 : "**" $11 "**"
    }' "$TMP/table.tsv"
}

markdown_growth() { # TABLE
    awk -F'\t' -v table="$1" '
        FNR == NR {
            if ($1 == table) {
                key[++n] = $3
                head = head " " $4 " |"
                rule = rule "--:|"
                first = $2
            }
            next
        }
        $1 == table {
            if (!($2 in row)) order[++rows] = $2
            row[$2] = 1
            value[$2, $3] = $4
        }
        END {
            printf "| %s |%s\n|--:|%s\n", first, head, rule
            for (i = 1; i <= rows; i++) {
                printf "| %d |", order[i]
                for (k = 1; k <= n; k++) printf " %.4g |", value[order[i], key[k]]
                print ""
            }
        }' "$TMP/columns.tsv" "$TMP/growth.tsv"
}

markdown_machine() {
    printf '```\n%s contrib/bench%s\n\n' '$' "${arguments:+ $arguments}"
    cat "$TMP/machine.txt"
    printf '```\n'
}

write_blocks() {
    local table
    printf '%s\n' "$COLUMNS_OF_GROWTH" >"$TMP/columns.tsv"
    {
        markdown_machine
        printf '\n'
        markdown_table
        printf '\n'
        explain | sed 's/$/  /'
        summary
    } | put_block table "$SOURCE/README.md"
    {
        markdown_machine
        printf '\nEach figure is one sample, on a pwcd of its own with its defaults where a table says nothing else.\n'
        for table in $(drawn_tables); do
            printf '\n### %s\n\n' "$(awk -F'\t' -v t="$table" '$1 == t {print $2}' "$TMP/titles.tsv")"
            awk -F'\t' -v t="$table" '$1 == t && $3 != "" {printf "Settings of pwcd: `%s`.\n\n", $3}' "$TMP/titles.tsv"
            markdown_growth "$table"
            printf '\n![%s](%s.svg)\n' "$table" "$table"
        done
    } | put_block growth "$SOURCE/doc/bench/README.md"
}
