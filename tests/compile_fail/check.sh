#!/bin/sh
# check.sh CASE.cpp COMPILER FLAG...: passes if the compiler refuses the case and its first error line
# contains the text after "// expect: " in the case's first line.
set -u
file=$1
shift
expected=$(sed -n '1s|^// expect: ||p' "$file")
if [ -z "$expected" ]; then
  echo "$file: its first line must be '// expect: TEXT'"
  exit 1
fi
if output=$(LC_ALL=C "$@" -fsyntax-only "$file" 2>&1); then
  echo "$file: compiles, but must fail with: $expected"
  exit 1
fi
first=$(printf '%s\n' "$output" | grep -m1 'error:')
case $first in
  *"$expected"*) echo "ok: $first" ;;
  *) printf 'expected: %s\nfirst error: %s\n\n%s\n' "$expected" "$first" "$output"
     exit 1 ;;
esac
