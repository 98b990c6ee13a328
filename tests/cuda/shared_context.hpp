// The CUDA backend as the shared suites see it: they make backends freely, and hand matrices from one
// to another, so all of them are in one context.
#pragma once
#include <concepts>
#include <memory>
#include <preheat/cuda/backend.hpp>
#include <type_traits>

namespace conformance {

// Made by the first test that needs it; the main program releases it.
inline std::shared_ptr<const preheat::cuda_context>& shared_context() {
  static std::shared_ptr<const preheat::cuda_context> context;
  return context;
}

inline std::shared_ptr<const preheat::cuda_context> made_shared_context() {
  if (!shared_context()) {
    shared_context() = std::make_shared<preheat::cuda_context>();
  }
  return shared_context();
}

template <class T, class Storage = T>
struct cuda_in_shared_context : preheat::cuda<T, Storage> {
  using higher_precision =
      std::conditional_t<std::same_as<T, float>, cuda_in_shared_context<double>, void>;
  cuda_in_shared_context() : preheat::cuda<T, Storage>(made_shared_context()) {}
  higher_precision in_higher_precision() const requires std::same_as<T, float> {
    return higher_precision();
  }
};

static_assert(
    preheat::mixed_precision_backend<cuda_in_shared_context<float>> &&
    std::same_as<cuda_in_shared_context<float>::higher_precision, cuda_in_shared_context<double>>);

}  // namespace conformance
