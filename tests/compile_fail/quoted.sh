#!/bin/sh
# quoted.sh PAGE...: passes if every row of a table that names a wrong program of this folder (…/NAME.cpp) has
# the words that the program must be refused with, and if README.md here names every program.
cd "$(dirname "$0")" || exit 1
awk '
function base(path) { sub(/.*\//, "", path); return path }
FILENAME ~ /\.cpp$/ {
  if (FNR == 1) { sub(/^\/\/ expect: /, ""); words[base(FILENAME)] = $0 }
  next
}
/^\|/ {
  line = $0
  while (match(line, /\([^()]*\.cpp\)/)) {
    name = base(substr(line, RSTART + 1, RLENGTH - 2))
    path = substr(line, RSTART + 1, RLENGTH - 2)
    line = substr(line, RSTART + RLENGTH)
    if (path ~ /\// && path !~ /compile_fail\//) continue
    if (!(name in words)) { print FILENAME ": there is no " name; failed = 1; continue }
    if (index($0, words[name]) == 0) { print FILENAME ": " name " says: " words[name]; failed = 1 }
    if (FILENAME == "README.md") named[name] = 1
    rows++
  }
}
END {
  for (name in words) if (!(name in named)) { print "README.md: " name " is missing"; failed = 1 }
  print rows " quotations"
  exit failed || rows == 0
}' ./*.cpp README.md "$@"
