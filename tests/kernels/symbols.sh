#!/bin/sh
# symbols.sh OBJECT...: no two of these objects, each compiled for another instruction set, define the same
# name. The linker would take one of the two for all, and a processor without that set would stop at it. Descriptions
# of types (_ZTI, _ZTS; clang's sanitizer makes them of every function) hold no instruction and may be shared.
set -eu
[ $# -gt 1 ] || { echo 'symbols.sh: one object for one instruction set; nothing can be mixed up'; exit 0; }
shared=$(for object; do nm --defined-only --extern-only --format=posix "$object" | cut -d' ' -f1 | grep -v '^_ZT[IS]' | sort -u; done | sort | uniq -d)
if [ -n "$shared" ]; then
  echo 'defined for more than one instruction set:'
  printf '%s\n' "$shared" | c++filt
  exit 1
fi
echo "$# objects define no name twice"
