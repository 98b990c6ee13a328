// expect: preheat: the backend lacks a member of concept backend (core/backend.hpp; the note below names it)
// note: be.gemm(
#include "paper.hpp"

using namespace preheat;

struct no_products : paper {
  void gemm() = delete;
};
static_assert(backend_is_complete<no_products>());

int main() {}
