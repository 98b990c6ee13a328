// What almost every test includes, for the precompiled header of the large test programs. A test includes what it uses
// all the same.
#include <preheat/preheat.hpp>

#include <doctest/doctest.h>
