# plot.awk - draws a growth table as SVG: awk -v table=chunks -v keys=seconds,daemon_cpu_ms -f plot.awk growth.tsv
#
# Lines of the input: table, x, key, value, between tabs. One panel a key, both axes logarithmic.
BEGIN {
    FS = "\t"
    nkeys = split(keys, key, ",")
    WIDTH = 360
    HEIGHT = 220
    LEFT = 62
    BOTTOM = 34
    TOP = 24
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

# 1000000 as 1M, 0.001 as 1m
function short(e) {
    if (e >= 0)
        return (10 ^ (e % 3)) substr(" kMGTP", int(e / 3) + 1, 1)
    return sprintf("%g", 10 ^ e)
}

function across(v) {
    return LEFT + (log10(v) - xlow) / (xhigh - xlow) * (WIDTH - LEFT - 14)
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

function grid(    e) {
    for (e = xlow; e <= xhigh; e++) {
        printf "<line class=\"g\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", across(10 ^ e), across(10 ^ e), TOP, HEIGHT - BOTTOM
        printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", across(10 ^ e), HEIGHT - BOTTOM + 15, short(e)
    }
    for (e = ylow; e <= yhigh; e++) {
        printf "<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, WIDTH - 14, up(10 ^ e), up(10 ^ e)
        printf "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 6, up(10 ^ e) + 4, short(e)
    }
}

function panel(k, at,    i) {
    bounds(k)
    printf "<g transform=\"translate(%d,0)\">\n<text x=\"%d\" y=\"15\" class=\"t\">%s</text>\n", at * WIDTH, LEFT, k
    grid()
    printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", WIDTH - 14, HEIGHT - 4, table
    printf "<polyline points=\""
    for (i = 1; i <= n[k]; i++)
        printf "%.1f,%.1f ", across(x[k, i]), up(y[k, i])
    printf "\"/>\n"
    for (i = 1; i <= n[k]; i++)
        printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", across(x[k, i]), up(y[k, i])
    print "</g>"
}

END {
    for (i = 1; i <= nkeys; i++)
        if (n[key[i]] > 0)
            drawn[++ndrawn] = key[i]
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", ndrawn * WIDTH, HEIGHT, ndrawn * WIDTH, HEIGHT
    print "<style>text{font:11px sans-serif;fill:#444}.t{font-weight:bold}.g{stroke:#ddd}"
    print "polyline{fill:none;stroke:#1f5fa8;stroke-width:1.8}circle{fill:#1f5fa8}</style>"
    print "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    for (i = 1; i <= ndrawn; i++)
        panel(drawn[i], i - 1)
    print "</svg>"
}
