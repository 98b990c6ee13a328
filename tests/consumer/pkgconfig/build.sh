#!/bin/sh
# One compiler line; PKG_CONFIG_PATH names <prefix>/share/pkgconfig. build.sh OUTPUT
set -eu
${CXX:-g++} -std=c++20 -O1 $(pkg-config --cflags preheat) "$(dirname "$0")/../main.cpp" \
  -o "$1" $(pkg-config --libs preheat)
