#!/bin/sh
# release.sh TREE COMPILER FLAG...: passes if every place that names the library's version names that of version.hpp, and if the
# compiler warns of every old name that tests/core/unit_version.cpp uses.
set -eu
tree=$1
shift
version=$(awk '/#define PREHEAT_VERSION_[A-Z]+ [0-9]/ {v = v s $3; s = "."} END {print v}' "$tree/include/preheat/version.hpp")
bad=0
# says FILE FOUND: what a file says must be the version.
says() {
  [ "$2" = "$version" ] || {
    echo "$1 says '$2', version.hpp says '$version'"
    bad=1
  }
}
says CITATION.cff "$(sed -n 's/^version: //p' "$tree/CITATION.cff")"
says CHANGELOG.md "$(sed -n 's/^## \([0-9.]*\).*/\1/p' "$tree/CHANGELOG.md" | head -n 1)"
says README.md "$(sed -n 's/.*GIT_TAG v\([0-9.]*\).*/\1/p' "$tree/README.md" | sort -u)"
says vcpkg.json "$(sed -n 's/.*"version": "\(.*\)".*/\1/p' "$tree/cmake/packages/vcpkg/vcpkg.json")"
says debian/changelog "$(sed -n '1s/.*(\(.*\)).*/\1/p' "$tree/cmake/packages/debian/changelog")"

file=tests/core/unit_version.cpp
said=$(cd "$tree" && LC_ALL=C "$@" -Wdeprecated-declarations -DPREHEAT_WARN_OF_RENAMED -fsyntax-only $file 2>&1)
case $("$1" --version) in
  *clang*) marked='// renamed$' ;;
  *) marked='// renamed\( template\)*$' ;;
esac
for line in $(grep -n "$marked" "$tree/$file" | cut -d: -f1); do
  printf '%s\n' "$said" | grep -q "^$file:$line:.*warning: .*deprecated" || {
    echo "no warning of the old name: $(sed -n "${line}p" "$tree/$file")"
    bad=1
  }
done
exit $bad
