// The command generate: the same prompts without and with the adapter.
#include <variant>

#include <fmt/format.h>

#include <preheat/nn/generate.hpp>
#include <preheat/operators/adapted.hpp>

#include "adapter.hpp"
#include "run.hpp"

namespace apps::finetune {
namespace {

std::vector<index_t> prompt_tokens(const base_model& model, const generating_options& o,
                                   const std::string& prompt) {
  std::vector<index_t> ids = model.begin;
  const auto add = [&](const std::string& text) {
    const std::vector<index_t> more = model.words->pieces(text);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  if (o.chat) {
    const chat_template form = o.chat_form.empty() ? model.chat() : model.chat_named(o.chat_form);
    for (const chat_piece& piece : write_chat(form, {{"user", prompt}}, true)) {
      add(piece.text);
    }
  } else {
    add(prompt);
  }
  preheat::require(!ids.empty(), "generate: a prompt has at least one token");
  return ids;
}

template <class Linear>
std::string answer(base_model& model, const generating_options& o, std::span<const index_t> prompt,
                   Linear& linear) {
  any_linear any(linear);
  std::vector<index_t> written =
      preheat::nn::generate(model.net, any, prompt,
                            {.max_tokens = o.max_tokens,
                             .stop = model.stop,
                             .sampling = {.temperature = o.temperature, .top_p = o.top_p}},
                            preheat::generator(o.seed));
  return model.words->decode(written, preheat::text::special_tokens::skip);
}

}  // namespace

int generate(const generating_options& o) {
  computer here(o.threads, {});
  if (is_encoder(o.model)) {
    throw preheat::io_error(o.model.string() +
                            ": an encoder (BERT) writes no text; it tells classes apart");
  }
  base_model model = read_model(here.backend(), o.model, o.storage);
  any_adapter adapter;
  if (!o.adapter.empty()) {
    adapter = load_adapter(o.adapter, model.net);
  }
  for (const std::string& prompt : o.prompts) {
    const std::vector<index_t> ids = prompt_tokens(model, o, prompt);
    preheat::base_operator<Be> alone(model.net);
    fmt::print("{}\n", prompt);
    fmt::print("  {}{}\n", o.adapter.empty() ? "" : "without: ", answer(model, o, ids, alone));
    if (!o.adapter.empty()) {
      std::visit(
          [&](const auto& report) {
            auto linear = attach(model.net, report);
            fmt::print("  with:    {}\n", answer(model, o, ids, linear));
          },
          adapter);
    }
  }
  return 0;
}

}  // namespace apps::finetune
