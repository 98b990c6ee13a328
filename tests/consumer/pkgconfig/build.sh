#!/bin/sh
# One compiler line; PKG_CONFIG_PATH names <prefix>/share/pkgconfig. build.sh OUTPUT
set -eu
${CXX:-g++} -std=c++20 $(pkg-config --cflags preheat) "$(dirname "$0")/../main.cpp" \
  -o "$1" $(pkg-config --libs preheat)
if pkg-config --exists preheat-files; then  # the headers that read and write files
  ${CXX:-g++} -std=c++20 $(pkg-config --cflags preheat-files) "$(dirname "$0")/../files.cpp" \
    -o "$(dirname "$1")/files" $(pkg-config --libs preheat-files)
fi
