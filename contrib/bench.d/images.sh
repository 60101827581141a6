# shellcheck shell=bash
# images.sh - contrib/bench: rows with images, against the vips command and vipsthumbnail.
#
# Pictures are made with vips: smooth noise of several sizes and grain, so that they compress about as photographs
# do; one tile repeated, so that the large ones are made quickly. After each round the results are compared.
# shellcheck disable=SC2154 # the variables of setup.sh

PHOTOS=160 # in the full run

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
        rm -f ./[123].v rgb.v wide.v grain.v sum.v byte.v
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
    if [[ -x $PWCCTL ]]; then
        echo "exec $PWCCTL run -q $3 $1 -o $2 $4"
    else
        echo "exec $CLIENT image $3 $1 $2 ${2##*.} $4"
    fi
}

# image_row ID TITLE INPUT SUFFIX OP "OUR PARAMETERS" "THEIR PARAMETERS" GOAL [TOLERANCE]
image_row() {
    local in=$3 out=$TMP/out suffix=$4 op=${5#image.} threads
    if ! have vips; then
        row "$1" "$2" --absent ours "no pictures" --absent vips "peer not installed: vips" --goal "wall vips <= $8"
        return 0
    fi
    SIDES=(--run ours "$(ours_image "$in" "$out-ours$suffix" "$5" "$6")")
    for threads in 1 2; do
        SIDES+=(--run "vips$threads" "VIPS_CONCURRENCY=$threads exec vips $op $in $out-$threads$suffix $7")
    done
    row "$1" "$2" "${SIDES[@]}" --rounds "$FEW" --goal "wall vips1+vips2 <= $8" \
        --check "$SOURCE/contrib/bench.d/same $out-ours$suffix $out-2$suffix ${9-0}"
    rm -f "$out"-*
}

row_blur() {
    local side
    side=$(by 8192 4096)
    picture "$side" .tif
    image_row blur "gaussblur sigma 8, $side^2 TIFF, s" "$PICTURE" .tif image.gaussblur sigma=8 8 1.0
}

row_images() {
    local side
    side=$(by 8192 2048)
    picture "$side" .jpg
    image_row blur.jpeg "gaussblur, JPEG to JPEG, s" "$PICTURE" .jpg image.gaussblur sigma=8 8 1.0 1
    picture "$side" .png
    image_row blur.png "gaussblur, PNG to PNG, s" "$PICTURE" .png image.gaussblur sigma=8 8 1.05
    picture "$side" -tiled.tif "[tile]"
    image_row blur.tiled "gaussblur, tiled TIFF to tiled, s" "$PICTURE" .tif image.gaussblur \
        "sigma=8 --save tile=true" "8" 1.0
    picture "$side" .tif
    image_row sharpen "sharpen, TIFF, s" "$PICTURE" .tif image.sharpen "" "" 1.0
    image_row resize "resize 0.37, TIFF, s" "$PICTURE" .tif image.resize scale=0.37 0.37 1.0
    image_row rot "rot d90, TIFF, s" "$PICTURE" .tif image.rot angle=d90 d90 1.0
    image_row sobel "sobel, TIFF, s" "$PICTURE" .tif image.sobel "" "" 1.0
    sixteen_bits "$side"
    image_row rank "rank 3 3 4, 16 bit TIFF, s" "$PICTURE" .tif image.rank "width=3 height=3 index=4" "3 3 4" 1.0
}

sixteen_bits() {
    local eight
    picture "$1" .tif
    eight=$PICTURE
    PICTURE=$TMP/in-$1-16.tif
    [[ -e $PICTURE ]] || vips linear "$eight" "$TMP/wide.v" 257 0
    [[ -e $PICTURE ]] || vips cast "$TMP/wide.v" "$TMP/short.v" ushort
    [[ -e $PICTURE ]] || vips copy "$TMP/short.v" "$PICTURE" --interpretation rgb16
    rm -f "$TMP/wide.v" "$TMP/short.v"
}

# ---- photographs ----

make_photos() {
    [[ ! -d $TMP/photos ]] || return 0
    picture 4096 .tif
    mkdir "$TMP/photos" "$TMP/small-ours" "$TMP/small-xargs" "$TMP/small-each" "$TMP/small-parallel"
    local i
    for ((i = 0; i < PHOTOS; i++)); do
        printf '%s %s[Q=85] %s %s\n' "$PICTURE" "$TMP/photos/$i.jpg" $((i * 13 % 2400)) $((i * 7 % 2800))
    done | xargs -P "$SEATS" -L 1 sh -c 'exec vips extract_area "$0" "$1" "$2" "$3" 1632 1224'
}

row_thumbs() {
    [[ -z $quick ]] || PHOTOS=40
    if ! have vipsthumbnail; then
        row thumbs "thumbnails of $PHOTOS photographs, s" --absent ours "no pictures" \
            --absent xargs "peer not installed: vipsthumbnail" --goal "wall xargs <= 1.0"
        return 0
    fi
    make_photos
    local make="vipsthumbnail -s 256 -o"
    local list="find $TMP/photos -name '*.jpg' -print0"
    SIDES=(--run ours "$CLIENT thumbs $TMP/small-ours 256 $TMP/photos/*.jpg")
    [[ ! -x $PWCCTL ]] ||
        SIDES=(--run ours "exec $PWCCTL run -q image.thumbnail width=256 --out-dir $TMP/small-ours $TMP/photos/*.jpg")
    peer xargs xargs "$list | xargs -0 -P$SEATS -n20 $make $TMP/small-xargs/%s.jpg"
    peer each xargs "$list | xargs -0 -P$SEATS -n1 $make $TMP/small-each/%s.jpg"
    peer parallel parallel "$list | parallel -0 -j$SEATS $make $TMP/small-parallel/%s.jpg"
    row thumbs "thumbnails of $PHOTOS photographs, s" "${SIDES[@]}" --rounds "$(by "$FEW" 2)" --warm "$(by 1 0)" \
        --check "$SOURCE/contrib/bench.d/same $TMP/small-ours $TMP/small-xargs 2" \
        --goal "wall xargs <= 1.0" --goal "wall each <= 0.25" --goal "wall parallel <= 0.25"
}
