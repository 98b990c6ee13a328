// Every piece of work by its name.
#pragma once
#include <memory>
#include <sstream>

#include "decoder.hpp"
#include "encoder.hpp"
#include "factorizations.hpp"
#include "steps.hpp"
#if defined(PREHEAT_PEERS_BF16)
#include "joined_step.hpp"
#endif

namespace peers {

#if defined(PREHEAT_PEERS_BF16)
// In bf16: a layer as a network computes it, encoders and decoders.
inline std::unique_ptr<work> make_work(backend_type& be, const std::string& name,
                                       std::istringstream& arguments) {
  std::string path;
  arguments >> std::ws;
  std::getline(arguments, path);
  const inputs given(be, path);
  if (name == "adapted_step") {
    return std::make_unique<joined_step>(be, given);
  }
  if (name == "encoder_step") {
    return make_encoder_step(be, given);
  }
  if (name == "decoder_step") {
    return make_decoder_step(be, given);
  }
  throw invalid_argument("no work in bf16 is called '" + name + "'");
}
#else

inline std::unique_ptr<work> make_work(backend_type& be, const std::string& name,
                                       std::istringstream& arguments) {
  if (name == "llama_extraction") {
    index_t layers = 0;
    index_t threads = 0;
    require(bool(arguments >> layers >> threads), "prepare llama_extraction LAYERS THREADS");
    return std::make_unique<llama_extraction>(be, layers, threads);
  }
  std::string path;
  arguments >> std::ws;
  std::getline(arguments, path);
  const inputs given(be, path);
  if (name == "adapted_step") {
    return std::make_unique<adapted_step>(be, given);
  }
  if (name == "frozen_products") {
    return std::make_unique<frozen_products>(be, given);
  }
  if (name == "adamw") {
    return std::make_unique<adamw_step>(be, given);
  }
  if (name == "gelu") {
    return std::make_unique<gelu_pass>(be, given);
  }
  if (name == "mlp_step") {
    return std::make_unique<mlp_step>(be, given);
  }
  if (name == "mlp_products") {
    return std::make_unique<mlp_products>(be, given);
  }
  if (name == "encoder_step") {
    return make_encoder_step(be, given);
  }
  if (name == "encoder_products") {
    return std::make_unique<layer_products>(be, given_bert(given).layers, tokens_of(given));
  }
  if (name == "decoder_step") {
    return make_decoder_step(be, given);
  }
  if (name == "decoder_products") {
    const index_t texts = given.batch("ids").cols();
    return std::make_unique<decoder_products>(be, given_decoder(given), tokens_of(given),
                                              tokens_of(given) - texts);
  }
  if (name == "pissa") {
    return std::make_unique<pissa_start>(be, given);
  }
  if (name == "extraction") {
    return std::make_unique<extraction>(be, given);
  }
  throw invalid_argument("no work is called '" + name + "'");
}
#endif

}  // namespace peers
