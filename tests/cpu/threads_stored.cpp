// Products with stored weights on CPU backends of two and three threads.
#define PREHEAT_TEST_THREADS
#include "core/frozen_weight.cpp"
