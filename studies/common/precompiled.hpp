// What most files of the studies include, for their precompiled headers. A file includes what it uses all the same.
#include <preheat/preheat.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
