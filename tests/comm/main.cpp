// Every process runs every test, in the same order; the program fails if one of them does. Only the
// first process reports success.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <iostream>
#include <sstream>

#include "world.hpp"

namespace {
preheat::comm::mpi* the_world = nullptr;
}
preheat::comm::mpi& comm_test::world() {
  return *the_world;
}

int main(int argc, char** argv) {
  return preheat::comm::mpi_main(argc, argv, [&](preheat::comm::mpi& world) {
    the_world = &world;
    doctest::Context context(argc, argv);
    std::ostringstream output;
    context.setCout(&output);
    const int status = context.run();
    if (status != 0 || world.rank() == 0) {
      std::cout << "process " << world.rank() << " of " << world.size() << '\n' << output.str();
      std::cout.flush();
    }
    return status;
  });
}
