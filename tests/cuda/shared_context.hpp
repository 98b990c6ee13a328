// The CUDA backend as the shared suites see it: they make backends freely, and hand matrices from one
// to another, so all of them are in one context.
#pragma once
#include <memory>
#include <preheat/cuda/backend.hpp>

namespace conformance {

// Made by the first test that needs it; the main program releases it.
inline std::shared_ptr<const preheat::cuda_context>& shared_context() {
  static std::shared_ptr<const preheat::cuda_context> context;
  return context;
}

template <class T>
struct cuda_in_shared_context : preheat::cuda<T> {
  cuda_in_shared_context() : preheat::cuda<T>(context()) {}

 private:
  static std::shared_ptr<const preheat::cuda_context> context() {
    if (!shared_context()) {
      shared_context() = std::make_shared<preheat::cuda_context>();
    }
    return shared_context();
  }
};

static_assert(preheat::backend<cuda_in_shared_context<float>>);

}  // namespace conformance
