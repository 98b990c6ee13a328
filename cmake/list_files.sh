#!/bin/sh
# list_files.sh DIR PATTERN...: the files of DIR that match, one per line, sorted (for Meson, which has no glob).
cd "$1" && shift && LC_ALL=C && export LC_ALL && for pattern in "$@"; do
  for file in $pattern; do [ -f "$file" ] && echo "$file"; done
done
true
