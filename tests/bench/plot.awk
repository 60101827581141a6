# plot.awk - draws one growth table as SVG: awk -v table=chunks -f plot.awk columns.tsv growth.tsv
#
#   columns.tsv   table, label of the horizontal axis, key, label of the key
#   growth.tsv    table, x, key, value; both between tabs
#
# One panel a key, two side by side; both axes logarithmic, since what is asked is whether a line stays flat. Colours that
# can be read on white and on black, and no background.
BEGIN {
    FS = "\t"
    WIDTH = 380
    HEIGHT = 230
    LEFT = 56
    RIGHT = 18
    TOP = 26
    BOTTOM = 42
    ACROSS = 2
}

FNR == NR {
    if ($1 == table) {
        key[++nkeys] = $3
        label[$3] = $4
        axis = $2
    }
    next
}

$1 == table && $4 + 0 > 0 {
    n[$3]++
    x[$3, n[$3]] = $2
    y[$3, n[$3]] = $4
}

function log10(v) {
    return log(v) / log(10)
}

# Logarithms of powers of ten fall a hair short of whole numbers.
function floor(v,    i) {
    v += 1e-9
    i = int(v)
    return i > v ? i - 1 : i
}

# 1000000 as 1M, 0.001 as it is
function short(e) {
    if (e >= 0)
        return (10 ^ (e % 3)) (e >= 3 ? substr("kMGTP", int(e / 3), 1) : "")
    return sprintf("%.*f", -e, 10 ^ e)
}

function across(v) {
    return LEFT + (log10(v) - xlow) / (xhigh - xlow) * (WIDTH - LEFT - RIGHT)
}

function up(v) {
    return HEIGHT - BOTTOM - (log10(v) - ylow) / (yhigh - ylow) * (HEIGHT - BOTTOM - TOP)
}

function bounds(k,    i) {
    xlow = ylow = 99
    xhigh = yhigh = -99
    for (i = 1; i <= n[k]; i++) {
        if (floor(log10(x[k, i])) < xlow) xlow = floor(log10(x[k, i]))
        if (-floor(-log10(x[k, i])) > xhigh) xhigh = -floor(-log10(x[k, i]))
        if (floor(log10(y[k, i])) < ylow) ylow = floor(log10(y[k, i]))
        if (-floor(-log10(y[k, i])) > yhigh) yhigh = -floor(-log10(y[k, i]))
    }
    if (xhigh == xlow) xhigh++
    if (yhigh == ylow) yhigh++
}

function grid(    e, at) {
    for (e = xlow; e <= xhigh; e++) {
        at = across(10 ^ e)
        printf "<line class=\"g\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", at, at, TOP, HEIGHT - BOTTOM
        printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", at, HEIGHT - BOTTOM + 15, short(e)
    }
    for (e = ylow; e <= yhigh; e++) {
        at = up(10 ^ e)
        printf "<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, WIDTH - RIGHT, at, at
        printf "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 6, at + 4, short(e)
    }
}

function panel(k, at,    i) {
    bounds(k)
    printf "<g transform=\"translate(%d,%d)\">\n", (at % ACROSS) * WIDTH, int(at / ACROSS) * HEIGHT
    printf "<text x=\"%d\" y=\"16\" class=\"t\">%s</text>\n", 8, label[k]
    grid()
    printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, axis
    printf "<polyline points=\""
    for (i = 1; i <= n[k]; i++)
        printf "%.1f,%.1f ", across(x[k, i]), up(y[k, i])
    printf "\"/>\n"
    for (i = 1; i <= n[k]; i++)
        printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>%s: %s</title></circle>\n", across(x[k, i]), up(y[k, i]), x[k, i], y[k, i]
    print "</g>"
}

END {
    for (i = 1; i <= nkeys; i++)
        if (n[key[i]] > 0)
            drawn[++ndrawn] = key[i]
    wide = (ndrawn < ACROSS ? ndrawn : ACROSS) * WIDTH
    high = int((ndrawn + ACROSS - 1) / ACROSS) * HEIGHT
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", wide, high, wide, high
    print "<style>text{font:11px sans-serif;fill:#808080}.t{font-weight:bold}.g{stroke:#808080;stroke-opacity:.3}"
    print "polyline{fill:none;stroke:#3d85c6;stroke-width:1.8}circle{fill:#3d85c6}</style>"
    for (i = 1; i <= ndrawn; i++)
        panel(drawn[i], i - 1)
    print "</svg>"
}
