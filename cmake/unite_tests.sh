#!/bin/sh
# unite_tests.sh FOLDER NAME COUNT FILE...: writes files FOLDER/NAME_0.cpp, FOLDER/NAME_1.cpp, ... that include COUNT of the test
# files each, and prints what to compile in place of the test files, one path a line. Test files (absolute paths) give the same names
# to different things, so each is put in a namespace of its own; what it includes is included before, outside. A file that opens a
# named namespace, defines a macro, asks for former names (preheat/deprecated.hpp) or says "// Compiled alone" stays alone.
# What would be written again unchanged is left as it is, so it is not compiled again.
set -eu
mkdir -p "$1"
exec awk '
function exists(path,    line, code) { code = (getline line < path); close(path); return code >= 0 }
function end_batch(    path) {
  path = folder "/" name "_" batch++ ".cpp"
  printf "%s%s", includes, bodies >(path ".new")
  close(path ".new")
  system("cmp -s \"" path ".new\" \"" path "\" && rm \"" path ".new\" || mv \"" path ".new\" \"" path "\"")
  print path
  in_batch = 0
  includes = bodies = ""
  split("", seen)
}
BEGIN {
  folder = ARGV[1]; name = ARGV[2]; count = ARGV[3]
  for (k = 4; k < ARGC; k++) {
    file = ARGV[k]
    home = file
    sub(/[^\/]*$/, "", home)
    alone = 0
    own = ""
    while ((getline line < file) > 0) {
      if (line ~ /^(namespace [a-z]|#define |#include <preheat\/deprecated|\/\/ Compiled alone)/) alone = 1
      if (line !~ /^#include /) continue
      if (line ~ /"/) {
        split(line, quoted, "\"")
        if (exists(home quoted[2])) line = "#include \"" home quoted[2] "\""
      }
      own = own line "\n"
    }
    close(file)
    if (alone) { print file; continue }
    n = split(own, lines, "\n")
    for (i = 1; i < n; i++)
      if (!seen[lines[i]]++) includes = includes lines[i] "\n"
    space = file
    sub(/.*\/tests\//, "tests/", space)
    gsub(/[^A-Za-z0-9]/, "_", space)
    bodies = bodies "namespace " space " {\n#include \"" file "\"\n}\n"
    if (++in_batch == count) end_batch()
  }
  if (in_batch) end_batch()
}' "$@"
