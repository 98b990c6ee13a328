// The library's version.
#pragma once

#define PREHEAT_VERSION_MAJOR 0
#define PREHEAT_VERSION_MINOR 1
#define PREHEAT_VERSION_PATCH 0
