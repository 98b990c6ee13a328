"""What `./run peers` prints and writes: a table, a CSV file, a picture of the ratios."""
import csv
import os
import shutil
import subprocess

COLUMNS = ["row", "peer", "threads", "ours_ms", "peer_ms", "ratio", "spread_low", "spread_high", "reach", "at_most",
           "limit", "ok", "error_ours", "error_peer", "share_ours", "share_peer", "note"]
MOST_SHARE = 1.05  # what a share of the peak may exceed 1 by, for clocks that drift
TOO_SLOW = "no share: the loop that measures the peak was too slow"


def number(x, form):
    return "" if x is None else format(x, form)


def significant(x):
    return "" if x is None else f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def add_shares(lines, peak):
    """Gives each line whose work has a known number of operations its shares of the peak, both in GFLOP/s. A share
    above MOST_SHARE cannot be true. It means that the peak is wrong, so that none of the line's shares is given."""
    for line in lines:
        shares = {side: line[f"gflops_{side}"] / peak for side in ("ours", "peer")
                  if line.get(f"gflops_{side}") is not None}
        if any(share > MOST_SHARE for share in shares.values()):
            line["note"] = "; ".join(filter(None, [line.get("note"), TOO_SLOW]))
            line["wrong_peak"] = True
            continue
        for side, share in shares.items():
            line[f"share_{side}"] = share


def cells(line):
    share = "/".join(number(line.get(k), ".0%") or "-" for k in ("share_ours", "share_peer"))
    errors = "/".join(number(line.get(k), ".1e") or "-" for k in ("error_ours", "error_peer"))
    spread = line.get("spread")
    unit = " " + line["unit"] if "unit" in line else ""
    reach = line.get("reach")
    return [line["row"], line.get("peer", ""), significant(line.get("ours_ms")), significant(line.get("peer_ms")),
            "" if line.get("ratio") is None else f"{significant(line['ratio'])}{unit}",
            "" if spread is None else f"{spread[0]:.2f}–{spread[1]:.2f}",
            "" if reach is None else f"{'≤' if line.get('at_most') else '≥'} {reach:g}{unit}",
            number(line.get("limit"), ".2f"), {True: "yes", False: "NO", None: ""}[line.get("ok")], "" if errors == "-/-" else errors,
            "" if share == "-/-" else share, line.get("note", "")]


def brief(line):
    """One line for somebody who waits."""
    c = cells(line)
    return f"{c[0]}" + (f" against {c[1]}" if c[1] else "") + f": {c[4] or '-'}"


def print_table(lines):
    """A table in Markdown, and the rows that miss their mark."""
    table = [["row", "peer", "ours ms", "peer ms", "ratio", "spread", "to reach", "limit", "ok?", "error ours/peer",
              "share of peak ours/peer", "note"]] + [cells(line) for line in lines]
    widths = [max(len(r[i]) for r in table) for i in range(len(table[0]))]
    table.insert(1, ["-" * w for w in widths])
    print()
    for r in table:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |")
    print()
    judged = [line for line in lines if line.get("ok") is not None]
    missed = [line for line in judged if not line["ok"]]
    print(f"{len(judged) - len(missed)} of {len(judged)} marks reached")
    for line in missed:
        r = cells(line)
        print(f"missed: {brief(line)}, to reach {r[6]}; {r[-1]}".rstrip("; "))
    if any(line.get("wrong_peak") for line in lines):
        print("WRONG PEAK: a side did more operations per second than the measured peak of the processor allows")


def write_csv(lines, path):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for line in lines:
            low, high = line.get("spread") or (None, None)
            writer.writerow({**line, "spread_low": low, "spread_high": high})
    print("written:", path)


def write_svg(lines, path):
    """Bars of the ratios to the peers, on a logarithmic scale that ends at 16, each with its quartiles, its mark and
    its limit."""
    shown = [line for line in lines if line.get("peer") and not line.get("at_most") and line.get("ratio")]
    if not shown or not shutil.which("gnuplot"):
        print("no picture:", "gnuplot is missing" if shown else "no row has a ratio to a peer")
        return
    rows = []
    for i, line in enumerate(shown):
        low, high = line.get("spread") or (line["ratio"], line["ratio"])
        reach, limit = line.get("reach") or "NaN", line.get("limit") or "NaN"
        label = f"{line['row']} / {line['peer']}: {significant(line['ratio'])}".replace("_", " ")
        rows.append(f'{len(shown) - i} {line["ratio"]:.4g} {low:.4g} {high:.4g} {reach} {limit} "{label}"')
    data = "\n".join(rows)
    script = f"""set terminal svg size 960,{110 + 22 * len(shown)} font "sans,12"
set output "{path}"
$ratios << END
{data}
END
set logscale x 2
set xrange [0.25:16]
set yrange [0.3:{len(shown) + 0.7}]
set xlabel "times faster than the peer (logarithmic)"
set grid xtics
set key bmargin center horizontal
set style fill solid 0.6 noborder
set arrow 1 from 1, graph 0 to 1, graph 1 nohead lc "black"
plot $ratios using 2:1:(1):2:($1-0.35):($1+0.35):ytic(7) with boxxyerror lc "#4477aa" title "preheat", \\
     $ratios using 2:1:3:4 with xerrorbars pt 0 lc "black" title "quartiles", \\
     $ratios using 5:1 with points pt 9 ps 1 lc "#cc3311" title "to reach", \\
     $ratios using 6:1 with points pt 2 ps 1 lc "black" title "limit"
"""
    done = subprocess.run(["gnuplot"], input=script, text=True, capture_output=True, cwd=os.path.dirname(path) or ".")
    print("written: " + path if done.returncode == 0 else "gnuplot: " + done.stderr.strip())
