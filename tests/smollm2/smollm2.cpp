// The real SmolLM2-135M-Instruct, unpacked from its GGUF file, against transformers and PEFT: the loss
// of every token, the largest logits, the norms of all hidden states, greedy search, and ten steps of
// LoRA with AdamW on all seven linear layers.
#include <preheat/gguf/decoder.hpp>
#include <preheat/nn/decoder.hpp>
#include <preheat/nn/generate.hpp>
#include <preheat/operators/adapted.hpp>
#include <preheat/optim/adam.hpp>

#include <cmath>
#include <numeric>

#include "golden/encoder_fixture.hpp"
#include "model_file.hpp"

namespace {

using namespace golden;
using namespace preheat;

template <class T>
constexpr bool in_double = std::is_same_v<T, double>;
template <class T>
using language_model = nn::decoder<cpu<T>>;
template <class T>
using text_batch = nn::causal_batch<cpu<T>>;

template <class T>
language_model<T> model(cpu<T>& be) {
  return {be, gguf::read_decoder(be, smollm2::model_file())};
}

// The sentences of the fixture.
std::vector<std::vector<index_t>> sentences(const fixture& file) {
  const std::vector<index_t> ids = whole_numbers(file, "ids.values");
  const std::vector<index_t> offsets = whole_numbers(file, "ids.offsets");
  std::vector<std::vector<index_t>> all;
  for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
    all.emplace_back(ids.begin() + offsets[i], ids.begin() + offsets[i + 1]);
  }
  return all;
}
template <class T>
text_batch<T> packed(const std::vector<std::vector<index_t>>& texts) {
  text_batch<T> batch;
  for (const auto& text : texts) {
    batch.ids.insert(batch.ids.end(), text.begin(), text.end());
    batch.lengths.push_back(index_t(text.size()));
  }
  batch.labels = batch.ids;
  return batch;
}

template <class T>
void check_base() {
  const fixture file("smollm2/base");
  cpu<T> be;
  language_model<T> net = model<T>(be);
  base_operator<cpu<T>> base(net);
  const auto texts = sentences(file);
  const text_batch<T> batch = packed<T>(texts);
  const double rtol = in_double<T> ? 1e-9 : 1e-4;

  const dense Z = host(be, net.forward(batch, base));
  const dense expected_top = file.tokens("top5.logits");
  const dense top_ids = file.tokens("top5.ids");
  dense found_top(5, Z.cols());
  for (index_t t = 0; t < Z.cols(); ++t) {
    for (index_t k = 0; k < 5; ++k) {
      found_top(k, t) = Z(index_t(top_ids(k, t)), t);
    }
    CHECK(Z.col(t).maxCoeff() <= expected_top(0, t) + rtol * expected_top.cwiseAbs().maxCoeff());
  }
  check_close(file, "top5.logits", found_top, expected_top, rtol);

  const auto states = net.hidden_states();
  const dense norms = file.tokens("hidden_norms");
  dense found_norms(index_t(states.size()), Z.cols());
  for (std::size_t i = 0; i < states.size(); ++i) {
    found_norms.row(index_t(i)) = host(be, states[i]).colwise().norm();
  }
  check_close(file, "hidden_norms", found_norms, norms.topRows(found_norms.rows()), rtol);

  // The loss of every token: from the logits; and their mean, from the network.
  const std::vector<double> token_loss = file.entries("token_loss.values");
  std::size_t next = 0;
  index_t first = 0;
  double worst = 0;
  for (const auto& text : texts) {
    for (std::size_t t = 1; t < text.size(); ++t) {
      const auto column = Z.col(first + index_t(t) - 1);
      const double top = column.maxCoeff();
      const double log_sum = top + std::log((column.array() - top).exp().sum());
      worst = std::max(worst, std::abs(log_sum - column(text[t]) - token_loss.at(next++)));
    }
    first += index_t(text.size());
  }
  CHECK(next == token_loss.size());
  CHECK(worst < (in_double<T> ? 1e-8 : 1e-3));
  const double mean = std::accumulate(token_loss.begin(), token_loss.end(), 0.0) / double(next);
  CHECK(double(net.loss(batch, base)) == doctest::Approx(mean).epsilon(in_double<T> ? 1e-9 : 1e-4));
}

// Greedy search with a cache against the chat's answer, and against full passes for every sentence.
void check_greedy() {
  const fixture file("smollm2/base");
  cpu<float> be;
  language_model<float> net = model<float>(be);
  base_operator<cpu<float>> base(net);
  const auto texts = sentences(file);
  constexpr std::size_t chat = 10;
  constexpr index_t end_of_turn = 2;
  CHECK(nn::generate(net, base, texts[chat], {.stop = {end_of_turn}}) ==
        whole_numbers(file, "chat.greedy"));
  for (const auto& text : texts) {
    constexpr index_t count = 12;
    const auto written = nn::generate(net, base, text, {.max_tokens = count});
    std::vector<index_t> whole = text;
    whole.insert(whole.end(), written.begin(), written.end());
    const dense Z = host(be, net.forward(packed<float>({whole}), base));
    for (index_t k = 0; k < count; ++k) {
      const auto column = Z.col(index_t(text.size()) - 1 + k);
      // Rounding may exchange two logits that are as good as equal.
      CHECK(column(written[std::size_t(k)]) >=
            column.maxCoeff() - 1e-4 * column.cwiseAbs().maxCoeff());
    }
  }
}

// A and B as INDEX.md of the fixtures says, rounded to float.
template <class T>
void attach_recorded(const fixture& file, language_model<T>& net,
                     adapted<cpu<T>, adapter::lora>& linear) {
  const index_t r = file.param<index_t>("r");
  const double freq = file.param<double>("freq");
  cpu<T>& be = net.backend();
  for (index_t l = 0; l < index_t(net.layers().size()); ++l) {
    const double phase = double(l / 7) + double(l % 7) / 10;
    const auto& W = net.layers()[l].W;
    std::vector<T> A;
    std::vector<T> B;
    for (index_t j = 0; j < W.cols(); ++j) {
      for (index_t i = 0; i < r; ++i) {
        A.push_back(T(float(std::sin(freq * double(i * W.cols() + j) + phase) /
                            std::sqrt(double(W.cols())))));
      }
    }
    for (index_t j = 0; j < r; ++j) {
      for (index_t i = 0; i < W.rows(); ++i) {
        B.push_back(T(float(0.01 * std::cos(freq * double(i * r + j) + phase))));
      }
    }
    adapter::lora::params<cpu<T>> p{be.zeros(r, W.cols()), be.zeros(W.rows(), r)};
    be.upload(A, p.A);
    be.upload(B, p.B);
    linear.attach(l, std::move(p), T(file.param<double>("alpha") / double(r)));
  }
}
void check_entries(const fixture& file, const std::string& factor, index_t l, const dense& gradient,
                   double rtol) {
  const std::vector<double> norms = file.entries("norm_" + factor);
  const std::vector<double> entries = file.entries("entries_" + factor);
  check_number(file, "norm_" + factor, gradient.norm(), norms[std::size_t(l)], rtol);
  const index_t m = gradient.rows();
  const double found[3] = {gradient(0, 0), gradient(std::min<index_t>(3, m - 1), 1),
                           gradient(m - 1, gradient.cols() - 1)};
  for (std::size_t k = 0; k < 3; ++k) {
    CHECK(std::abs(found[k] - entries[std::size_t(l) * 3 + k]) <=
          rtol * gradient.cwiseAbs().maxCoeff());
  }
}
template <class T>
void check_lora() {
  const fixture file("smollm2/lora");
  cpu<T> be;
  language_model<T> net = model<T>(be);
  adapted<cpu<T>, adapter::lora> linear(net);
  attach_recorded(file, net, linear);
  text_batch<T> batch;
  nn::pack<cpu<T>>(whole_numbers(file, "input_ids"), whole_numbers(file, "labels"),
                   whole_numbers(file, "attention_mask"), file.count("input_ids"), batch);
  const std::vector<double> expected = file.entries("loss");
  const double loss_bound = in_double<T> ? 1e-9 : 1e-3;

  const optim::adamw optimizer{.lr = file.param<double>("lr"),
                               .epsilon = file.param<double>("eps"),
                               .weight_decay = file.param<double>("weight_decay")};
  using params = adapter::lora::params<cpu<T>>;
  std::vector<optim::adamw::state<cpu<T>, params>> states;
  for (auto& l : linear.layers()) {
    states.push_back(optimizer.start(be, l.parameters));
  }
  const index_t steps = file.param<index_t>("steps");
  for (index_t step = 0; step < steps; ++step) {
    linear.zero_gradients();
    const double loss = double(net.loss_and_gradient(batch, linear));
    CHECK(std::abs(loss - expected[std::size_t(step)]) <= loss_bound);
    if (step == 0) {
      for (index_t l = 0; l < index_t(linear.layers().size()); ++l) {
        const double rtol = in_double<T> ? 1e-8 : 1e-3;
        check_entries(file, "A", l, host(be, linear.layers()[l].gradient.A), rtol);
        check_entries(file, "B", l, host(be, linear.layers()[l].gradient.B), rtol);
      }
    }
    step_context context{};
    context.learning_rate = optimizer.lr;
    for (std::size_t l = 0; l < states.size(); ++l) {
      auto& layer = linear.layers()[l];
      optimizer.step(be, layer.parameters, layer.gradient, states[l], context);
    }
  }
  CHECK(std::abs(double(net.loss(batch, linear)) - expected.back()) <= loss_bound);
}

}  // namespace

TEST_CASE("smollm2: logits, hidden states and losses in double") {
  check_base<double>();
}
TEST_CASE("smollm2: logits, hidden states and losses in float") {
  check_base<float>();
}
TEST_CASE("smollm2: greedy search") {
  check_greedy();
}
TEST_CASE("smollm2: ten steps of LoRA in double") {
  check_lora<double>();
}
TEST_CASE("smollm2: ten steps of LoRA in float") {
  check_lora<float>();
}
