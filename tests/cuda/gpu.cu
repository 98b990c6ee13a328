// What runs on a GPU, compiled by nvcc: the files themselves are those that also run on the double.
#include "core/backend.cpp"
#include "adapted_linear.cpp"
#include "columns.cpp"
#include "training.cpp"
