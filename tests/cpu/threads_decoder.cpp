// The parts of a decoder on CPU backends of two and three threads.
#define PREHEAT_TEST_THREADS
#include "nn/decoder_parts.cpp"
