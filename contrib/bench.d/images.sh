# shellcheck shell=bash
# images.sh - contrib/bench: rows with images, against the vips command and vipsthumbnail.
#
# Pictures are made with vips: smooth noise of several sizes and grain, so that they compress about as photographs
# do; one tile repeated, so that the large ones are made quickly. After each round the results are compared.
# shellcheck disable=SC2154 # the variables of setup.sh

make_tile() {
    [[ ! -e $TMP/tile.v ]] || return 0
    (
        cd "$TMP" || exit
        vips perlin 1.v 2048 2048 --cell-size 256 --seed 1
        vips perlin 2.v 2048 2048 --cell-size 97 --seed 2
        vips perlin 3.v 2048 2048 --cell-size 31 --seed 3
        vips bandjoin "1.v 2.v 3.v" rgb.v
        vips linear rgb.v wide.v 90 128
        vips gaussnoise grain.v 2048 2048 --mean 0 --sigma 6 --seed 4
        vips add wide.v grain.v sum.v
        vips cast sum.v byte.v uchar
        vips copy byte.v tile.v --interpretation srgb
        rm -f 1.v 2.v 3.v rgb.v wide.v grain.v sum.v byte.v
    )
}

# picture SIDE SUFFIX [SAVE OPTIONS]: path in $PICTURE; made when it is not there
picture() {
    PICTURE=$TMP/in-$1$2
    [[ ! -e $PICTURE ]] || return 0
    make_tile
    local across=$((($1 + 2047) / 2048))
    vips replicate "$TMP/tile.v" "$TMP/all.v" "$across" "$across"
    vips extract_area "$TMP/all.v" "$PICTURE${3-}" 0 0 "$1" "$1"
    rm -f "$TMP/all.v"
}

ours_image() { # IN OUT OP PARAMETERS
    echo "exec $PWCCTL run -q $3 $1 -o $2 $4"
}

# microseconds COMMAND: how long it takes; nothing when it fails
microseconds() {
    local begun=${EPOCHREALTIME/./}
    sh -c "$1" >/dev/null 2>&1 || return 0
    echo $((${EPOCHREALTIME/./} - begun))
}

# vips_sides IN OUT OP PARAMETERS: with one thread and with as many as there are seats. rot, sobel and rank of a picture of more
# than 100 MB are slower by default: it is then unpacked into a file of its own first, here into memory. Each is tried before the row; one
# that takes half as long again as the other is tried once more, and has lost if it does so again: fifteen more runs of it
# would take a third of the row and decide nothing.
vips_sides() {
    local threads us least='' commands=() took=()
    for threads in "$SEATS" 1; do
        commands[threads]="VIPS_CONCURRENCY=$threads VIPS_DISC_THRESHOLD=4g exec vips $3 $1 '${2/THREADS/$threads}' $4"
        us=$(microseconds "${commands[threads]}")
        took[threads]=${us:-0}
        [[ -z $us || $us -ge ${least:-$us} ]] || least=$us
        least=${least:-$us}
    done
    for threads in "${!commands[@]}"; do
        if [[ $((took[threads] * 2)) -gt $((${least:-0} * 3)) ]]; then
            us=$(microseconds "${commands[threads]}")
            [[ ${us:-0} -eq 0 || $us -ge ${took[threads]} ]] || took[threads]=$us
        fi
        if [[ $((took[threads] * 2)) -gt $((${least:-0} * 3)) ]]; then
            SIDES+=(--absent "vips$threads" "$((took[threads] / 1000)) ms when tried, the other $((least / 1000))")
        else
            SIDES+=(--run "vips$threads" "${commands[threads]}")
        fi
    done
}

# image_row ID TITLE INPUT SUFFIX OP "OUR PARAMETERS" "THEIR PARAMETERS" GOAL [TOLERANCE [THEIR SAVE OPTIONS]]
# What a round has written is compared and removed: the next one's outputs are its own, and nothing is still being
# written to the disk.
image_row() {
    local in=$3 out=$TMP/out suffix=$4 op=${5#image.}
    if ! have vips; then
        row "$1" "$2" --absent ours "no pictures" --absent vips "peer not installed: vips" --goal "wall vips <= $8"
        return 0
    fi
    if [[ -s $TMP/sides-$1 ]]; then # it goes on: with the same sides
        mapfile -t SIDES <"$TMP/sides-$1"
    else
        SIDES=(--run ours "$(ours_image "$in" "$out-ours$suffix" "$5" "$6")")
        vips_sides "$in" "$out-THREADS$suffix${10-}" "$op" "$7"
        printf '%s\n' "${SIDES[@]}" >"$TMP/sides-$1"
    fi
    microseconds "${SIDES[2]}" >/dev/null # warm as well
    find "$TMP" -maxdepth 1 -name 'out-*' -delete
    row "$1" "$2" --warm 0 "${SIDES[@]}" --goal "wall vips1+vips$SEATS <= $8" --check \
        "$SOURCE/contrib/bench.d/same ${9-0} $out-ours$suffix $out-1$suffix $out-$SEATS$suffix && rm -f $out-*"
}

# Full pictures are 8192 x 8192. Only rank's has 4096: both sides compute for ten seconds on the full one.
row_blur() {
    picture "$(by 8192 2048)" .tif
    image_row blur "gaussblur sigma 8, $(by 8192 2048)^2 TIFF, s" "$PICTURE" .tif image.gaussblur sigma=8 8 1.0
}

row_blur_jpeg() {
    picture "$(by 8192 2048)" .jpg
    image_row blur.jpeg "gaussblur, JPEG to JPEG, s" "$PICTURE" .jpg image.gaussblur sigma=8 8 1.0
}

row_blur_png() {
    picture "$(by 8192 1024)" .png
    image_row blur.png "gaussblur, $(by 8192 1024)^2 PNG to PNG, s" "$PICTURE" .png image.gaussblur sigma=8 8 1.05
}

row_blur_tiled() {
    picture "$(by 8192 2048)" -tiled.tif "[tile]"
    image_row blur.tiled "gaussblur, tiled TIFF to tiled, s" "$PICTURE" .tif image.gaussblur \
        "sigma=8 --save tile=true" "8" 1.0 0 "[tile]"
}

# simple_row ID SIDE "OUR PARAMETERS" "THEIR PARAMETERS"
simple_row() {
    picture "$2" .tif
    image_row "$1" "$1 $4${4:+, }$2^2 TIFF, s" "$PICTURE" .tif "image.$1" "$3" "$4" 1.0
}

row_sharpen() {
    simple_row sharpen "$(by 8192 2048)" "" ""
}

row_resize() {
    simple_row resize "$(by 8192 2048)" scale=0.37 0.37
}

row_rot() {
    simple_row rot "$(by 8192 2048)" angle=d90 d90
}

row_sobel() {
    simple_row sobel "$(by 8192 2048)" "" ""
}

row_rank() {
    local side
    side=$(by 4096 2048)
    sixteen_bits "$side"
    image_row rank "rank 3 3 4, $side^2 16 bit TIFF, s" "$PICTURE" .tif image.rank "width=3 height=3 index=4" "3 3 4" 1.0
}

sixteen_bits() { # SIDE
    local eight
    picture "$1" .tif
    eight=$PICTURE
    PICTURE=$TMP/in-$1-16.tif
    [[ ! -e $PICTURE ]] || return 0
    vips linear "$eight" "$TMP/wide.v" 257 0
    vips cast "$TMP/wide.v" "$TMP/short.v" ushort
    vips copy "$TMP/short.v" "$PICTURE" --interpretation rgb16
    rm -f "$TMP/wide.v" "$TMP/short.v"
}

# ---- photographs ----

# make_photos N: photographs of 2 megapixels, and folders for the thumbnails of each side
make_photos() {
    local i
    mkdir -p "$TMP/photos" "$TMP/small/ours" "$TMP/small/xargs" "$TMP/small/each" "$TMP/small/parallel"
    picture 4096 .tif
    for ((i = 0; i < $1; i++)); do
        printf '%s %s[Q=85] %s %s\n' "$PICTURE" "$TMP/photos/$i.jpg" $((i * 13 % 2400)) $((i * 7 % 2800))
    done | xargs -P "$SEATS" -L 1 sh -c 'exec vips extract_area "$0" "$1" "$2" "$3" 1632 1224'
}

# All three ways to do it with vipsthumbnail: a process for twenty files, and twice a process for each.
row_thumbs() {
    local n title small=$TMP/small make list goals
    n=$(by 160 40)
    title="$n photographs to thumbnails, s"
    goals=(--goal "wall xargs <= 1.0" --goal "wall each <= 0.25" --goal "wall parallel <= 0.25")
    if ! have vipsthumbnail; then
        row thumbs "$title" --absent ours "no pictures" --absent xargs "peer not installed: vipsthumbnail" "${goals[@]}"
        return 0
    fi
    make_photos "$n"
    make="vipsthumbnail -s 256 -o $small"
    list="find $TMP/photos -name '*.jpg' -print0"
    SIDES=(--run ours "exec $PWCCTL run -q image.thumbnail width=256 --out-dir $small/ours $TMP/photos/*.jpg")
    peer xargs xargs "$list | xargs -0 -P$SEATS -n20 $make/xargs/%s.jpg"
    peer each xargs "$list | xargs -0 -P$SEATS -n1 $make/each/%s.jpg"
    peer parallel parallel "$list | parallel -0 -j$SEATS $make/parallel/%s.jpg"
    row thumbs "$title" --warm 0 "${SIDES[@]}" "${goals[@]}" --check \
        "$SOURCE/contrib/bench.d/same 2 $small/ours $small/xargs $small/each $small/parallel && rm -f $small/*/*"
    rm -rf "$small" "$TMP/photos"
}
