# shellcheck shell=bash
# growth.sh - contrib/bench: how cost grows with chunks, waiting jobs, clients, workers and the size of an image. Each
# point has a daemon of its own.
# shellcheck disable=SC2154,SC2034 # the variables of setup.sh, and for it

row_chunks() {
    local n
    growth_head chunks "How cost grows with the chunks of a job"
    for n in 1000 10000 100000 1000000 10000000 100000000 1000000000; do
        point chunks "$n" "$CLIENT" fresh "" "$CLIENT" chunks noop "$n"
    done
    row memory "10^9 chunks: supervisor, MiB" --once \
        --run ours "$CLIENT fresh '' $CLIENT chunks noop 1000000000" --goal "daemon_peak_mib - <= 16"
}

row_waiting() {
    local n settings="--set jobs_max=1000000 --set jobs_per_user=1000000"
    growth_head waiting "How cost grows with jobs that wait" "$settings"
    for n in 1 10 100 1000 10000 $(by 100000 ""); do
        point waiting "$n" "$CLIENT" fresh "$settings" "$CLIENT" waiting "$n"
    done
}

# The daemon has a descriptor for each; bench-client spreads its two a client over several processes.
row_clients() {
    local n settings="--set clients_max=100000 --set clients_per_user=100000"
    growth_head clients "How cost grows with connected clients" "$settings"
    ulimit -Hn 65536 2>/dev/null || : # root may raise it; the programs then take what they are allowed
    for n in 1 10 100 1000 $(by 10000 ""); do
        if [[ $(ulimit -Hn) != unlimited && $(ulimit -Hn) -lt $((n + 1000)) ]]; then
            note "clients: $n left out, the daemon needs $((n + 1000)) descriptors and 'ulimit -Hn' is $(ulimit -Hn)"
            continue
        fi
        point clients "$n" "$CLIENT" fresh "$settings" "$CLIENT" clients "$n"
    done
}

row_workers() {
    local n chunks sum
    chunks=$(by 100000 20000)
    growth_head workers "How cost grows with workers on $(nproc) CPUs: $chunks chunks of 10 us" "--workers N"
    sum=$("$BIN/bench-omp" expect "$chunks" "$STEPS")
    for n in 1 2 4 8 16 32 64; do
        point workers "$n" "$CLIENT" fresh "--workers $n" "$CLIENT" chunks bench.mix "$chunks" "$STEPS" "$sum"
    done
}

# fits_disk TABLE MEGAPIXELS. Input, raster, our output and theirs lie on the disk at a time, 3 bytes a pixel each, or the
# picture being made instead of one; and theirs of smaller ones.
fits_disk() {
    local free
    free=$(df --output=avail -BM "$TMP" | tail -n 1 | tr -dc 0-9)
    [[ $free -lt $(($2 * 15)) ]] || return 0
    note "$1: $2 megapixels left out, $TMP has $free MiB free and $(($2 * 15)) are needed"
    return 1
}

# compare_point TABLE MEGAPIXELS IN OUT THEIRS: a point whose picture is not what `vips` makes is none. THEIRS is made when
# it is not there.
compare_point() {
    if [[ $((ROW_BEGAN + BUDGET - SECONDS)) -lt 1 ]]; then
        note "$1: the picture of $2 megapixels was not compared, the time for this row is over"
    elif [[ ! -e $5 ]] && ! VIPS_CONCURRENCY=$SEATS timeout -k 5 "$LIMIT" vips gaussblur "$3" "$5" 8; then
        note "$1: the picture of $2 megapixels was not compared, vips failed or took too long"
        rm -f "$5"
    elif ! "$SOURCE/contrib/bench.d/same" 0 "$4" "$5"; then
        note "$1: $2 left out, the picture is not what vips makes"
        awk -F'\t' -v table="$1" -v x="$2" '$1 != table || $2 != x' "$TMP/growth.tsv" >"$TMP/right.tsv"
        mv "$TMP/right.tsv" "$TMP/growth.tsv"
        failed=1
    fi
}

# blur_point TABLE MEGAPIXELS IN [THEIRS]; without THEIRS nobody compares.
blur_point() {
    local out=$TMP/out-growth.tif
    point "$1" "$2" "$CLIENT" fresh "" "$CLIENT" memory sh -c "$(ours_image "$3" "$out" image.gaussblur sigma=8)"
    [[ ! -e $out || -z ${4-} ]] || compare_point "$1" "$2" "$3" "$out" "$4"
    rm -f "$out"
}

# The largest is not compared: `vips` would need a quarter of a minute for it, and has to for that of `windows` already.
row_sizes() {
    local megapixels side
    if ! have vips; then
        note "sizes: no pictures, peer not installed: vips"
        return 0
    fi
    growth_head sizes "How cost grows with the size of an image: gaussblur sigma 8, TIFF to TIFF"
    for megapixels in 1 4 16 64 $(by "256 900" ""); do
        side=$(awk -v mp="$megapixels" 'BEGIN {print int(sqrt(mp * 1e6))}')
        fits_disk sizes "$megapixels" || continue
        picture "$side" .tif
        blur_point sizes "$megapixels" "$PICTURE" "$([[ $megapixels -gt 300 ]] || echo "$TMP/size-vips.tif")"
        rm -f "$PICTURE" "$TMP/size-vips.tif"
    done
}

# tall_points TABLE TITLE SUFFIX "HEIGHTS, in 2048 rows" [SAVE OPTIONS]: the width stays, and with it what a strip takes. The
# pixels are the same whatever the SUFFIX, and so is what `vips` makes of them.
tall_points() {
    local table=$1 n megapixels
    if ! have vips; then
        note "$table: no pictures, peer not installed: vips"
        return 0
    fi
    growth_head "$table" "$2"
    make_tile
    for n in $4; do
        megapixels=$((n * 8192 * 2048 / 1000000))
        fits_disk "$table" "$megapixels" || continue
        vips replicate "$TMP/tile.v" "$TMP/tall$3${5-}" 4 "$n"
        blur_point "$table" "$megapixels" "$TMP/tall$3" "$TMP/vips-$n.tif"
        rm -f "$TMP/tall$3"
    done
}

row_heights() {
    tall_points heights "How cost grows with the height of an image 8192 wide: gaussblur sigma 8, TIFF to TIFF" .tif \
        "1 4 $(by "16 24" "")"
}

# Decoded, so that there is a raster, of which a window is kept from 134 megapixels on.
row_windows() {
    tall_points windows "How cost grows with the height of an image 8192 wide that is decoded: tiled TIFF to TIFF" \
        -tiled.tif "1 4 $(by "16 54" "")" "[tile]"
    rm -f "$TMP"/vips-[0-9]*.tif # which both tables have looked at
}
