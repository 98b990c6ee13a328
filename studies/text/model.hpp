// The pretrained sentence encoder with a head for the two classes.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <preheat/nn/bert.hpp>
#include <preheat/preheat.hpp>

namespace studies::text {

using backend = preheat::cpu<float>;
using network = preheat::nn::bert<backend, preheat::nn::mean_pool_head>;
using batch = preheat::nn::token_batch<backend>;

// A backend keeps nothing between calls, so all threads share one.
inline backend& the_backend() {
  static backend be;
  return be;
}

class base_model {
 public:
  explicit base_model(network net, std::string name)
      : net_(std::move(net)), name_(std::move(name)) {}

  // The encoder as it was pretrained, with a head that this seed draws: the same for every method.
  network start(std::uint64_t seed) const {
    network net = net_.copy();
    net.head().parameters = preheat::nn::random_head(
        the_backend(), net.head().parameters.W.rows(), net.config().hidden_size,
        preheat::generator(seed).fork(preheat::purpose::user));
    return net;
  }
  const std::string& name() const { return name_; }  // "BERT of 6 layers, width 384; weights 53aa…"

 private:
  network net_;
  std::string name_;
};

// Reads config.json and model.safetensors of a folder. Throws preheat::io_error.
std::shared_ptr<const base_model> read_model(const std::filesystem::path& folder);

}  // namespace studies::text
