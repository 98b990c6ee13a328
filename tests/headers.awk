# awk -v bases="BASE..." -f headers.awk HEADER...: prints "HEADER BASE" for each header, where BASE is the first of the
# bases that HEADER includes, itself or by another header, whatever is defined; "-" where there is none. Runs in the
# folder that the headers' names begin in.
#
# HEADER compiles alone exactly if it does after BASE: its text sees what it includes in either case, and nothing else.
FNR == 1 { order[++headers] = FILENAME; conditions = 0 }
/^[ \t]*#[ \t]*if/ { ++conditions }
/^[ \t]*#[ \t]*endif/ { --conditions }
/^#include / && !conditions {
  name = $2
  gsub(/[<>"]/, "", name)
  if ($2 ~ /^"/) {
    folder = FILENAME
    sub(/[^\/]*$/, "", folder)
    name = folder name
    while (sub(/[^\/]+\/\.\.\//, "", name)) continue
  }
  included[FILENAME] = included[FILENAME] " " name
}
# Marks in `seen` all that the header includes.
function follow(header, names, n, i) {
  n = split(included[header], names, " ")
  for (i = 1; i <= n; ++i)
    if (!(names[i] in seen)) {
      seen[names[i]]
      follow(names[i])
    }
}
END {
  n = split(bases, base, " ")
  for (h = 1; h <= headers; ++h) {
    split("", seen)
    follow(order[h])
    delete seen[order[h]]
    for (b = 1; b <= n && !(base[b] in seen); ++b) continue
    print order[h], b <= n ? base[b] : "-"
  }
}
